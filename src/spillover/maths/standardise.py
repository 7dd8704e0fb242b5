"""Columns standardised on the training rows alone, and folds within them. Knows matrices only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spillover.maths.arrays import Bools, Floats, Ints


def standardised(inside: Floats, outside: Floats) -> tuple[Floats, Floats]:
    """Both (n, d) and (m, d) less the mean of `inside`, over its standard deviation: nothing is learnt outside."""
    centre, scale = inside.mean(axis=0), spread(inside)
    return (inside - centre) / scale, (outside - centre) / scale


def spread(x: Floats) -> Floats:
    """Standard deviation (ddof 0) of each column; 1 where constant up to rounding, as in StandardScaler."""
    variance = x.var(axis=0)
    eps = np.finfo(np.float64).eps
    constant = variance <= len(x) * eps * variance + (len(x) * x.mean(axis=0) * eps) ** 2
    return np.asarray(np.where(constant, 1.0, np.sqrt(variance)))


def inner_splits(groups: Ints, k: int) -> Iterator[Bools]:
    """Which rows each of k inner folds holds out: (n,) each; blocks in row order that never split a group.

    With every row a group of its own these are scikit-learn's `KFold(k)`, what `cv=k` means there. Fewer than k where
    large groups leave a fold empty; a ValueError where all rows would be in one.
    """
    n = len(groups)
    _, first, code, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("a training part holds a single group, so none can be left out; use more folds or one alpha")
    order = np.argsort(first)
    starts = np.empty(len(sizes), dtype=np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
    lengths = np.full(k, n // k)
    lengths[: n % k] += 1
    fold_of = np.repeat(np.arange(k), lengths)[starts][code]
    for fold in np.unique(fold_of):
        held = fold_of == fold
        if held.all():
            raise ValueError(f"groups are too large for {k} inner folds; use fewer inner folds, or one alpha")
        yield held
