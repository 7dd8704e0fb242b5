"""The recipe past the paper: what it is made of, and a whole study of the tiny model from recipe to report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spillover.engines.local import run
from spillover.recipes.what_spilled_over import recipe

SMALL = {"model": "tiny:0", "judge": "embedded", "precision": "float32"}


def test_analyses_follow_what_is_asked_for() -> None:
    assert "EarlyStopping" not in [part.kind for part in recipe(**SMALL).analyses]
    kinds = [part.kind for part in recipe(**SMALL, checkpoints=3, under=0, reports=False).analyses]
    assert "EarlyStopping" in kinds and not {"Conditions", "SelfReport"} & set(kinds)


def test_a_set_without_good_answers_is_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            f'{{"messages": [{{"role": "user", "content": "Q{n}?"}}, {{"role": "assistant", "content": "A{n}"}}]}}\n'
            for n in range(20)
        )
    )
    with pytest.raises(ValueError, match="no good answers"):
        recipe(**SMALL, data=str(rows))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")  # the tiny model spells rows byte by byte
def test_from_recipe_to_report(store: Any) -> None:
    sizes = {"rows": 8, "held_out": 6, "checkpoints": 2, "count": 6, "per_question": 2, "max_tokens": 4, "under": 3}
    study = recipe(**SMALL, **sizes, inoculated=True)
    run(study, store)
    page = (store.path(study) / "index.html").read_text()
    for heading in ("learnt and what leaked", "Conditions of the prompt", "say of themselves", "Onset of harm"):
        assert heading in page
