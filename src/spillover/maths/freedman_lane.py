"""The null of a partial correlation: residuals change places, covariates stay. Knows orders of rows alone."""

from __future__ import annotations

import numpy as np

from spillover.maths.arrays import Floats, Ints
from spillover.maths.correlation import orthonormal


def permuted_partial(x: Floats, y: Floats, covariates: Floats, orders: Ints) -> tuple[float, Floats]:
    """Partial correlation of x and y (n,) given covariates (n, c), and the same with y's residuals in each of `orders`.

    Freedman and Lane (1983): what is left of y beside the covariates is put into another order (draws, n), the
    covariates are taken out again, and the rest is correlated with what is left of x. A covariate that drives both x
    and y so adds nothing to the null, which it would in permuting y itself. NaN where a residual vanishes.
    """
    basis = orthonormal(np.column_stack([np.ones(len(x)), covariates]))

    def rest(values: Floats) -> Floats:
        left = values - (values @ basis) @ basis.T
        return np.asarray(left - (left @ basis) @ basis.T)

    a, b = rest(x), rest(y)
    if min(_share(a, x), _share(b, y)) < 1e-10:
        return float("nan"), np.full(len(orders), np.nan)
    drawn = rest(b[orders])
    bottom = np.linalg.norm(a) * np.linalg.norm(drawn, axis=1)
    permuted = np.divide(drawn @ a, bottom, out=np.full(len(drawn), np.nan), where=bottom > 0)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), np.asarray(permuted)


def _share(rest: Floats, whole: Floats) -> float:
    return float(np.linalg.norm(rest) / max(float(np.linalg.norm(whole)), 1e-300))
