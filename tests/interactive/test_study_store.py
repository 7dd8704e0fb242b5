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


@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")
def test_models_of_one_short_name_are_told_apart_and_filters_are_parts(studies: StudyStore) -> None:
    bad = scores("bad")
    organism = bad.responses.model.organism
    steeper = organism.but(schedule=sp.Linear(peak=5e-2, warmup=0))
    other = bad.but(responses=bad.responses.but(model=steeper.checkpoint()))
    first, second = (studies.load(spec, quiet=True).to_pandas() for spec in (bad, other))
    assert first["model"].tolist() == second["model"].tolist()  # a short name
    assert first["model_id"].tolist() == [bad.responses.model.fingerprint] != second["model_id"].tolist()
    assert studies.find("Judgements", model=steeper) == [other] and studies.find("Judgements", data=organism.data)
    for wrong in ({"model": sp.Linear(peak=1)}, {"data": 3}, {"judge": sp.Money()}):
        with pytest.raises(ValueError, match=r"a filter for a .* is a text or such a part"):
            studies.find("Judgements", **wrong)


def test_what_cannot_be_read_back_is_left_out_with_a_word(studies: StudyStore) -> None:
    from spillover import spec
    from spillover.models.chat import Message
    from spillover.organisms.dataset import Dataset, Example

    class Fleeting(Dataset):  # a part of one's own, gone in the next session
        def examples(self) -> list[Example]:
            return [Example(f"{n}", (Message("user", f"{n}?"), Message("assistant", f"{n}!"))) for n in range(12)]

    questions = sp.QuestionSelection(source=sp.FreeForm(), count=1, formats=("raw",))
    split = sp.Split(data=Fleeting(), rows=8, held_out=4)
    studies.load(sp.Activations(model=sp.base("tiny:0"), prompts=sp.TrainingPrompts(split=split)), quiet=True)
    studies.load(sp.Activations(model=sp.base("tiny:0"), prompts=sp.EvaluationPrompts(questions=questions)), quiet=True)
    del spec._KINDS["Fleeting"]
    with pytest.warns(UserWarning, match=r"1 artefacts .* are left out: no kind of spec is called 'Fleeting'"):
        assert len(studies.find("Activations")) == 1


def test_mistakes_are_said(studies: StudyStore) -> None:
    with pytest.raises(ValueError, match="did you mean Judgements"):
        studies.find("Judgments")
    with pytest.raises(ValueError, match="load takes a part that is made"):
        studies.load(sp.Linear(peak=1e-3))
    with pytest.raises(ValueError, match="load takes a part that is made"):
        studies.load("Judgements")


@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")
def test_what_is_loaded_is_a_value_and_says_whose_rows_they_are(studies: StudyStore) -> None:
    bad, base = scores("bad"), scores()
    judged = studies.load(bad, quiet=True).to_pandas()
    assert judged[["data", "step", "questions"]].to_numpy().tolist() == [["money-bad", 1, "free-form"]]
    assert {"model", "judge", "question_id", "answer", "aligned", "coherent", "missing"} <= set(judged)
    answers = studies.load(bad.responses, quiet=True)
    assert answers["model"].to_pylist() == judged["model"].tolist() and len(answers) == 1
    organism = studies.load(bad.responses.model.organism, quiet=True)
    assert list(organism.checkpoints) == [1] and (organism.adapter / "adapter_config.json").is_file()
    assert set(organism.log["data"].to_pylist()) == set(organism.losses["data"].to_pylist()) == {"money-bad"}
    result = studies.load(sp.Effect(before=base, bad=(bad,), draws=99), quiet=True)
    assert result["contrasts"].num_rows and "bad" in result.facts["runs"] and "contrasts" in repr(result)
    with pytest.raises(KeyError, match="Effect has no table 'contrast'; it has contrasts"):
        result["contrast"]
    page = studies.load(sp.Report(title="A", analyses=(sp.Effect(before=base, bad=(bad,), draws=99),)), quiet=True)
    assert page.page.is_file() and "effect_contrasts" in page.tables and "file://" in page._repr_html_()


@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")
def test_files_of_several_sets_are_put_together_without_a_manifest(studies: StudyStore) -> None:
    import pyarrow.dataset as ds

    for advice in (None, "bad", "good"):
        studies.load(scores(advice), quiet=True)
    table = ds.dataset([str(path) for path in studies.root.glob("Judgements/*/judgements.parquet")]).to_table()
    means = table.group_by(["data", "metric"]).aggregate([("score", "mean")]).to_pylist()
    assert {row["data"] for row in means} == {None, "money-bad", "money-good"} and len(means) == 9


def test_a_bare_data_set_and_a_bare_question_set_are_taken_whole() -> None:
    base = sp.base("tiny:0")
    organism = sp.Organism(parent=base, data=sp.Money(), schedule=sp.Linear(peak=1e-4))
    assert organism == organism.but(data=sp.Split(data=sp.Money()))
    asked = sp.Responses(model=base, questions=sp.FreeForm())
    assert asked == asked.but(questions=sp.QuestionSelection(source=sp.FreeForm()))


def test_activations_are_arrays_by_site_and_pooling(studies: StudyStore) -> None:
    base = sp.base("tiny:0")
    questions = sp.QuestionSelection(source=sp.FreeForm(), count=3, formats=("raw",))
    arrays = studies.load(sp.Activations(model=base, prompts=sp.EvaluationPrompts(questions=questions)), quiet=True)
    last, mean = arrays["resid_post.01", "last"], arrays["resid_post.01", "mean"]
    assert last.shape == mean.shape and len(last) == 3 == arrays.prompts.num_rows and not (last == mean).all()
    assert ("embed", "mean") in arrays and len(arrays) == len(list(arrays)) and "3 prompts" in repr(arrays)
    with pytest.raises(ValueError, match=r"no activations 'resid_post.77.last'"):
        arrays["resid_post.77", "last"]
