"""The geometry over numbers of axes: prompts in the training prompts' space, shifts in that of their shifts.

The formulas are those of docs/method.md, section 3, for one layer and pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.subspaces import (
    Axes,
    explained_share,
    mahalanobis,
    overlap,
    principal_angles,
    principal_axes,
    reconstruction_cosine,
    subspace_similarity,
)

SHARES = (0.8, 0.9, 0.95)  # of the training rows' variance, beside the numbers of axes asked for


def sweep(training: Floats, evaluation: Floats, similarity: Floats, ks: Sequence[int]) -> list[dict[str, Any]]:
    """For each number of axes fitted on `training` (m, d): how `evaluation` (n, d) lies in them, means over rows.

    `variance` names the share that fixed k, null where k was asked for; numbers of axes that the rows do not have are
    left out. random_explained: k / d, what random axes explain on average, exactly. r: Pearson's, of overlap with
    shift similarity (n,). shared: mean cos^2 of the principal angles with as many axes of `evaluation`, beside k / d.
    """
    whole = principal_axes(training, variance=1.0)
    own = principal_axes(evaluation, variance=1.0)
    total = np.cumsum(whole.variances) / whole.variances.sum()
    wanted: list[tuple[int, float | None]] = [(k, None) for k in ks if k <= whole.k]
    wanted += [(min(int(np.searchsorted(total, share - 1e-12)) + 1, whole.k), share) for share in SHARES]
    return [{"variance": share} | _row(whole.first(k), own, evaluation, similarity) for k, share in wanted]


def by_prompt(evaluation: Floats, delta: Floats, axes: Axes, shift_axes: Axes) -> dict[str, Floats]:
    """Columns over evaluation prompts (n,) at the share of variance chosen: prompts in `axes`, shifts in theirs."""
    return {
        "explained_share": explained_share(evaluation, axes),
        "mahalanobis": mahalanobis(evaluation, axes),
        "delta_overlap": overlap(delta, shift_axes),
        "delta_explained_share": explained_share(delta, shift_axes),
        "delta_reconstruction_cosine": reconstruction_cosine(delta, shift_axes),
        "delta_mahalanobis": mahalanobis(delta, shift_axes),
    }


def _row(axes: Axes, own: Axes, rows: Floats, similarity: Floats) -> dict[str, Any]:
    lies = overlap(rows, axes)
    kept = ~(np.isnan(lies) | np.isnan(similarity))
    varies = kept.sum() > 2 and np.ptp(lies[kept]) > 1e-12 and np.ptp(similarity[kept]) > 1e-12
    theirs = own.first(min(axes.k, own.k)).axes
    return {
        "k": axes.k,
        "share": axes.share,
        "overlap": float(np.nanmean(lies)),
        "explained": float(np.nanmean(lies**2)),
        "random_explained": axes.k / rows.shape[1],
        "reconstruction_cosine": float(np.nanmean(reconstruction_cosine(rows, axes))),
        "mahalanobis": float(mahalanobis(rows, axes).mean()),
        "r": float(np.corrcoef(lies[kept], similarity[kept])[0, 1]) if varies else None,
        "shared": subspace_similarity(axes.axes, theirs),
        "first_angle": float(principal_angles(axes.axes, theirs)[0]),
    }
