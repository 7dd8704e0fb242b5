"""A direction that raises its trait is told from one that does not, and from one that breaks the model."""

import numpy as np
import pytest

from spillover.activations.activations import Activations
from spillover.activations.directions.contrast import Contrast
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.prompts import AnsweredPrompts
from spillover.activations.steered import Steered
from spillover.analyses.rows import row_where
from spillover.analyses.trait_check import TraitCheck, TraitLeaning
from spillover.models.base import Model
from spillover.records import LIKELIHOODS, write_table
from spillover.responses.likelihoods import Likelihoods
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.traits import TraitQuestions
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling

from .planted import BASE, Planted

SIDES = {side: QuestionSelection(source=TraitQuestions(trait="evil", side=side)) for side in ("high", "low", "none")}


def leaning(planted: Planted, model: Model, high: float, low: float, seed: int) -> TraitLeaning:
    """Of a model that gives every token of high and low answers these log-probabilities, about."""
    rng = np.random.default_rng(seed)
    sides = {}
    for side, level in (("high", high), ("low", low)):
        answers = Responses(model=BASE, questions=SIDES[side], sampling=Sampling(per_question=2))
        made = Likelihoods(model=model, answers=answers, questions=SIDES["none"])
        folder = planted.store.path(made)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {"question_id": question.id, "sample": sample, "tokens": 10}
            | {"log_probability": 10 * (level + rng.normal(0, 0.05)), "per_token": [level] * 10}
            for question in SIDES["none"].questions()
            for sample in range(2)
        ]
        write_table(rows, folder / "likelihoods.parquet", LIKELIHOODS, {})
        sides[side] = made
    return TraitLeaning(**sides)


def study(planted: Planted, by: float) -> TraitCheck:
    held = {
        side: Activations(
            model=BASE,
            prompts=AnsweredPrompts(
                responses=Responses(model=BASE, questions=SIDES[side], sampling=Sampling(per_question=2))
            ),
        )
        for side in ("high", "low")
    }
    direction = Contrast(**held, layer=1, pooling="completion", name="evil")
    random = [RandomDirection(like=direction, seed=seed) for seed in range(19)]
    return TraitCheck(
        trait="evil",
        plain=leaning(planted, BASE, -3, -2, 0),
        added=leaning(planted, Steered(model=BASE, direction=direction), -3 + by, -2, 1),
        removed=leaning(planted, Steered(model=BASE, direction=direction, how="ablate"), -3 - by, -2, 2),
        random_added=tuple(
            leaning(planted, Steered(model=BASE, direction=each), -3, -2, 10 + i) for i, each in enumerate(random)
        ),
        draws=199,
    )


@pytest.mark.parametrize("by", [0.5, 0.0])
def test_a_trait_that_is_raised_is_seen_and_only_then(planted, tmp_path, by) -> None:
    analysis = study(planted, by)
    result = planted.analyse(analysis, tmp_path / "check")
    plain, added, removed = (row_where(result.tables["leanings"], what=what) for what in ("plain", "added", "removed"))
    assert plain["estimate"] == pytest.approx(-1, abs=0.05) and plain["n"] == 10
    assert added["moved"] == pytest.approx(by, abs=0.06) and removed["moved"] == pytest.approx(-by, abs=0.06)
    assert (added["random_p"] == pytest.approx(0.05)) is (by > 0)
    assert removed["random_p"] is None
    assert added["fluency"] == pytest.approx(by / 2, abs=0.05)
    assert analysis.show(result).blocks


def test_what_does_not_fit_is_refused(planted) -> None:
    analysis = study(planted, 0.5)
    with pytest.raises(ValueError, match="controls are random"):
        analysis.but(random_added=(analysis.added,))
    with pytest.raises(ValueError, match="no steered version"):
        analysis.but(added=analysis.plain)
    with pytest.raises(ValueError, match="same questions"):
        TraitLeaning(high=analysis.plain.high.but(questions=None), low=analysis.plain.low)
    with pytest.raises(ValueError, match="have no question"):
        analysis.plain.high.but(questions=QuestionSelection(source=TraitQuestions(trait="reckless")))
