"""The released table over numbers of axes, from the per-prompt rows and from its own columns. Knows rows and runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spillover.maths.bootstrap import mean
from spillover.papers.cells import Cell, Recommended, as_number, same
from spillover.papers.em_generalization.reproduce.geometry import (
    FLOAT32,
    HOW,
    MISSING_VALUES,
    STATISTIC,
    STEP,
    TRAINING,
    GeometryRun,
    derived,
    summarise,
)

PART = "across_k"
KEYS = ("model", "train_data_prefix", "eval_data_prefix", "activation_type", "layer", "layer_num", "agg_type")
GIVEN = frozenset(
    (*KEYS, "path", "file", "source_csv", "k", "pca_n_components", "center_eval", "pca_center_eval", "layer")
)
AXES_FREE = ("cosine_eval_delta_train_mean_delta", "projection_fraction_eval_delta_train_mean_delta")
DIFFERENCES = {
    "pca_vs_mean_cosine_gain": (
        "mean_pca_cosine_reconstructed_eval_delta",
        "mean_cosine_eval_delta_train_mean_delta",
    ),
    "pca_projection_minus_residual_fraction": ("mean_pca_projection_fraction", "mean_pca_residual_fraction"),
}


def across_k_cells(rows: Sequence[Mapping[str, Any]], runs: Sequence[GeometryRun]) -> Iterator[Cell]:
    """Every number of the table: from rows of its k, from rows of any k where axes play no part, or from its row."""
    for row in rows:
        alike = [run for run in runs if all(str(run.config.get(key)) == str(row.get(key)) for key in KEYS)]
        k = as_number(row.get("pca_n_components"))
        exact = next((run for run in alike if as_number(run.config.get("pca_n_components")) == k), None)
        names = "_to_".join(str(row.get(key)) for key in ("train_data_prefix", "eval_data_prefix"))
        place = "/".join(str(row.get(key)) for key in ("layer", "layer_num", "agg_type"))
        prefix = f"{PART}/{row.get('model')}_{names}/{place}/k{row.get('pca_n_components')}"
        for column, value in row.items():
            published = as_number(value)
            if published is not None and column and column not in GIVEN and not isinstance(value, bool):
                yield _cell(f"{prefix}/{column}", column, published, row, (exact, alike[0] if alike else None))


def _cell(
    name: str,
    column: str,
    published: float,
    row: Mapping[str, Any],
    runs: tuple[GeometryRun | None, GeometryRun | None],
) -> Cell:
    exact, any_k = runs
    if column in DIFFERENCES:
        left, right = (as_number(row.get(one)) for one in DIFFERENCES[column])
        if left is not None and right is not None:
            return _judged(name, published, left - right, "the difference of two columns of its row")
    found = STATISTIC.match(column)
    run = any_k if found and found[2] in AXES_FREE else exact
    if column == "num_eval" and any_k is not None:
        return _judged(name, published, float(len(any_k.questions)), "rows in the geometry file")
    if found is None:
        same_run = exact or any_k
        if column == "train_mean_delta_norm" and same_run is not None:
            return Cell(name, published, None, TRAINING, _repeated(published, same_run))
        return Cell(name, published, None, TRAINING)
    if run is None:
        here = "" if any_k is None else f"only those with k {any_k.config.get('pca_n_components')} are here"
        return Cell(name, published, None, "per-prompt rows of the run with this number of axes", here)
    values = derived(run.columns, found[2])
    if values is None:
        return Cell(name, published, None, f"per-prompt rows of {found[2]}")
    beside = Recommended.from_estimate(mean(values, resampling=HOW), "prompts", note="mean over prompts")
    note = "from the rows of another k: no axes play a part" if run is not exact else ""
    return _judged(name, published, summarise(found[1], values), note, beside)


def _judged(name: str, published: float, ours: float, note: str, beside: Recommended | None = None) -> Cell:
    reason = ""
    if not same(published, ours):
        near = not math.isnan(ours) and abs(ours - published) <= STEP
        reason = MISSING_VALUES if math.isnan(ours) else FLOAT32 if near else "unexplained"
    return Cell(name, published, ours, reason, note, beside)


def _repeated(published: float, run: GeometryRun) -> str:
    other = as_number(run.summaries.get("mean_delta_summary", {}).get("train_mean_delta_norm"))
    if other is None:
        return ""
    return f"the geometry file says {'the same' if same(other, published) else f'{other:.10g}'}"
