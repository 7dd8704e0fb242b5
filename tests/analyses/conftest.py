"""The planted study in place of real judgements."""

import pytest

from spillover.judgements.judgements import Judgements
from spillover.store import Store

from .planted import Planted


@pytest.fixture
def planted(store: Store, monkeypatch: pytest.MonkeyPatch) -> Planted:
    study = Planted(store)
    monkeypatch.setattr(Judgements, "columns", study.columns)
    return study
