"""How far prompts lie within the space of the training prompts, with controls. Knows vectors and axes only.

All follow METHOD section 3; a is a row, mu the axes' mean, P the projector on the axes. A row at the mean has
no direction: its overlap is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, codes, matrix, same_width
from spillover.maths.axes import Axes, random_axes


def overlap(rows: ArrayLike, axes: Axes) -> Floats:
    """norm(P (a - mu)) / norm(a - mu) per row: (n,) in [0, 1]; 1 is wholly within the axes."""
    x, centred = _centred(rows, axes)
    return _quotient(np.linalg.norm(centred @ axes.axes.T, axis=1), np.linalg.norm(centred, axis=1), x)


def overlap_curve(rows: ArrayLike, axes: Axes) -> Floats:
    """Overlap with the first 1, 2, ..., k axes: (n, k), never falling; the last column is `overlap`."""
    x, centred = _centred(rows, axes)
    within = np.sqrt(np.cumsum((centred @ axes.axes.T) ** 2, axis=1))
    whole = np.linalg.norm(centred, axis=1)
    return np.stack([_quotient(part, whole, x) for part in within.T], axis=1)


def explained_share(rows: ArrayLike, axes: Axes) -> Floats:
    """1 - norm(residual)^2 / norm(a - mu)^2 per row: (n,) in [0, 1]. By Pythagoras it is overlap squared."""
    return overlap(rows, axes) ** 2


def random_control(rows: ArrayLike, axes: Axes, draws: int, rng: np.random.Generator) -> Floats:
    """Overlap with random orthonormal axes of the same k and mean: (draws, n).

    For any fixed row the expected *square* is exactly k/d (its distribution is Beta(k/2, (d-k)/2)); rows of
    one draw share their axes, so a p-value for a statistic over rows is its rank among the draws.
    """
    x, centred = _centred(rows, axes)
    norms = np.linalg.norm(centred, axis=1)
    basis = np.linalg.qr(centred.T)[0] if len(x) < x.shape[1] else None  # rows span at most n of the d dimensions
    inside = centred if basis is None else centred @ basis
    control = np.empty((draws, len(x)))
    for draw in range(draws):
        directions = random_axes(axes.k, x.shape[1], rng)
        seen = directions if basis is None else directions @ basis
        control[draw] = _quotient(np.linalg.norm(inside @ seen.T, axis=1), norms, x)
    return control


def evaluation_control(rows: ArrayLike, k: int, groups: Any = None) -> Floats:
    """Overlap of each row with k principal axes of the *other* rows, centred at their mean: (n,).

    The upper control: how well prompts of the same set span each other. groups (n,) leaves out the row's
    whole family (None: the row alone); fitted with the row itself, as published, the row explains itself. NaN
    where the others have fewer than k axes.
    """
    x = matrix("rows", rows)
    code, names = codes("groups", np.arange(len(x)) if groups is None else groups, len(x))
    turned = np.linalg.qr(x.T)[1].T if len(x) < x.shape[1] else x  # same inner products, fewer columns
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    result = np.full(len(x), np.nan)
    for group in range(len(names)):
        held = code == group
        others = turned[~held]
        if len(others) <= k:
            continue
        centre = others.mean(axis=0)
        top = _top_axes(others - centre, k)
        if top is not None:
            centred = turned[held] - centre
            lengths = np.linalg.norm(centred, axis=1)
            result[held] = _quotient(np.linalg.norm(centred @ top.T, axis=1), lengths, turned[held])
    return result


def reconstruction_cosine(rows: ArrayLike, axes: Axes) -> Floats:
    """cos(mu + P (a - mu), a) per row: (n,) in [-1, 1]; NaN where either has no length."""
    x, centred = _centred(rows, axes)
    rebuilt = axes.mean + centred @ axes.axes.T @ axes.axes
    lengths = np.linalg.norm(rebuilt, axis=1) * np.linalg.norm(x, axis=1)
    return np.asarray(np.clip(_quotient((rebuilt * x).sum(axis=1), lengths, x), -1.0, 1.0))


def mahalanobis(rows: ArrayLike, axes: Axes) -> Floats:
    """sqrt(sum_j c_j^2 / variance_j) over the k coordinates: (n,), in training standard deviations.

    It says nothing of the d - k directions that the axes leave out.
    """
    coordinates = axes.project(rows)
    return np.asarray(np.sqrt((coordinates**2 / axes.variances).sum(axis=1)))


def _centred(rows: ArrayLike, axes: Axes) -> tuple[Floats, Floats]:
    x = matrix("rows", rows)
    same_width("rows", x, "axes", axes.axes)
    return x, x - axes.mean


def _quotient(part: Floats, whole: Floats, rows: Floats) -> Floats:
    """part / whole, NaN where whole is nothing beside the rows' own size (rounding has no direction)."""
    floor = 1e-14 * np.linalg.norm(rows, axis=1)
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > floor))


def _top_axes(centred: Floats, k: int) -> Floats | None:
    """k leading right singular vectors (k, d) by the smaller Gram matrix; None where the rank is below k."""
    from scipy.linalg import eigh

    n, d = centred.shape
    gram = centred @ centred.T if n < d else centred.T @ centred
    size = len(gram)
    values, vectors = eigh(gram, subset_by_index=(max(size - k, 0), size - 1))
    if len(values) < k or values[0] <= values[-1] * size * 1e-14:
        return None
    return np.asarray((vectors / np.sqrt(values)).T @ centred if n < d else vectors.T)
