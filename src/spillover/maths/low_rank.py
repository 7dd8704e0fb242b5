"""Norms and angles of matrices kept as products B A, without forming them. Knows factors, no model."""

from __future__ import annotations

import numpy as np

from spillover.maths.arrays import Floats

Pair = tuple[Floats, Floats]  # B (out, rank), A (rank, in)


def inner(left: Pair, right: Pair) -> float:
    """Frobenius inner product of B1 A1 and B2 A2: sum of (B1' B2) * (A1 A2'), ranks x ranks."""
    (b1, a1), (b2, a2) = left, right
    if b1.shape[0] != b2.shape[0] or a1.shape[1] != a2.shape[1]:
        raise ValueError(
            f"products of shapes {b1.shape[0]} x {a1.shape[1]} and {b2.shape[0]} x {a2.shape[1]} have no inner product"
        )
    return float(((b1.T @ b2) * (a1 @ a2.T)).sum())


def norm(pair: Pair) -> float:
    """Frobenius norm of B A."""
    return float(np.sqrt(max(inner(pair, pair), 0.0)))


def cosine(left: list[Pair], right: list[Pair]) -> float:
    """Cosine of two weight changes, each a list of matrices seen as one long vector; NaN where one is zero."""
    lengths = [float(np.linalg.norm([norm(one) for one in side])) for side in (left, right)]
    if min(lengths) == 0:
        return float("nan")
    return float(sum(inner(a, b) for a, b in zip(left, right, strict=True)) / (lengths[0] * lengths[1]))
