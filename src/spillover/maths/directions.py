"""Directions in activation space from bare arrays: contrasts, probe weights, erasers, principal axes, random ones.

Rows are prompts, columns d_model. Each function takes arrays and gives a vector (d,), as long as it was measured unless
it says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, matrix, same_width, vector

RANK_TOLERANCE = 1e-10  # of the largest eigenvalue: what lies below is no variance


@dataclass(frozen=True)
class Eraser:
    """x - ((x - centre) . read) write, row by row: what a linear probe could read is gone, all else is least changed.

    centre, read, write: (d,). read . write = 1, so erasing twice is erasing once.
    """

    centre: Floats
    read: Floats
    write: Floats

    def __call__(self, rows: ArrayLike) -> Floats:
        """The rows (n, d) after erasure."""
        x = matrix("rows", rows)
        return np.asarray(x - np.outer((x - self.centre) @ self.read, self.write))


def contrast(high: ArrayLike, low: ArrayLike) -> Floats:
    """mean(high) - mean(low), (d,): from the second set's mean to the first's (persona vectors, arXiv 2507.21509)."""
    above, below = _two_sets(high, low)
    return np.asarray(above.mean(axis=0) - below.mean(axis=0))


def probe_weights(high: ArrayLike, low: ArrayLike, penalty: float = 1.0) -> Floats:
    """Weights (d,) of a ridge regression of +1 (high) and -1 (low) on centred rows, at length 1.

    penalty: times the mean eigenvalue of the rows' Gram matrix is added to its diagonal; larger is nearer to the
    contrast of means, 0 is least squares with the shortest weights. ValueError where the two sets do not differ.
    """
    above, below = _two_sets(high, low)
    if penalty < 0:
        raise ValueError(f"penalty must not be below 0, got {penalty}")
    rows = np.vstack((above, below))
    labels = np.concatenate((np.ones(len(above)), -np.ones(len(below))))
    centred = rows - rows.mean(axis=0)
    gram = centred @ centred.T
    ridge = penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = centred.T @ (np.linalg.pinv(gram + ridge, hermitian=True) @ (labels - labels.mean()))
    length = np.linalg.norm(weights)
    if not length > 0:
        raise ValueError("the two sets do not differ along any direction: there is nothing to read off")
    return np.asarray(weights / length)


def leace(high: ArrayLike, low: ArrayLike) -> Eraser:
    """The least-squares eraser of which of two sets a row is from (LEACE, arXiv 2306.03819, theorem 4.3).

    x - W^+ P W (x - mean), with W = (Sigma_xx^(1/2))^+ and P the projection on W Sigma_xz; for a label of two values
    this has rank one. On the rows it was made from, no linear probe does better than chance afterwards: the sets' means
    are equal. ValueError where the sets' means are equal before.
    """
    above, below = _two_sets(high, low)
    rows = np.vstack((above, below))
    labels = np.concatenate((np.ones(len(above)), np.zeros(len(below))))
    centre = rows.mean(axis=0)
    centred = rows - centre
    covariance = centred.T @ (labels - labels.mean()) / len(rows)
    _, singular, axes = np.linalg.svd(centred / np.sqrt(len(rows)), full_matrices=False)
    keep = singular**2 > RANK_TOLERANCE * max(float(singular[0]) ** 2, np.finfo(float).tiny)
    deviation, axes = singular[keep], axes[keep]  # Sigma_xx = axes.T deviation^2 axes
    whitened = (axes @ covariance) / deviation
    length = np.linalg.norm(whitened)
    if not length > RANK_TOLERANCE:
        raise ValueError("the two sets have the same mean: there is nothing to erase")
    whitened = whitened / length
    return Eraser(centre, (whitened / deviation) @ axes, (whitened * deviation) @ axes)


def principal_axis(rows: ArrayLike, number: int = 0) -> tuple[Floats, float]:
    """The principal axis `number` (from 0) of rows (n, d), at length 1, and its share of their variance in [0, 1].

    Its sign is that of its largest entry, which is made positive. ValueError where the rows have fewer axes.
    """
    x = matrix("rows", rows)
    centred = x - x.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    squares = singular**2
    rank = int((squares > RANK_TOLERANCE * squares[0]).sum()) if squares.size and squares[0] > 0 else 0
    if not 0 <= number < rank:
        raise ValueError(f"{len(x)} rows have {rank} principal axes, numbered from 0; got number {number}")
    axis = axes[number]
    return np.asarray(axis * np.sign(axis[np.argmax(np.abs(axis))])), float(squares[number] / squares.sum())


def random_directions(like: ArrayLike, count: int, seed: int) -> Floats:
    """`count` random directions (count, d), uniform on the sphere, as long as the vector `like` (d,)."""
    target = vector("like", like)
    drawn = np.random.default_rng(seed).normal(size=(count, len(target)))
    return np.asarray(drawn * (np.linalg.norm(target) / np.linalg.norm(drawn, axis=1, keepdims=True)))


def projection_difference(answers: ArrayLike, own: ArrayLike, direction: ArrayLike) -> Floats:
    """(a(x, y) - a(x, y')) . unit(direction), row by row: (n,), in the activations' unit (arXiv 2507.21509).

    answers, own: (n, d), activations over the answer y of a training set and over the base's own y' to the same prompt.
    """
    a, b, v = matrix("answers", answers), matrix("own", own), vector("direction", direction)
    if a.shape != b.shape:
        raise ValueError(f"answers have shape {a.shape} and own {b.shape}; give the same prompts in the same order")
    if a.shape[1] != len(v):
        raise ValueError(f"activations have {a.shape[1]} columns, the direction {len(v)}; use one site of one model")
    return np.asarray((a - b) @ (v / np.linalg.norm(v)))


def _two_sets(high: ArrayLike, low: ArrayLike) -> tuple[Floats, Floats]:
    above, below = matrix("high", high), matrix("low", low)
    same_width("high", above, "low", below)
    if not len(above) or not len(below):
        raise ValueError(f"a contrast is between two sets; high has {len(above)} rows, low {len(below)}")
    return above, below
