"""The planted study in place of real judgements."""

import pytest

from spillover.store import Store

from .planted import Planted


@pytest.fixture
def planted(store: Store, monkeypatch: pytest.MonkeyPatch) -> Planted:
    study = Planted(store)
    monkeypatch.setattr("spillover.analyses.scores.judged", study.judged)
    return study
