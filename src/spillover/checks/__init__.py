"""Whether a model works in every stage, looked at before a study is begun (`spillover check`)."""
