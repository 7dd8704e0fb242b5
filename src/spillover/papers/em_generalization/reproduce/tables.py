"""Which published table a CSV is, by its columns, and its rows. Knows the tables' columns, not what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.judgements.tables.row_reader import Rejected, Row, header_of, rows_of
from spillover.papers.cells import as_number
from spillover.papers.em_generalization.reproduce.prior import Prior

KINDS: Mapping[str, tuple[str, ...]] = {  # columns of which most must be there
    "max_diffs": ("max_diff", "r2", "pearsonr_stats", "pearsonr_p", "avg_x", "avg_y", "sample_size"),
    "runs": ("run", "eval_final_avg_loss", "train_initial_loss", "train_final_avg_loss", "log_history", "lr"),
    "rates": ("suffix", "metric", "total", "wilcoxon_sig_rate_0.05", "pearson_sig_rate_0.05", "pearson_stat"),
    "across_k": ("train_data_prefix", "eval_data_prefix", "layer_num", "agg_type", "pca_n_components", "source_csv"),
    "pretrained": ("base_model", "question_set", "question_id", "harmless_mean", "aligned_mean"),
}
MOST = 0.7
SCORES = ("harmless_mean", "aligned_mean", "coherent_mean", "harmless_std", "aligned_std", "coherent_std")


@dataclass(frozen=True)
class PublishedTable:
    """A published table: where it is, its sound rows as text, what was rejected."""

    kind: str
    file: str
    rows: tuple[Mapping[str, str], ...]
    rejected: tuple[Rejected, ...]


def read_table(path: Path, file: str) -> PublishedTable:
    """The table at `path`; ValueError where it cannot be read or its columns are those of none."""
    names = header_of(path)
    kind = kind_of(names)
    if kind is None:
        shown = ", ".join(name for name in names[:8] if name) or "none"
        known = "; ".join(f"{kind}: {', '.join(columns[:4])}, ..." for kind, columns in KINDS.items())
        raise ValueError(f"{path} has the columns of no published table that is known here ({known}); it has {shown}")
    found = list(rows_of(path, names))
    rows = tuple(dict(zip(names, row.cells, strict=True)) for row in found if isinstance(row, Row))
    return PublishedTable(kind, file, rows, tuple(row for row in found if isinstance(row, Rejected)))


def kind_of(names: Sequence[str]) -> str | None:
    """Whose columns these mostly are; None for a table that is not known."""
    shares = {kind: sum(column in names for column in columns) / len(columns) for kind, columns in KINDS.items()}
    best = max(shares, key=lambda kind: shares[kind])
    return best if shares[best] >= MOST else None


def priors_of(table: PublishedTable) -> list[Prior]:
    """The pretrained models' scores by model and question set."""
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    precision: dict[tuple[str, str], float] = {}
    for row in table.rows:
        key = (row.get("base_model", ""), row.get("question_set", ""))
        for column in SCORES:
            value = as_number(row.get(column)) if column in row else None
            if value is not None:
                found.setdefault(key, {}).setdefault(column, {})[row.get("question_id", "")] = value
        step = as_number(row.get("est_precision"))
        precision[key] = max(precision.get(key, 0.0), 0.0 if step is None or step != step else step)
    return [Prior(model, name, columns, precision[model, name]) for (model, name), columns in found.items()]


def is_comparison(data: Any) -> bool:
    """Whether a JSON is one of published comparisons: run -> metric -> statistic -> number."""
    if not isinstance(data, dict) or not data:
        return False
    metrics = [name for value in data.values() if isinstance(value, dict) for name in value]
    return bool(metrics) and all(str(name).endswith("_compare") for name in metrics)


def read_comparison(path: Path) -> dict[str, dict[str, dict[str, Any]]] | None:
    """The published comparisons at `path`; None for a JSON of another kind; ValueError where it cannot be read."""
    try:
        data = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON, or is cut off ({error})") from None
    if not is_comparison(data):
        return None
    return {
        str(run): {name: value for name, value in metrics.items() if isinstance(value, dict)}
        for run, metrics in data.items()
        if isinstance(metrics, dict)
    }
