"""Loss of answers under the parent: read for the answers it is of, shown by model, and said where sentences broke."""

from __future__ import annotations

import pytest

from spillover.analyses.effect import Effect
from spillover.analyses.rows import row_where
from spillover.models.catalogue import base_of
from spillover.records import LIKELIHOODS, read_table, write_table
from spillover.responses.likelihoods import TABLE, Likelihoods

from .planted import BASE


def study(planted, nats: dict[str, float]) -> Effect:
    """A base and an organism an arm; the answers of an arm in `nats` cost that much a token."""
    models = {"base": BASE, "bad": planted.organism("bad").checkpoint(), "good": planted.organism("good").checkpoint()}
    scored = {arm: planted.judgements(model, 50) for arm, model in models.items()}
    likelihoods = {arm: Likelihoods(model=BASE, answers=scored[arm].responses, samples=1) for arm in nats}
    for arm, item in likelihoods.items():
        first = [q.id for index, q in enumerate(planted.questions) if index % planted.per_question == 0]
        rows = [
            {"question_id": name, "sample": 0, "tokens": tokens, "log_probability": -tokens * nats[arm] or None}
            for name, tokens in zip(first, [0, 4, 9] * len(first), strict=False)
        ]
        folder = planted.store.path(item)
        folder.mkdir(parents=True)
        labels = {"model": arm, "model_id": arm, "data": None, "step": None, "questions": None}
        write_table([row | {"per_token": []} for row in rows], folder / TABLE, LIKELIHOODS, labels)
    arms = {arm: (scored[arm],) for arm in ("bad", "good")}
    return Effect(before=scored["base"], **arms, likelihoods=tuple(likelihoods.values()), draws=199)


def words(section) -> str:
    parts = [part for block in section.blocks for part in getattr(block, "parts", ())]
    return "".join(str(getattr(part, "text", part)) for part in parts)


def test_every_model_has_its_loss_beside_the_judges_scores(planted, tmp_path):
    effect = study(planted, {"base": 1.0, "bad": 2.25, "good": 1.5})
    result = planted.analyse(effect, tmp_path / "effect")
    for role, nats in {"base": 1.0, "bad": 2.25, "good": 1.5}.items():
        row = row_where(result.tables["models"], role=role, measure="parent_loss")
        assert row["estimate"] == pytest.approx(nats) and row["low"] <= nats <= row["high"]  # empty answers left out
    section = effect.show(result)
    table = next(block for block in section.blocks if getattr(block, "name", "") == "models" and hasattr(block, "rows"))
    assert [row["parent_loss"].split("\u00a0")[0] for row in table.rows] == ["1.00", "2.25", "1.50"]
    assert "hold together" in words(section) and "word salad" not in words(section)


def test_broken_sentences_are_said_and_only_those(planted, tmp_path):
    effect = study(planted, {"base": 1.0, "bad": 4.0, "good": 2.4})
    text = words(effect.show(planted.analyse(effect, tmp_path / "effect")))
    assert "word salad" in text and "4.00" in text and "2.40" not in text


def test_without_likelihoods_nothing_is_shown(planted, tmp_path):
    effect = study(planted, {})
    result = planted.analyse(effect, tmp_path / "effect")
    assert "parent_loss" not in {row["measure"] for row in result.tables["models"]}
    assert "nats" not in words(effect.show(result))


def test_likelihoods_of_other_answers_or_under_two_models_are_refused(planted):
    effect = study(planted, {"base": 1.0, "bad": 2.0})
    other = effect.likelihoods[0].but(model=base_of("tiny:1"))
    with pytest.raises(ValueError, match="cannot be compared: give those under one model"):
        effect.but(likelihoods=(other, effect.likelihoods[1]))
    with pytest.raises(ValueError, match="not judged here"):
        effect.but(bad=effect.good, good=())


def test_the_first_answers_to_each_question_are_read_alone(store, tiny):
    from spillover.engines.local import run
    from spillover.responses.question import QuestionSelection
    from spillover.responses.questions.free_form import FreeForm
    from spillover.responses.responses import Responses
    from spillover.responses.sampling import Sampling

    asked = QuestionSelection(source=FreeForm(), count=2, formats=("raw",))
    answers = Responses(model=tiny, questions=asked, sampling=Sampling(per_question=3, max_tokens=4))
    whole, some = Likelihoods(model=tiny, answers=answers), Likelihoods(model=tiny, answers=answers, samples=2)
    rows, first = (read_table(run(item, store) / TABLE).to_pylist() for item in (whole, some))
    assert first == [row for row in rows if row["sample"] < 2] and len(first) == 4
    assert some.cost().units == pytest.approx(whole.cost().units * 2 / 3)
