"""Linear regression for many targets that share their columns: least squares, ridge and the Lasso, penalties chosen.

Ridge: one factorisation serves every target, permutation and penalty. Equal to loops of scikit-learn's StandardScaler
and Ridge (or LinearRegression) to 1e-10: the smaller Gram matrix is diagonalised where it is conditioned well enough
for that, else the columns' singular values are found directly.

Lasso: every target, permutation and inner fold is the same quadratic with another linear part, so all are solved
together by the alternating direction method (Boyd et al. 2011, section 6.4): one matrix product an iteration instead of
a loop over coordinates; a target is dropped as soon as its solution is certified. Penalties are taken from the largest
down; each starts from where the solution lies if the next coordinates to enter are those that least squares would let
in, which for small penalties is already the answer. Checked against loops of scikit-learn's Lasso in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spillover.maths.arrays import Bools, Floats, Ints
from spillover.maths.cross_validation import inner_splits

EPS = float(np.finfo(np.float64).eps)
RIDGE_ALPHAS = tuple(float(10.0**exponent) for exponent in np.arange(-1, 6.5, 0.5))
LASSO_ALPHAS = tuple(float(10.0**exponent) for exponent in range(-4, 2))  # as published
WELL_CONDITIONED = 1e5  # of a Gram matrix: its eigenvalues' relative error is eps times this
TOGETHER = 256  # Lasso targets in one product: their coefficients stay within the processor's cache
CHECK_EVERY = 5  # iterations of the Lasso
FIRST_TUNING = 25  # iterations before the step is looked at again, then after twice as many
RELAXATION = 1.8


def standardised(inside: Floats, outside: Floats) -> tuple[Floats, Floats]:
    """Both (n, d) and (m, d) less the mean of `inside`, over its standard deviation: nothing is learnt outside."""
    centre, scale = inside.mean(axis=0), spread(inside)
    return (inside - centre) / scale, (outside - centre) / scale


def spread(x: Floats) -> Floats:
    """Standard deviation (ddof 0) of each column; 1 where constant up to rounding, as in StandardScaler."""
    variance = x.var(axis=0)
    constant = variance <= len(x) * EPS * variance + (len(x) * x.mean(axis=0) * EPS) ** 2
    return np.asarray(np.where(constant, 1.0, np.sqrt(variance)))


@dataclass(frozen=True)
class Ridge:
    """Ridge regression in each split: columns standardised on the training rows, free intercept.

    alphas: penalties >= 0 on standardised columns; of several, one is chosen for each target within the training rows;
        0 is least squares (least norm where columns exceed rows).
    inner: how it is chosen. "group": leave one group out (exact, closed form). "gcv": generalised cross-validation
        (takes rows as independent: too small a penalty when groups matter). "folds": least mean squared error over
        inner folds that never split a group, columns standardised anew in each (a grid search over a pipeline).
    inner_folds: how many folds "folds" takes, at least 2.
    """

    alphas: tuple[float, ...] = RIDGE_ALPHAS
    inner: Literal["group", "gcv", "folds"] = "group"
    inner_folds: int = 5

    def __post_init__(self) -> None:
        if not self.alphas or min(self.alphas) < 0:
            raise ValueError(f"alphas must be one or more penalties >= 0, got {self.alphas}")
        if self.inner not in ("group", "gcv", "folds"):
            raise ValueError(f"inner must be 'group', 'gcv' or 'folds', got {self.inner!r}")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds must be at least 2, got {self.inner_folds}")

    def fit_predict(self, inside: Floats, outside: Floats, targets: Floats, groups: Ints) -> tuple[Floats, Floats]:
        """Predictions (T, m) for rows outside (m, d) and the penalties chosen (T,); see `cross_validation.Fitter`."""
        alphas = np.asarray(self.alphas)
        fit = _Factors(inside, outside, targets, min(self.alphas))
        chosen = np.zeros(targets.shape[1], dtype=np.int64)
        if len(alphas) > 1:
            if self.inner == "folds":
                losses = self._fold_errors(inside, targets, groups)
            else:
                losses = fit.gcv(alphas) if self.inner == "gcv" else fit.left_out(alphas, groups)
            chosen = np.argmin(losses, axis=0).astype(np.int64)
        guess = np.empty((targets.shape[1], len(outside)))
        for index in np.unique(chosen):
            mine = chosen == index
            guess[mine] = fit.predict(alphas[index], mine).T
        return guess, alphas[chosen]

    def _fold_errors(self, inside: Floats, targets: Floats, groups: Ints) -> Floats:
        def residuals(held: Bools) -> list[Floats]:
            fit = _Factors(inside[~held], inside[held], targets[~held], min(self.alphas))
            return [targets[held] - fit.predict(alpha) for alpha in self.alphas]

        return _mean_squares(residuals, groups, self.inner_folds)


def _mean_squares(residuals: Callable[[Bools], Sequence[Floats]], groups: Ints, folds: int) -> Floats:
    """Mean over inner folds of the mean squared error, (alphas, T), from each penalty's residuals of the held rows."""
    splits = inner_splits(groups, folds)
    return np.asarray(np.mean([[(rest**2).mean(axis=0) for rest in residuals(held)] for held in splits], axis=0))


class _Factors:
    """Standardised training rows as Z = u diag(s) v', with what predictions for other rows and targets need."""

    def __init__(self, inside: Floats, outside: Floats, targets: Floats, least: float) -> None:
        self.z, other = standardised(inside, outside)
        self.u: Floats | None
        self.mean = targets.mean(axis=0)
        self.y = targets - self.mean
        n, d = self.z.shape
        wide = n < d
        gram = self.z @ self.z.T if wide else self.z.T @ self.z
        values, vectors = np.linalg.eigh(gram)
        top = float(values[-1]) if len(values) else 0.0
        lowest = float(values[1] if wide and n > 1 else values[0]) if len(values) else 0.0  # centred rows: one is 0
        if top > WELL_CONDITIONED * (max(lowest, 0.0) + least):
            u, singular, vt = np.linalg.svd(self.z, full_matrices=False)
            solid = singular > (singular[0] if len(singular) else 0.0) * max(n, d) * EPS
            self.u, self.singular = u[:, solid], singular[solid]
            self.coordinates, self.outer = self.u.T @ self.y, other @ vt[solid].T  # (rank, T), (m, rank)
            return
        solid = values > top * max(n, d) * EPS
        self.singular, vectors = np.sqrt(values[solid]), vectors[:, solid]
        if wide:
            self.u = vectors
            self.coordinates, self.outer = vectors.T @ self.y, (other @ self.z.T) @ vectors / self.singular
        else:
            self.u, self._v = None, vectors
            self.coordinates = vectors.T @ (self.z.T @ self.y) / self.singular[:, None]
            self.outer = other @ vectors

    def predict(self, alpha: float, which: Bools | slice = slice(None)) -> Floats:
        """Predictions (m, targets) of the targets asked for, at one penalty."""
        shrink = self.singular / (self.singular**2 + alpha)
        return np.asarray((self.outer * shrink) @ self.coordinates[:, which] + self.mean[which])

    def gcv(self, alphas: Floats) -> Floats:
        """Generalised cross-validation's error, up to a factor: (alphas, T)."""
        n, losses = len(self.y), np.empty((len(alphas), self.y.shape[1]))
        total, parts = (self.y**2).sum(axis=0), self.coordinates**2
        for index, alpha in enumerate(alphas):
            shrink = self.singular**2 / (self.singular**2 + alpha)
            room = 1 - (1 + shrink.sum()) / n
            residual = total - (1 - (1 - shrink) ** 2) @ parts
            losses[index] = residual / room**2 if room > 1e-10 else np.inf
        return losses

    def left_out(self, alphas: Floats, groups: Ints) -> Floats:
        """Squared error with each group left out, exactly: (alphas, T)."""
        losses, blocks = np.empty((len(alphas), self.y.shape[1])), _blocks(groups)
        if sum(len(rows) for rows in blocks) < 2:
            raise ValueError(
                "a training part holds a single group, so none can be left out; use more folds or one alpha"
            )
        u = self.z @ (self._v / self.singular) if self.u is None else self.u
        for index, alpha in enumerate(alphas):
            shrink = self.singular**2 / (self.singular**2 + alpha)
            fitted = (u * shrink) @ self.coordinates
            losses[index] = _left_out_error(u, shrink, np.subtract(self.y, fitted, out=fitted), blocks)
        return losses


def _left_out_error(u: Floats, shrink: Floats, residual: Floats, blocks: list[Ints]) -> Floats:
    """Squared error with each group left out, sum_g |(I - H_gg)^-1 e_g|^2, H with intercept; inf if singular.

    blocks: one array (groups, size) of rows for each size of group.
    """
    n, total = len(u), np.zeros(residual.shape[1])
    for rows in blocks:
        if rows.shape[1] == 1:
            alone = slice(None) if len(rows) == n else rows[:, 0]
            room = 1 - 1 / n - (u[alone] ** 2) @ shrink
            if room.min() < 1e-10:
                return np.full_like(total, np.inf)
            total += room**-2 @ residual[alone] ** 2
            continue
        inside = u[rows]  # (groups, size, rank)
        hats = np.eye(rows.shape[1]) - 1 / n - (inside * shrink) @ inside.transpose(0, 2, 1)
        if np.linalg.eigvalsh(hats)[:, 0].min() < 1e-10:
            return np.full_like(total, np.inf)
        left_out = np.linalg.inv(hats) @ residual[rows]
        total += np.einsum("gst,gst->t", left_out, left_out)
    return total


def _blocks(code: Ints) -> list[Ints]:
    """Rows of each group, groups of one size together: arrays (groups, size)."""
    order = np.argsort(code, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    sizes = sorted({len(rows) for rows in groups})
    return [np.stack([rows for rows in groups if len(rows) == size]) for size in sizes]


@dataclass(frozen=True)
class Lasso:
    """The Lasso in each split: columns standardised on the training rows, free intercept.

    Minimises |y - Z b|^2 / (2 n) + alpha |b|_1, scikit-learn's scale.

    alphas: penalties > 0; of several, one is chosen for each target by the least mean squared error over inner folds
        within the training rows that never split a group.
    inner_folds: how many, at least 2.
    scale_inside: whether columns are standardised anew in each inner fold (scikit-learn's LassoCV behind a scaler does
        not).
    tolerance: training predictions are within sqrt(tolerance) standard deviations of y of the exact ones (where columns
        exceed rows, twice the duality gap is the bound, and the looser one).
    most_iterations: for one penalty.
    """

    alphas: tuple[float, ...] = LASSO_ALPHAS
    inner_folds: int = 5
    scale_inside: bool = True
    tolerance: float = 1e-7
    most_iterations: int = 1000

    def __post_init__(self) -> None:
        if not self.alphas or min(self.alphas) <= 0:
            raise ValueError(f"alphas must be one or more penalties > 0, got {self.alphas}; for 0 use Ridge((0.0,))")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds must be at least 2, got {self.inner_folds}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be above 0, got {self.tolerance}")

    def fit_predict(self, inside: Floats, outside: Floats, targets: Floats, groups: Ints) -> tuple[Floats, Floats]:
        """Predictions (T, m) for rows outside (m, d) and the penalties chosen (T,); see `cross_validation.Fitter`."""
        alphas = np.asarray(self.alphas)
        chosen = np.zeros(targets.shape[1], dtype=np.int64)
        if len(alphas) > 1:
            chosen = np.argmin(self._fold_errors(inside, targets, groups), axis=0)
        z, other = standardised(inside, outside)
        mean = targets.mean(axis=0)
        fits = self.path(z, targets - mean, alphas[chosen])
        return (other @ fits[chosen, :, np.arange(len(chosen))].T + mean).T, alphas[chosen]

    def path(self, z: Floats, y: Floats, least: Floats | float = 0.0) -> Floats:
        """Coefficients (alphas, d, T) of centred columns z (n, d) and targets y (n, T), for each of `alphas`.

        least: (T,) the smallest penalty wanted of each target; below it coefficients are left at 0.
        """
        n, d = z.shape
        coefficients = np.zeros((len(self.alphas), d, y.shape[1]))
        quadratic = _Quadratic(z.T @ z / n)
        floor = np.broadcast_to(np.asarray(least, dtype=np.float64), y.shape[1])
        for start in range(0, y.shape[1], TOGETHER):
            part = slice(start, start + TOGETHER)
            linear, power = z.T @ y[:, part] / n, (y[:, part] ** 2).mean(axis=0)
            self._descend(quadratic, linear, power, floor[part], coefficients[:, :, part])
        return coefficients

    def _descend(self, quadratic: _Quadratic, linear: Floats, power: Floats, floor: Floats, out: Floats) -> None:
        """Every penalty for some targets, from the largest down, written into `out` (alphas, d, targets)."""
        wanted = np.arange(linear.shape[1])
        slope = np.zeros_like(linear)  # the subgradient of |b|_1: sign(b), or between -1 and 1 where b is 0
        for index in np.argsort(self.alphas)[::-1]:
            alpha = self.alphas[index]
            keep = floor[wanted] <= alpha
            wanted, slope = wanted[keep], slope[:, keep]
            if len(wanted) == 0:
                return
            problem = _Problem(quadratic, linear[:, wanted], power[wanted], alpha)
            b, slope = problem.solve(slope, self.tolerance, self.most_iterations)
            out[index][:, wanted] = b

    def _fold_errors(self, inside: Floats, targets: Floats, groups: Ints) -> Floats:
        rows = inside if self.scale_inside else standardised(inside, inside)[0]

        def residuals(held: Bools) -> list[Floats]:
            if self.scale_inside:
                z, other = standardised(rows[~held], rows[held])
            else:
                centre = rows[~held].mean(axis=0)
                z, other = rows[~held] - centre, rows[held] - centre
            mean = targets[~held].mean(axis=0)
            return [targets[held] - mean - other @ fit for fit in self.path(z, targets[~held] - mean)]

        return _mean_squares(residuals, groups, self.inner_folds)


class _Quadratic:
    """G = Z'Z/n (d, d), diagonalised once; `step` is the method's penalty on splitting b from its sparse copy."""

    def __init__(self, gram: Floats) -> None:
        self.gram = gram
        values, self.vectors = np.linalg.eigh(gram)
        self.values = np.maximum(values, 0.0)
        top = float(self.values[-1])
        solid = self.values[self.values > 1e-8 * top]
        self.range = (float(solid[0]) / 10, top * 10) if len(solid) else (1.0, 1.0)
        self.step = float(np.exp(np.log(solid).mean())) if len(solid) else 1.0
        self.inverse = (self.vectors / self.values) @ self.vectors.T if self.values[0] > 1e-6 * top else None

    def smoothing(self, step: float) -> Floats:
        """(G + step I)^-1."""
        return np.asarray((self.vectors / (self.values + step)) @ self.vectors.T)


class _Problem:
    """min over b of b'Gb/2 - linear'b + alpha |b|_1 for each column of linear (d, T); power (T,) is mean y^2."""

    def __init__(self, quadratic: _Quadratic, linear: Floats, power: Floats, alpha: float) -> None:
        self.quadratic, self.linear, self.power, self.alpha = quadratic, linear, power, alpha

    def solve(self, slope: Floats, tolerance: float, most: int) -> tuple[Floats, Floats]:
        """(b, subgradient) (d, T), from the subgradient at a larger penalty."""
        b, slope = self._first(slope)
        solutions, slopes = np.zeros_like(b), np.zeros_like(b)
        live, linear, step = np.arange(b.shape[1]), self.linear, self.quadratic.step
        dual = slope * (self.alpha / step)
        tuning, done, unlike, moved = FIRST_TUNING, 0, 0.0, 0.0
        smooth = self.quadratic.smoothing(step)
        shift = smooth @ linear
        while True:
            gradient = linear - self.quadratic.gram @ b
            off = self._distance(b, gradient, linear, self.power[live])
            closed = (off <= tolerance * self.power[live]) | (done >= most)
            if closed.any():
                solutions[:, live[closed]] = b[:, closed]
                slopes[:, live[closed]] = np.clip(gradient[:, closed] / self.alpha, -1.0, 1.0)
                live, linear = live[~closed], linear[:, ~closed]
                b, dual = b[:, ~closed], dual[:, ~closed]
                if len(live) == 0:
                    return solutions, slopes
                shift = shift[:, ~closed]
            if done >= tuning:
                new = self._tuned(step, unlike, moved, b, dual)
                if new != step:
                    dual, step, smooth = dual * (step / new), new, self.quadratic.smoothing(new)
                    shift = smooth @ linear
                tuning *= 2
            b, dual, unlike, moved = _iterate(b, dual, step * smooth, shift, self.alpha / step)
            done += CHECK_EVERY

    def _first(self, slope: Floats) -> tuple[Floats, Floats]:
        """(b, subgradient) if b is G^-1 (linear - alpha slope): the solution once the signs are right."""
        if self.quadratic.inverse is None:
            return np.zeros_like(slope), slope
        b = self.quadratic.inverse @ (self.linear - self.alpha * slope)
        sign = np.where(b * slope > 0, np.sign(b), slope)
        return np.where(b * sign > 0, b, 0.0), sign

    def _distance(self, b: Floats, gradient: Floats, linear: Floats, power: Floats) -> Floats:
        """Bound (T,) on the mean square of Z (b - exact): v' G^-1 v with v the least subgradient of the objective at b.

        The objective is strongly convex in G's own norm, which gives the bound; without G^-1, twice the duality gap of
        the residual scaled until it is feasible.
        """
        if self.quadratic.inverse is not None:
            most = self.alpha * np.where(b == 0, 1.0, 0.0)
            v = gradient - self.alpha * np.sign(b)
            v -= np.clip(v, -most, most)
            return np.asarray(np.einsum("dt,dt->t", v, self.quadratic.inverse @ v))
        along, inner = np.einsum("dt,dt->t", linear, b), np.einsum("dt,dt->t", gradient, b)
        steepest = np.abs(gradient).max(axis=0)
        scale = np.minimum(1.0, self.alpha / np.maximum(steepest, 1e-300))
        residual, with_y = power - along - inner, power - along
        primal = residual / 2 + self.alpha * np.abs(b).sum(axis=0)
        return np.asarray(2 * (primal - (scale * with_y - scale**2 * residual / 2)))

    def _tuned(self, step: float, unlike: float, moved: float, b: Floats, dual: Floats) -> float:
        """A step that balances the distance of b from its sparse copy with the distance the copy still moves."""
        primal = unlike / max(float(np.linalg.norm(b)), 1e-300)
        still = moved / max(float(np.linalg.norm(dual)), 1e-300)
        ratio = float(np.sqrt(primal / max(still, 1e-300)))
        if 1 / 3 <= ratio <= 3:
            return step
        return float(np.clip(step * np.clip(ratio, 0.1, 10.0), *self.quadratic.range))


def _iterate(
    b: Floats, dual: Floats, smooth: Floats, shift: Floats, most: float
) -> tuple[Floats, Floats, float, float]:
    """`CHECK_EVERY` iterations on: (sparse copy, dual, distance of the last b from its copy, the copy's last move)."""
    whole = before = b
    for _ in range(CHECK_EVERY):
        before, whole = b, smooth @ (b - dual)
        whole += shift
        mixed = RELAXATION * whole
        mixed += (1 - RELAXATION) * before
        mixed += dual
        dual = np.clip(mixed, -most, most)
        b = mixed - dual
    return b, dual, float(np.linalg.norm(whole - b)), float(np.linalg.norm(b - before))
