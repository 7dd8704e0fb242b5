"""Activation shifts: summaries of a run from its per-prompt rows, the claim behind them, the table over axes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from spillover.analyses.rows import TableRow
from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean
from spillover.maths.correlation import pearson
from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.papers.cells import UNEXPLAINED, Cell, Recommended, as_float, as_number, numbers, same
from spillover.papers.em_generalization.contents import SHIFT_SUMMARIES
from spillover.papers.em_generalization.reproduce.released import ReleasedGeometry
from spillover.papers.em_generalization.reproduce.textbook import lower_median

RESAMPLING = Resampling(draws=999)
STATISTIC = re.compile(r"^(mean|median|min|max)_(.+)$")
STATISTICS: Mapping[str, Callable[[Floats], float]]
STATISTICS = {"mean": np.mean, "median": lower_median, "min": np.min, "max": np.max}
MISSING_VALUES = "values in some per-prompt rows"
TRAINING = "the training prompts' activations"
FLOAT32 = "likely single precision: within its rounding near 1 (not shown)"
STEP = 3e-7  # of a single-precision number near 1
ZERO_COMPONENTS = "slip: the number of components is stored as int(0.95) = 0"
RAW_AS_CENTRED = "slip: the column that says centered holds the raw value"
OVERLAP, SIMILARITY = "prompt_pca_projection_fraction", "mean_delta_cosine"
# r of overlap with similarity as the paper states it over runs (docs/method.md, section 3); the release tabulates none
STATED = {("layer_32", "last_prompt_token"): (0.61, 0.89), ("layer_64", "last_prompt_token"): (0.17, 0.29)}
STATED_MEAN = (-1.0, 0.0)  # "negative for mean-pooled prompts"
PER_PROMPT = {  # names of per-prompt columns in summaries and tables, where they are others: in the rows
    "cosine_eval_delta_train_mean_delta": "mean_delta_cosine",
    "projection_fraction_eval_delta_train_mean_delta": "mean_delta_projection_fraction",
}
CONFIG = ("model", "train_data_prefix", "eval_data_prefix", "activation_type", "layer", "layer_num", "agg_type")
SETTINGS = (*CONFIG, "path", "file", "source_csv", "k", "pca_n_components", "center_eval", "pca_center_eval")
DIFFERENCES = {
    "pca_vs_mean_cosine_gain": (
        "mean_pca_cosine_reconstructed_eval_delta",
        "mean_cosine_eval_delta_train_mean_delta",
    ),
    "pca_projection_minus_residual_fraction": ("mean_pca_projection_fraction", "mean_pca_residual_fraction"),
}


def claim(run: ReleasedGeometry) -> Estimate | None:
    """r over evaluation prompts of prompt overlap with shift similarity; None where a column is missing."""
    if OVERLAP not in run.columns or SIMILARITY not in run.columns:
        return None
    return pearson(run.columns[OVERLAP], run.columns[SIMILARITY], resampling=RESAMPLING)


def geometry_cells(runs: Sequence[ReleasedGeometry], claims: Sequence[Estimate | None]) -> Iterator[Cell]:
    """Every number of the runs' summaries, the two slips, and the correlation of overlap with similarity."""
    corrected = benjamini_hochberg([math.nan if r is None else as_float(r.p) for r in claims])
    for run, r, q in zip(runs, claims, corrected, strict=True):
        prefix = f"geometry/{run.label}"
        for summary in SHIFT_SUMMARIES:
            for column, value in run.summaries.get(summary, {}).items():
                yield from _summary_cells(run, f"{prefix}/{column}", column, value)
        for column, published in numbers(run.counts).items():
            if column == "num_eval":
                ours = float(len(run.prompts))
                yield Cell(f"{prefix}/{column}", published, ours, note="rows in the file")
            else:
                yield Cell(f"{prefix}/{column}", published, None, TRAINING)
        yield from _residual_cell(run, f"{prefix}/per_example/pca_residual_fraction_centered")
        yield _claim_cell(run, f"{prefix}/overlap_similarity_r", r, float(q))


def across_k_cells(rows: Sequence[Mapping[str, str]], runs: Sequence[ReleasedGeometry]) -> Iterator[Cell]:
    """Every number of the table over k: from rows of its k, of any k where axes play no part, or from its row."""
    for row in rows:
        alike = [run for run in runs if all(str(run.config.get(key)) == str(row.get(key)) for key in CONFIG)]
        k = as_number(row.get("pca_n_components"))
        exact = next((run for run in alike if as_number(run.config.get("pca_n_components")) == k), None)
        names = f"{row.get('model')}_{row.get('train_data_prefix')}_to_{row.get('eval_data_prefix')}"
        where = "/".join(str(row.get(key)) for key in ("layer", "layer_num", "agg_type"))
        for column, published in numbers(row, SETTINGS).items():
            name = f"across_k/{names}/{where}/k{row.get('pca_n_components')}/{column}"
            yield _across_k_cell(name, column, published, row, (exact, alike[0] if alike else None))


def claim_rows(runs: Sequence[ReleasedGeometry], claims: Sequence[Estimate | None]) -> list[TableRow]:
    """One line a run: r of overlap with similarity, null where it lacks one of them."""
    nothing = {"estimate": None, "low": None, "high": None, "n": 0}
    return [_about(run) | (nothing if r is None else r.as_row()) for run, r in zip(runs, claims, strict=True)]


def prompt_rows(runs: Sequence[ReleasedGeometry]) -> list[TableRow]:
    """One line an evaluation prompt of the runs that have both: overlap and shift similarity."""
    return [
        _about(run) | {"question": prompt, "overlap": float(overlap), "shift_similarity": float(similarity)}
        for run in runs
        if OVERLAP in run.columns and SIMILARITY in run.columns
        for prompt, overlap, similarity in zip(run.prompts, run.columns[OVERLAP], run.columns[SIMILARITY], strict=True)
    ]


def per_prompt(columns: Mapping[str, Floats], column: str) -> Floats | None:
    """The per-prompt values behind a summary's name; None where the rows do not hold them."""
    if PER_PROMPT.get(column, column) in columns:
        return columns[PER_PROMPT.get(column, column)]
    share = columns.get("random_projection_fraction")
    if share is not None and column == "random_explained_l2_fraction":
        return share**2
    if share is not None and column == "random_residual_fraction":
        return np.sqrt(np.maximum(1 - share**2, 0.0))
    return None


def summarise(statistic: str, values: Floats) -> float:
    """mean, min, max or torch's (lower) median; NaN where a value is missing."""
    return float(STATISTICS[statistic](values)) if len(values) else math.nan


def _about(run: ReleasedGeometry) -> TableRow:
    return {"run": run.label.rsplit("/", 4)[0], "layer": run.layer, "pooling": run.pooling}


def _summary_cells(run: ReleasedGeometry, name: str, column: str, value: object) -> Iterator[Cell]:
    if isinstance(value, list):
        for where, item in numbers({str(where): item for where, item in enumerate(value, start=1)}).items():
            yield Cell(f"{name}/{where}", item, None, TRAINING)
        return
    published, parts = as_number(value), STATISTIC.match(column)
    values = per_prompt(run.columns, parts[2]) if parts else None
    if published is None:
        return
    if column == "prompt_pca_n_components" and published == 0:
        yield Cell(name, published, None, ZERO_COMPONENTS, _least_components(run))
    elif parts is None or values is None:
        yield Cell(name, published, None, f"per-prompt rows of {parts[2]}" if parts else TRAINING)
    else:
        ours = summarise(parts[1], values)
        reason, notes = _why(published, ours), []
        if reason == FLOAT32:
            notes.append(f"off by {abs(ours - published):.1e}")
        if parts[1] == "median" and len(values) % 2 == 0:
            median = f"{float(np.median(values)):.8g}"
            notes.append(f"the lower of the two middle values (torch's median); their mean is {median}")
        if reason == MISSING_VALUES:
            notes = [f"{int(np.isnan(values).sum())} of {len(values)}"]
        yield Cell(name, published, ours, reason, "; ".join(notes), _mean_over_prompts(values))


def _why(published: float, ours: float) -> str:
    """Why a statistic of per-prompt rows is not the published one; empty where it is."""
    if same(published, ours):
        return ""
    if math.isnan(ours):
        return MISSING_VALUES
    if math.isnan(published):
        return "published is NaN"
    return FLOAT32 if abs(ours - published) <= STEP else UNEXPLAINED


def _mean_over_prompts(values: Floats) -> Recommended:
    return Recommended.from_estimate(mean(values, resampling=RESAMPLING), "prompts", note="mean over prompts")


def _least_components(run: ReleasedGeometry) -> str:
    """What the other published numbers say of the number of components."""
    summary = run.summaries.get("prompt_pca_summary", {})
    shares = summary.get("prompt_pca_train_explained_variance_ratio_top10")
    top = [share for item in (shares if isinstance(shares, list) else ()) if (share := as_number(item))]
    total = as_number(summary.get("prompt_pca_train_cumulative_explained_variance_ratio"))
    text = "axes that hold 95% of the variance cannot be none"
    if top and total:
        least = len(top) + max(0, math.ceil((total - sum(top)) / min(top) - 1e-9))
        text += f"; the published shares of variance need at least {least}"
    random = run.columns.get("random_projection_fraction")
    if random is not None and not np.isnan(random).any():
        explained = float((random**2).mean())
        text += f"; the random control of as many axes explains {explained:.4g} of a prompt, that is k / width"
    return text


def _residual_cell(run: ReleasedGeometry, name: str) -> Iterator[Cell]:
    """The residual of the *centred* shift: published column against what its explained share leaves."""
    held, raw, explained = (
        run.columns.get(f"pca_{column}")
        for column in ("residual_fraction_centered", "residual_fraction_raw", "explained_l2_fraction_centered")
    )
    if held is None:
        return
    published = float(held.mean())
    if explained is None:
        yield Cell(name, published, None, "per-prompt rows of pca_explained_l2_fraction_centered")
        return
    right = np.sqrt(np.maximum(1 - explained, 0.0))
    reason, note = UNEXPLAINED, "mean over prompts; ours is sqrt(1 - explained share of the centred shift)"
    if raw is not None and np.array_equal(held, raw):
        reason, note = RAW_AS_CENTRED, f"{note}; all {len(held)} rows equal pca_residual_fraction_raw"
    yield Cell(name, published, float(right.mean()), reason, note, _mean_over_prompts(right))


def _claim_cell(run: ReleasedGeometry, name: str, r: Estimate | None, q: float) -> Cell:
    if r is None or math.isnan(r.estimate):
        return Cell(name, None, None, f"per-prompt rows of {OVERLAP} and {SIMILARITY}")
    pooled = run.pooling == "mean_prompt"
    stated = STATED_MEAN if pooled else STATED.get((run.layer, run.pooling))
    note = "prompts resampled; q over the runs here"
    recommended = Recommended.from_estimate(r, "prompts", q=None if math.isnan(q) else q, note=note)
    text = f"Pearson r over {r.n} prompts of prompt overlap with shift similarity"
    if stated is None:
        return Cell(name, None, r.estimate, "nothing published for this layer", text, recommended)
    says = "below 0" if pooled else f"{stated[0]} to {stated[1]}"
    where = "mean-pooled prompts" if pooled else run.layer.replace("_", " ")
    text += f"; not tabulated in the release, the paper says {says} for {where} over its runs"
    return Cell(name, None, r.estimate, "outside the range that the paper states", text, recommended, stated)


def _across_k_cell(
    name: str,
    column: str,
    published: float,
    row: Mapping[str, str],
    runs: tuple[ReleasedGeometry | None, ReleasedGeometry | None],
) -> Cell:
    """runs: that of the row's k, and any that differs from it in k alone."""
    exact, any_k = runs
    if column in DIFFERENCES:
        left, right = (as_number(row.get(other)) for other in DIFFERENCES[column])
        if left is not None and right is not None:
            note = "the difference of two columns of its row"
            return Cell(name, published, left - right, _why(published, left - right), note)
    if column == "num_eval" and any_k is not None:
        ours = float(len(any_k.prompts))
        return Cell(name, published, ours, note="rows in the geometry file")
    parts = STATISTIC.match(column)
    if parts is None:
        return Cell(name, published, None, TRAINING, _repeated(column, published, exact or any_k))
    run = any_k if parts[2] in PER_PROMPT else exact
    if run is None:
        note = "" if any_k is None else f"only those with k {any_k.config.get('pca_n_components')} are here"
        return Cell(name, published, None, "per-prompt rows of the run with this number of axes", note)
    values = per_prompt(run.columns, parts[2])
    if values is None:
        return Cell(name, published, None, f"per-prompt rows of {parts[2]}")
    ours, note = summarise(parts[1], values), "from the rows of another k: no axes play a part"
    return Cell(
        name, published, ours, _why(published, ours), note if run is not exact else "", _mean_over_prompts(values)
    )


def _repeated(column: str, published: float, run: ReleasedGeometry | None) -> str:
    """Whether the geometry file gives the norm of the training prompts' mean shift as the table does."""
    summary = {} if run is None else run.summaries.get("mean_delta_summary", {})
    norm = numbers(summary).get("train_mean_delta_norm")
    if column != "train_mean_delta_norm" or norm is None:
        return ""
    return f"the geometry file says {'the same' if same(norm, published) else f'{norm:.10g}'}"
