"""Repeated folds that never split a group. Knows labels, not data."""

from __future__ import annotations

from typing import Any

import numpy as np

from spillover.maths.arrays import Ints, codes


def grouped_folds(groups: Any, k: int = 5, repeats: int = 10, seed: int = 0) -> Ints:
    """Fold number 0..k-1 of each row for each repeat: (repeats, n).

    groups: (n,) labels (question family, category); rows of one group always share a fold, so that
    near-duplicates never stand on both sides. Groups come in random order, each goes to the emptiest fold:
    folds are about equal in rows, none is empty, and repeats differ. The same seed gives the same folds.
    """
    labels = np.asarray(groups)
    code, names = codes("groups", labels, len(labels))
    if k < 2:
        raise ValueError(f"k must be at least 2 folds, got {k}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    if len(names) < k:
        raise ValueError(f"{k} folds need at least {k} groups, got {len(names)}; use fewer folds or finer groups")
    sizes = np.bincount(code, minlength=len(names))
    rng = np.random.default_rng(seed)
    folds = np.empty((repeats, len(code)), dtype=np.int64)
    for repeat in range(repeats):
        fold_of = np.empty(len(names), dtype=np.int64)
        filled = np.zeros(k, dtype=np.int64)
        for group in rng.permutation(len(names)):
            fold = int(np.argmin(filled))
            fold_of[group] = fold
            filled[fold] += sizes[group]
        folds[repeat] = fold_of[code]
    return folds
