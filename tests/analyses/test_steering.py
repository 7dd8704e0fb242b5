"""Steering finds a planted common shift, and none where prompts shift each in its own way."""

import numpy as np
import pytest

from spillover.activations.directions.mean_shift import MeanShift
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.steered import Steered
from spillover.analyses.rows import row_where
from spillover.analyses.steering import Steering

from .planted import BASE, Planted

D = 24


def study(planted: Planted, common: bool, far: float = 75) -> Steering:
    rng = np.random.default_rng(3)
    v = rng.normal(size=D)
    model = planted.organism().checkpoint()
    made = {}
    for name, prompts in (("training", planted.training), ("evaluation", planted.evaluation)):
        start = rng.normal(size=(len(prompts.prompts()), D))
        own = rng.normal(size=start.shape)
        shift = v + 0.3 * own if common else 2 * own
        site = "resid_post.01.last"
        made[name] = (
            planted.activations(BASE, prompts, {site: start}),
            planted.activations(model, prompts, {site: start + shift}),
        )
    before, after = made["training"]
    shift = MeanShift(before=before, after=after, layer=1)
    directions = [shift, *(RandomDirection(like=shift, seed=seed) for seed in (0, 1, 2))]
    for direction in directions:
        planted.store.make(direction)
    steered = [Steered(model=BASE, direction=direction) for direction in directions]
    return Steering(
        evaluation_before=made["evaluation"][0],
        evaluation_after=made["evaluation"][1],
        directions=tuple(directions[:1]),
        controls=tuple(directions[1:]),
        before=planted.judgements(BASE, 75),
        after=planted.judgements(model, 55),
        steered=tuple(planted.judgements(*pair) for pair in zip(steered, (60, 75, 75, far), strict=True)),
        draws=199,
    )


@pytest.mark.parametrize("common", [True, False])
def test_a_common_shift_is_found_and_only_then(planted, tmp_path, common):
    analysis = study(planted, common)
    result = planted.analyse(analysis, tmp_path / "s")
    raw = row_where(result.tables["prompts"], layer=1, scaling="raw")
    assert (raw["low"] > 0.5) is common
    assert raw["random_explained"] < 0.1 and raw["random_draws"] == 3
    assert (raw["whole"] > 0.8) is common and raw["random_whole"] < 0.3
    moved = [row for row in result.tables["answers"] if row["metric"] == "aligned" and row["steered"]]
    assert moved[0]["random"] is False and moved[0]["moved_high"] < -8
    assert moved[1]["random"] is True and moved[1]["moved_low"] < 0 < moved[1]["moved_high"]
    assert len(result.tables["answers"]) == 12 and analysis.show(result).blocks


@pytest.mark.parametrize("far", [75, 35, 110])
def test_a_move_is_ranked_among_those_of_random_directions(planted, tmp_path, far):
    """Up or down: a random direction that moves answers further than the shift does is counted."""
    analysis = study(planted, True, far)
    result = planted.analyse(analysis, tmp_path / "s")
    row = row_where(result.tables["against"], metric="aligned")
    moves = [each["moved"] for each in result.tables["answers"] if each["random"] and each["metric"] == "aligned"]
    assert row["random_draws"] == 3 and row["moved"] < -8
    assert (row["random_least"], row["random_most"]) == (min(moves), max(moves))
    assert row["random_mean"] == pytest.approx(np.mean(moves))
    assert row["as_far"] == (far != 75) and row["p"] == (1 + row["as_far"]) / 4
    assert "against" in str(analysis.show(result).blocks)
    lone = analysis.but(steered=analysis.steered[:1])
    assert "against" not in planted.analyse(lone, tmp_path / "lone").tables


def test_what_does_not_fit_is_refused(planted):
    analysis = study(planted, True)
    with pytest.raises(ValueError, match="RandomDirection"):
        analysis.but(controls=analysis.directions)
    with pytest.raises(ValueError, match="no steered version"):
        analysis.but(steered=(analysis.after,))
    with pytest.raises(ValueError, match="not the models"):
        analysis.but(evaluation_after=analysis.evaluation_before)
