"""Low-rank products against the matrices they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.shift import weight_cosine, weight_inner, weight_norm


def test_as_the_whole_matrices() -> None:
    rng = np.random.default_rng(0)
    one, other = ((rng.normal(size=(7, r)), rng.normal(size=(r, 5))) for r in (2, 3))
    full = [b @ a for b, a in (one, other)]
    assert weight_inner(one, other) == pytest.approx((full[0] * full[1]).sum())
    assert weight_norm(one) == pytest.approx(np.linalg.norm(full[0]))
    assert weight_cosine([one, other], [one, other]) == pytest.approx(1)
    expected = (full[0] * full[1]).sum() / np.linalg.norm(full[0]) / np.linalg.norm(full[1])
    assert weight_cosine([one], [other]) == pytest.approx(expected)
    assert np.isnan(weight_cosine([one], [(0 * other[0], other[1])]))
    with pytest.raises(ValueError, match="no inner product"):
        weight_inner(one, (one[1], one[0]))
