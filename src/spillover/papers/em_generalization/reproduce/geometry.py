"""Summaries of a released geometry run from its per-prompt rows, and the claim behind them. Knows arrays, not files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean
from spillover.maths.correlation import pearson
from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.papers.cells import Cell, Recommended, as_number, same
from spillover.papers.em_generalization.reproduce.textbook import lower_median

PART = "geometry"
HOW = Resampling(draws=999)
STATISTIC = re.compile(r"^(mean|median|min|max)_(.+)$")
MISSING_VALUES = "values in some per-prompt rows"
TRAINING = "the training prompts' activations"
FLOAT32 = "likely single precision: within its rounding near 1 (not shown)"
STEP = 3e-7  # of a single-precision number near 1
ZERO_COMPONENTS = "slip: the number of components is stored as int(0.95) = 0"
RAW_AS_CENTRED = "slip: the column that says centered holds the raw value"
OVERLAP, SIMILARITY = "prompt_pca_projection_fraction", "mean_delta_cosine"
# r of overlap with similarity, as the paper states it over its runs (METHOD section 3); the release tabulates none
STATED = {("layer_32", "last_prompt_token"): (0.61, 0.89), ("layer_64", "last_prompt_token"): (0.17, 0.29)}
STATED_MEAN = (-1.0, 0.0)  # "negative for mean-pooled prompts"
SUMMARIES = ("pca_summary", "prompt_pca_summary", "mean_delta_summary")


@dataclass(frozen=True)
class GeometryRun:
    """One `*.eval_delta_compare.json`: label in cells; config as published; summaries by name; columns over prompts.

    config: model, train_data_prefix, eval_data_prefix, activation_type, layer, layer_num, agg_type, pca_n_components.
    columns: (prompts,) each, NaN for null. questions: ids, (prompts,).
    """

    label: str
    config: Mapping[str, Any]
    summaries: Mapping[str, Mapping[str, Any]]
    columns: Mapping[str, Floats]
    questions: tuple[str, ...]
    counts: Mapping[str, Any]

    @property
    def layer(self) -> str:
        return str(self.config.get("layer_num"))

    @property
    def pooling(self) -> str:
        return str(self.config.get("agg_type"))


def geometry_cells(runs: Sequence[GeometryRun]) -> Iterator[Cell]:
    """Every number of the runs' summaries, the two slips, and the correlation of overlap with similarity."""
    claims = [claim(run) for run in runs]
    q = benjamini_hochberg([math.nan if found is None or found.p is None else found.p for found in claims])
    for run, found, corrected in zip(runs, claims, q, strict=True):
        prefix = f"{PART}/{run.label}"
        for name in SUMMARIES:
            for key, value in run.summaries.get(name, {}).items():
                yield from _summary(run, f"{prefix}/{key}", key, value)
        for key, value in run.counts.items():
            published = as_number(value)
            if published is not None:
                yield _count(run, f"{prefix}/{key}", key, published)
        yield from _residual(run, f"{prefix}/per_example/pca_residual_fraction_centered")
        yield _claim(run, f"{prefix}/overlap_similarity_r", found, float(corrected))


def claim(run: GeometryRun) -> Estimate | None:
    """r over evaluation prompts of prompt overlap with shift similarity; None where a column is missing."""
    if OVERLAP not in run.columns or SIMILARITY not in run.columns:
        return None
    return pearson(run.columns[OVERLAP], run.columns[SIMILARITY], resampling=HOW)


def derived(columns: Mapping[str, Floats], key: str) -> Floats | None:
    """The per-prompt values behind a summary's name; None where the rows do not hold them."""
    names = {
        "cosine_eval_delta_train_mean_delta": "mean_delta_cosine",
        "projection_fraction_eval_delta_train_mean_delta": "mean_delta_projection_fraction",
    }
    name = names.get(key, key)
    if name in columns:
        return columns[name]
    share = columns.get("random_projection_fraction")
    if share is not None and key == "random_explained_l2_fraction":
        return share**2
    if share is not None and key == "random_residual_fraction":
        return np.sqrt(np.maximum(1 - share**2, 0.0))
    return None


def summarise(statistic: str, values: Floats) -> float:
    """mean, min, max or torch's (lower) median; NaN where a value is missing."""
    if len(values) == 0 or np.isnan(values).any():
        return math.nan
    if statistic == "median":
        return lower_median(values)
    return float(values.mean() if statistic == "mean" else values.min() if statistic == "min" else values.max())


def _summary(run: GeometryRun, name: str, key: str, value: Any) -> Iterator[Cell]:
    if isinstance(value, list):
        for place, one in enumerate(value, start=1):
            published = as_number(one)
            if published is not None:
                yield Cell(f"{name}/{place}", published, None, TRAINING)
        return
    published = as_number(value)
    if published is None:
        return
    if key == "prompt_pca_n_components" and published == 0:
        yield Cell(name, published, None, ZERO_COMPONENTS, _components(run))
        return
    found = STATISTIC.match(key)
    values = derived(run.columns, found[2]) if found else None
    if found is None or values is None:
        yield Cell(name, published, None, TRAINING if found is None else f"per-prompt rows of {found[2]}")
        return
    ours = summarise(found[1], values)
    yield Cell(name, published, ours, *_explained(found[1], found[2], values, published, ours), _beside(values))


def _explained(statistic: str, key: str, values: Floats, published: float, ours: float) -> tuple[str, str]:
    note = ""
    if statistic == "median" and len(values) % 2 == 0:
        note = f"the lower of the two middle values (torch's median); their mean is {float(np.median(values)):.8g}"
    if same(published, ours):
        return "", note
    if math.isnan(ours):
        return MISSING_VALUES, f"{int(np.isnan(values).sum())} of {len(values)}"
    if math.isnan(published):
        return "published is NaN", note
    if "explained" in key and abs(ours - published) <= STEP:
        return FLOAT32, f"off by {abs(ours - published):.1e}" + (f"; {note}" if note else "")
    return "unexplained", note


def _beside(values: Floats) -> Recommended:
    return Recommended.from_estimate(mean(values, resampling=HOW), "prompts", note="mean over prompts")


def _count(run: GeometryRun, name: str, key: str, published: float) -> Cell:
    if key == "num_eval":
        return Cell(name, published, float(len(run.questions)), "unexplained", "rows in the file")
    return Cell(name, published, None, TRAINING)


def _components(run: GeometryRun) -> str:
    summary = run.summaries.get("prompt_pca_summary", {})
    top = [
        value
        for one in summary.get("prompt_pca_train_explained_variance_ratio_top10") or ()
        if (value := as_number(one))
    ]
    total = as_number(summary.get("prompt_pca_train_cumulative_explained_variance_ratio"))
    text = "axes that hold 95% of the variance cannot be none"
    if top and total:
        least = len(top) + max(0, math.ceil((total - sum(top)) / min(top) - 1e-9))
        text += f"; the published shares of variance need at least {least}"
    share = run.columns.get("random_projection_fraction")
    if share is not None and not np.isnan(share).any():
        explained = float((share**2).mean())
        text += f"; the random control of as many axes explains {explained:.4g} of a prompt, that is k / width"
    return text


def _residual(run: GeometryRun, name: str) -> Iterator[Cell]:
    """The residual of the *centred* shift: published column against what its explained share leaves."""
    held, raw = run.columns.get("pca_residual_fraction_centered"), run.columns.get("pca_residual_fraction_raw")
    explained = run.columns.get("pca_explained_l2_fraction_centered")
    if held is None:
        return
    published = float(held.mean())
    if explained is None:
        yield Cell(name, published, None, "per-prompt rows of pca_explained_l2_fraction_centered")
        return
    right = np.sqrt(np.maximum(1 - explained, 0.0))
    ours = float(right.mean())
    note = "mean over prompts; ours is sqrt(1 - explained share of the centred shift)"
    raw_held = raw is not None and np.array_equal(held, raw)
    if raw_held:
        note += f"; all {len(held)} rows equal pca_residual_fraction_raw"
    yield Cell(name, published, ours, RAW_AS_CENTRED if raw_held else "unexplained", note, _beside(right))


def _claim(run: GeometryRun, name: str, found: Estimate | None, q: float) -> Cell:
    if found is None or math.isnan(found.estimate):
        return Cell(name, None, None, f"per-prompt rows of {OVERLAP} and {SIMILARITY}")
    stated = STATED_MEAN if run.pooling == "mean_prompt" else STATED.get((run.layer, run.pooling))
    beside = Recommended.from_estimate(
        found, "prompts", q=None if math.isnan(q) else q, note="prompts resampled; q over the runs here"
    )
    text = f"Pearson r over {found.n} prompts of prompt overlap with shift similarity"
    if stated is None:
        return Cell(name, None, found.estimate, "nothing published for this layer", text, beside)
    says = "below 0" if stated == STATED_MEAN else f"{stated[0]} to {stated[1]}"
    where = "mean-pooled prompts" if run.pooling == "mean_prompt" else run.layer.replace("_", " ")
    text += f"; not tabulated in the release, the paper says {says} for {where} over its runs"
    return Cell(name, None, found.estimate, "outside the range that the paper states", text, beside, stated)
