"""The permutation null of a partial correlation, by simulation."""

from __future__ import annotations

import numpy as np

from spillover.maths.correlation import partial, permuted_partial
from spillover.maths.permutation import exceedance, permutations


def test_it_is_the_partial_correlation() -> None:
    rng = np.random.default_rng(0)
    x, y, given = rng.normal(size=40), rng.normal(size=40), rng.normal(size=(40, 2))
    r, drawn = permuted_partial(x, y, given, permutations(40, 99, 1))
    assert np.isclose(r, partial(x, y, given).estimate, atol=1e-12)
    assert drawn.shape == (99,) and abs(drawn.mean()) < 0.05


def _p(seed: int, effect: float) -> float:
    """40 prompts in 20 families of two formats; the format drives both sides, whatever the effect is."""
    rng = np.random.default_rng(seed)
    family, format = np.repeat(np.arange(20), 2), np.tile([0.0, 1.0], 20)
    own, common = rng.normal(size=40), rng.normal(size=20)[family]
    x = 4 * format + own + common
    y = -4 * format + effect * own + rng.normal(size=40) + rng.normal(size=20)[family]
    r, drawn = permuted_partial(x, y, format[:, None], permutations(40, 199, seed, family))
    return float(exceedance(np.array(r), drawn))


def test_a_covariate_on_both_sides_makes_no_false_alarm_and_hides_no_effect() -> None:
    null = np.array([_p(seed, 0.0) for seed in range(200)])
    assert 0.01 <= (null <= 0.05).mean() <= 0.1
    assert np.mean([_p(seed, 3.0) <= 0.05 for seed in range(60)]) > 0.85


def test_nothing_left_beside_the_covariate_is_no_correlation() -> None:
    x = np.arange(10.0)
    r, drawn = permuted_partial(x, np.sin(x), x[:, None], permutations(10, 19, 0))
    assert np.isnan(r) and np.isnan(drawn).all()
