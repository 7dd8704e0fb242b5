"""Orders of rows under which a null leaves the data alike. Knows rows and groups, not statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from spillover.maths.arrays import Floats, Ints, codes


def permutations(n: int, draws: int, seed: int = 0, groups: Any = None) -> Ints:
    """Row orders (draws, n); use as y[order].

    Without groups every order is alike. With groups (n,), whole groups change places with groups of the same
    size, keeping the order of rows within: what a group's rows share is kept, so the test stays valid when
    near-duplicate questions score alike (Winkler et al. 2015, whole-block exchange). Refused where no two
    groups have one size.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return rng.permuted(np.tile(np.arange(n, dtype=np.int64), (draws, 1)), axis=1)
    code, names = codes("groups", groups, n)
    sizes = np.bincount(code, minlength=len(names))
    by_group = np.argsort(code, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    orders = np.tile(np.arange(n, dtype=np.int64), (draws, 1))
    moved = False
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        if len(alike) < 2:
            continue
        moved = True
        rows = np.stack([by_group[starts[g] : starts[g] + size] for g in alike])  # (groups, size)
        picks = rng.permuted(np.tile(np.arange(len(alike)), (draws, 1)), axis=1)  # (draws, groups)
        orders[:, rows.ravel()] = rows[picks].reshape(draws, -1)
    if not moved:
        raise ValueError(
            f"all {len(names)} groups differ in size, so none can change places; permute rows, or choose finer groups"
        )
    return orders


def exceedance(observed: Floats, permuted: Floats, two_sided: bool = True) -> Floats:
    """p = (1 + permutations at least as extreme) / (1 + permutations), along the last axis of `permuted`.

    observed (...), permuted (..., draws). NaN where observed is NaN; a permuted NaN counts as not extreme.
    Never 0.
    """
    seen, drawn = (np.abs(observed), np.abs(permuted)) if two_sided else (observed, permuted)
    slack = 1e-12 * np.maximum(1.0, np.abs(seen))
    with np.errstate(invalid="ignore"):
        reached = (drawn >= (seen - slack)[..., None]).sum(axis=-1)
    p = (1.0 + reached) / (permuted.shape[-1] + 1)
    return np.asarray(np.where(np.isnan(seen), np.nan, p), dtype=np.float64)
