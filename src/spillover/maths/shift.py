"""How activations and weights move through fine-tuning: prompt by prompt, as a set, and along one added vector.

delta(x) = a_after(x) - a_before(x), and the formulas are those of docs/method.md, section 3. A zero vector has no
direction: its cosine is NaN. Weight changes are low-rank products B A, which are compared without being formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, matrix, quotient, same_width, unit, vector
from spillover.maths.estimate import NAN


@dataclass(frozen=True)
class SetShift:
    """Two sets of shifts compared as wholes (evaluation against training).

    cosine_of_means: cosine of the two mean deltas.
    cosine_of_mean_units: the same after each delta is brought to length 1, so that long shifts do not rule.
    relative_norm: norm(mean evaluation delta) / norm(mean training delta).
    NaN where a mean has no length.
    """

    cosine_of_means: float
    cosine_of_mean_units: float
    relative_norm: float


def deltas(before: ArrayLike, after: ArrayLike) -> Floats:
    """after - before, row by row: (n, d), float64. Rows must be the same prompts in the same order."""
    a, b = matrix("before", before), matrix("after", after)
    if a.shape != b.shape:
        raise ValueError(f"before has shape {a.shape} and after {b.shape}; capture the same prompts at the same site")
    return np.asarray(b - a)


def shift_similarity(delta: ArrayLike, training_delta: ArrayLike) -> Floats:
    """cos(delta, mean training delta) per row: (n,) in [-1, 1]."""
    d, direction = _with_direction(delta, training_delta)
    return np.asarray(np.clip(unit(d) @ direction, -1.0, 1.0))


def shift_projection(delta: ArrayLike, training_delta: ArrayLike) -> Floats:
    """delta . unit(mean training delta) per row: (n,), in the activations' unit; a zero delta gives 0."""
    d, direction = _with_direction(delta, training_delta)
    return np.asarray(d @ direction)


def relative_shift(delta: ArrayLike, before: ArrayLike) -> Floats:
    """norm(delta) / norm(before) per row: (n,)."""
    d, a = matrix("delta", delta), matrix("before", before)
    if d.shape != a.shape:
        raise ValueError(f"delta has shape {d.shape} and before {a.shape}; pass the same prompts at the same site")
    return quotient(np.linalg.norm(d, axis=1), np.linalg.norm(a, axis=1))


def set_shift(delta: ArrayLike, training_delta: ArrayLike) -> SetShift:
    """Compare the mean of evaluation deltas (n, d) with that of training deltas (m, d)."""
    a, b = matrix("delta", delta), matrix("training_delta", training_delta)
    same_width("delta", a, "training_delta", b)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    norm_b = float(np.linalg.norm(mean_b))
    return SetShift(
        cosine_of_means=cosine(mean_a, mean_b),
        cosine_of_mean_units=cosine(_mean_unit(a), _mean_unit(b)),
        relative_norm=float(np.linalg.norm(mean_a)) / norm_b if norm_b > 0 else NAN,
    )


def cosine(a: Floats, b: Floats) -> float:
    """Cosine of two vectors (d,); NaN where either has no length."""
    return float(np.clip(unit(a) @ unit(b), -1.0, 1.0))


def linear_cka(x: ArrayLike, y: ArrayLike, debiased: bool = True) -> float:
    """Linear centred kernel alignment of (n, d1) and (n, d2) over the same n rows; 1: alike up to rotation.

    Kornblith et al. 2019. The plain form goes to 1 for unrelated data when d > n, as activations have it
    (about 0.97 for 50 rows of 2,000 Gaussian columns); `debiased` uses the unbiased HSIC of Song et al. 2012
    (n >= 4), which is 0 on average there and may be below 0. NaN where either array does not vary.
    """
    a, b = matrix("x", x), matrix("y", y)
    if len(a) != len(b):
        raise ValueError(f"CKA pairs rows: x has {len(a)}, y has {len(b)}; pass the same prompts in the same order")
    if debiased and len(a) < 4:
        return NAN
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    k, m = a @ a.T, b @ b.T
    hsic = _unbiased_hsic if debiased else _hsic
    own_a, own_b = hsic(k, k), hsic(m, m)
    floor_a, floor_b = 1e-12 * float((k**2).sum()), 1e-12 * float((m**2).sum())
    if own_a <= floor_a or own_b <= floor_b:
        return NAN
    return hsic(k, m) / float(np.sqrt(own_a * own_b))


def _with_direction(delta: ArrayLike, training_delta: ArrayLike) -> tuple[Floats, Floats]:
    d, t = matrix("delta", delta), matrix("training_delta", training_delta)
    same_width("delta", d, "training_delta", t)
    return d, unit(t.mean(axis=0))


def _mean_unit(rows: Floats) -> Floats:
    moved = unit(rows)
    moved = moved[~np.isnan(moved).any(axis=1)]
    return moved.mean(axis=0) if len(moved) else np.full(rows.shape[1], NAN)


def _hsic(k: Floats, m: Floats) -> float:
    return float((k * m).sum())


def _unbiased_hsic(k: Floats, m: Floats) -> float:
    n = len(k)
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(m, 0.0)
    cross = float((k * m).sum()) + float(k.sum()) * float(m.sum()) / ((n - 1) * (n - 2))
    return (cross - 2 * float(k.sum(axis=0) @ m.sum(axis=0)) / (n - 2)) / (n * (n - 3))


@dataclass(frozen=True)
class ShiftFit:
    """How well one vector v, added to each prompt's activation before training, gives the one after.

    explained: (prompts,) 1 - |after - (before + v)|^2 / |after - before|^2: 1 is the whole shift, 0 what adding nothing
        does, below 0 worse. NaN where a prompt does not shift.
    cosine: (prompts,) of v with the prompt's own shift; NaN where either has no length.
    best: the multiple of v that explains most over all prompts together.
    whole: the share of the squared shifts that this multiple explains, in [0, 1].
    """

    explained: Floats
    cosine: Floats
    best: float
    whole: float


def shift_fit(before: Floats, after: Floats, direction: Floats) -> ShiftFit:
    """Fit of adding direction (d,), as it is, to before (prompts, d), held against after (prompts, d)."""
    start, end = matrix("before", before), matrix("after", after)
    v = vector("direction", direction)
    if start.shape != end.shape or start.shape[1] != len(v):
        raise ValueError(f"before {start.shape}, after {end.shape} and a direction of {len(v)} do not go together")
    delta = end - start
    squares = (delta**2).sum(axis=1)
    along = delta @ v
    length = float(v @ v)
    total = float(squares.sum())
    return ShiftFit(
        explained=quotient(2 * along - length, squares),
        cosine=quotient(along, np.sqrt(squares * length)),
        best=float(along.sum() / (len(delta) * length)) if length > 0 else NAN,
        whole=float(along.sum() ** 2 / (len(delta) * length * total)) if length > 0 and total > 0 else NAN,
    )


LowRank = tuple[Floats, Floats]  # B (out, rank), A (rank, in)


def weight_inner(left: LowRank, right: LowRank) -> float:
    """Frobenius inner product of B1 A1 and B2 A2: sum of (B1' B2) * (A1 A2'), ranks x ranks."""
    (b1, a1), (b2, a2) = left, right
    if b1.shape[0] != b2.shape[0] or a1.shape[1] != a2.shape[1]:
        raise ValueError(
            f"products of shapes {b1.shape[0]} x {a1.shape[1]} and {b2.shape[0]} x {a2.shape[1]} have no inner product"
        )
    return float(((b1.T @ b2) * (a1 @ a2.T)).sum())


def weight_norm(pair: LowRank) -> float:
    """Frobenius norm of B A."""
    return float(np.sqrt(max(weight_inner(pair, pair), 0.0)))


def weight_cosine(left: list[LowRank], right: list[LowRank]) -> float:
    """Cosine of two weight changes, each a list of matrices seen as one long vector; NaN where one is zero."""
    lengths = [float(np.linalg.norm([weight_norm(pair) for pair in side])) for side in (left, right)]
    if min(lengths) == 0:
        return NAN
    return float(sum(weight_inner(a, b) for a, b in zip(left, right, strict=True)) / (lengths[0] * lengths[1]))
