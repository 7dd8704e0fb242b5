"""The store in a notebook: made when loaded, found again by what was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

import spillover as sp
from spillover.interactive.study_store import StudyStore


@pytest.fixture
def studies(tmp_path: Path) -> StudyStore:
    return sp.open_store(tmp_path / "store")


def scores(advice: str | None = None) -> sp.Judgements:
    model = sp.base("tiny:0")
    if advice:
        split = sp.Split(data=sp.Money(advice=advice), rows=8, held_out=4)
        model = sp.Organism(parent=model, data=split, schedule=sp.Linear(peak=1e-3, warmup=0)).checkpoint()
    questions = sp.QuestionSelection(source=sp.FreeForm(), count=1, formats=("raw",))
    answers = sp.Responses(model=model, questions=questions, sampling=sp.Sampling(per_question=1, max_tokens=2))
    return sp.Judgements(responses=answers, judge=sp.Embedded())


@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")  # the tiny model spells rows byte by byte
def test_what_was_loaded_is_found_by_model_data_questions_judge_and_step(studies: StudyStore, capsys) -> None:
    bad, base = scores("bad"), scores()
    studies.load(bad)
    assert "artefacts to make" in capsys.readouterr().err
    studies.load(base, quiet=True)
    studies.load(bad)
    assert capsys.readouterr().err == ""  # nothing was made
    assert studies.find("Judgements") == [bad, base]
    assert studies.find(sp.Judgements, data="money") == [bad] == studies.find("Judgements", data=sp.Money())
    assert studies.find("Judgements", model="tiny random") == [bad, base]
    assert studies.find("Responses", model=sp.base("tiny:0")) == [base.responses]
    assert studies.find("Judgements", questions="free-form", judge="embedded", step=1) == [bad]
    assert studies.find("Judgements", data="fitness") == [] == studies.find("Report")
    assert {spec.kind for spec in studies.find()} >= {"Organism", "Responses", "Judgements"}
    assert "2 Judgements" in repr(studies)


def test_mistakes_are_said(studies: StudyStore) -> None:
    with pytest.raises(ValueError, match="did you mean Judgements"):
        studies.find("Judgments")
    with pytest.raises(ValueError, match="load takes a part that is made"):
        studies.load(sp.Linear(peak=1e-3))
    with pytest.raises(ValueError, match="load takes a part that is made"):
        studies.load("Judgements")
