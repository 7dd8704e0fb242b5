"""Arrays as the statistics take them: vectors, matrices, labels as codes; sums, quotients and unit vectors of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Labels = ArrayLike | Sequence[object]  # one label a row, of any type: compared by equality, shown as text
Names = NDArray[np.generic]  # distinct labels


def vector(name: str, values: ArrayLike, length: int | None = None) -> Floats:
    """`values` as (n,) float64; NaN (or None) is missing and stays so, infinity is refused."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}; pass one number a row")
    if length is not None and len(array) != length:
        raise ValueError(f"{name} must have {length} entries like the others, got {len(array)}")
    if np.isinf(array).any():
        raise ValueError(f"{name} holds infinite values; use NaN for what is missing")
    return array


def matrix(name: str, values: ArrayLike, missing: bool = False) -> Floats:
    """`values` as (rows, columns) float64; NaN is refused unless `missing` is allowed, infinity always."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional (rows, columns), got shape {array.shape}")
    if np.isinf(array).any():
        raise ValueError(f"{name} holds infinite values; use NaN for what is missing")
    if not missing and np.isnan(array).any():
        rows = np.flatnonzero(np.isnan(array).any(axis=1))
        raise ValueError(f"{name} holds NaN in {len(rows)} rows, first in row {rows[0]}; drop these rows first")
    return array


def same_width(name_a: str, a: Floats, name_b: str, b: Floats) -> None:
    """Refuse two arrays whose last axes (d_model) differ: they come from different sites or models."""
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"{name_a} has {a.shape[-1]} columns and {name_b} {b.shape[-1]}; use one site of one model")


def complete_rows(name: str, labels: Labels | None, *columns: Floats) -> tuple[Names, list[Floats]]:
    """Labels and columns (n,) or (n, c) without the rows in which any column is NaN; `labels` None: the row's number.

    name: what the labels are called in the error that refuses another number of them.
    """
    keep = np.asarray(~np.isnan(np.column_stack(columns)).any(axis=1))
    array = np.arange(len(keep)) if labels is None else np.asarray(labels)
    if array.shape != keep.shape:
        raise ValueError(f"{name} must hold {len(keep)} labels, one a row, got shape {array.shape}")
    return array[keep], [column[keep] for column in columns]


def codes(name: str, labels: Labels, length: int) -> tuple[Ints, Names]:
    """Labels as codes 0..m-1 (n,) and the m distinct labels, sorted; a missing label is refused."""
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) != length:
        raise ValueError(f"{name} must hold {length} labels, one a row, got shape {array.shape}")
    if array.dtype == object:
        return _object_codes(name, array.tolist())
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} lacks a label in row {int(np.flatnonzero(np.isnan(array))[0])}; give every row one")
    distinct, code = np.unique(array, return_inverse=True)
    return code.astype(np.int64), distinct


def _object_codes(name: str, labels: list[object]) -> tuple[Ints, Names]:
    """The same for labels of any type, which are told apart by their text: one look at each, no sort of all."""
    first_seen: dict[object, int] = {}
    code = np.fromiter((first_seen.setdefault(label, len(first_seen)) for label in labels), np.int64, len(labels))
    for label, number in first_seen.items():
        if label is None or (isinstance(label, float) and math.isnan(label)):
            raise ValueError(f"{name} lacks a label in row {int(np.argmax(code == number))}; give every row one")
    distinct, place = np.unique(np.asarray([str(label) for label in first_seen]), return_inverse=True)
    return place.astype(np.int64)[code], distinct


def totals(values: Floats, code: Ints, count: int) -> Floats:
    """Sum of `values` (n,) within each code: (count,)."""
    return np.bincount(code, weights=values, minlength=count).astype(np.float64)


def quotient(top: Floats, bottom: Floats, least: Floats | float = 0.0) -> Floats:
    """top / bottom, broadcast, where bottom lies above `least`; NaN elsewhere, since a share of nothing is missing."""
    shape = np.broadcast_shapes(np.shape(top), np.shape(bottom))
    return np.asarray(np.divide(top, bottom, out=np.full(shape, np.nan), where=bottom > least))


def unit(vectors: Floats) -> Floats:
    """Vectors along the last axis at length 1; a zero vector has no direction and becomes NaN."""
    return quotient(vectors, np.linalg.norm(vectors, axis=-1, keepdims=True))
