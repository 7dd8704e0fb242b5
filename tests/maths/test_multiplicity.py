"""Corrections for many tests: equal to scipy, and holding what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from spillover.maths.multiplicity import benjamini_hochberg, max_t


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(deadline=None, derandomize=True)
def test_bh_is_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p), abs=1e-12)


def test_bh_leaves_out_tests_that_were_not_made() -> None:
    q = benjamini_hochberg([0.01, np.nan, 0.04, 0.03])
    assert np.isnan(q[1])
    assert q[[0, 2, 3]] == pytest.approx(false_discovery_control([0.01, 0.04, 0.03]))
    assert np.isnan(benjamini_hochberg([np.nan])).all()
    assert len(benjamini_hochberg([])) == 0
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        benjamini_hochberg([1.5])


def test_bh_holds_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        p = np.r_[rng.random(80), rng.random(20) * 1e-3]
        called = benjamini_hochberg(p) <= 0.1
        shares.append(called[:80].sum() / max(called.sum(), 1))
    assert 0.06 < np.mean(shares) < 0.1


def test_max_t_by_hand() -> None:
    permuted = np.array([[3.0, 0], [0, 2], [1, 1], [0, 0]] * 5)  # 20 rows
    p = max_t([2.5, 1.5], permuted, step_down=False)
    assert p == pytest.approx([6 / 21, 11 / 21])
    assert max_t([2.5, 1.5], permuted) == pytest.approx([6 / 21, 6 / 21])
    assert max_t([-2.5, np.nan], permuted)[0] == pytest.approx(6 / 21)


def _dependent(rng: np.random.Generator, rows: int) -> np.ndarray:
    """40 layers whose statistics go together."""
    return 0.8 * rng.normal(size=(rows, 1)) + 0.6 * rng.normal(size=(rows, 40))


def test_max_t_holds_the_family_wise_error_where_single_tests_do_not() -> None:
    rng = np.random.default_rng(1)
    single = family = 0
    for _ in range(400):
        observed, permuted = _dependent(rng, 1)[0], _dependent(rng, 199)
        single += ((1 + (abs(permuted) >= abs(observed)).sum(axis=0)) / 200 <= 0.05).any()
        family += (max_t(observed, permuted) <= 0.05).any()
    assert single / 400 > 0.2
    assert 0.025 <= family / 400 <= 0.08


def test_max_t_beats_bonferroni_when_tests_go_together_and_step_down_never_loses() -> None:
    rng = np.random.default_rng(2)
    permuted = 0.98 * rng.normal(size=(999, 1)) + 0.2 * rng.normal(size=(999, 40))
    observed = np.full(40, 2.6)
    assert max_t(observed, permuted).max() < 0.05
    assert 40 * 0.0093 > 0.3  # Bonferroni of p = 0.0093
    spread = rng.normal(size=40)
    assert (max_t(spread, permuted) <= max_t(spread, permuted, step_down=False) + 1e-15).all()


def test_max_t_says_what_came() -> None:
    with pytest.raises(ValueError, match="3 columns for 2 tests"):
        max_t([1.0, 2.0], np.zeros((20, 3)))
    with pytest.raises(ValueError, match="fewer than 19"):
        max_t([1.0], np.zeros((5, 1)))
