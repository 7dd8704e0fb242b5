"""The embedded judge: a small text model fitted on published scores; its weights and card lie beside it."""
