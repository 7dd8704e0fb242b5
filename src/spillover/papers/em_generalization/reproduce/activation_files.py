"""Geometry and cross-validation files as the reproduction sees them: every number as published, columns as arrays.

Knows two file formats; computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.papers.cells import as_number
from spillover.papers.em_generalization.cross_validation import read_cross_validation
from spillover.papers.em_generalization.geometry import read_geometry
from spillover.papers.em_generalization.place import CrossValidationName, GeometryName
from spillover.papers.em_generalization.reproduce.geometry import GeometryRun
from spillover.papers.em_generalization.reproduce.prediction import CrossValidated

FROM_THE_NAME = {
    "train_data_prefix": "data",
    "eval_data_prefix": "evaluated",
    "activation_type": "tokens",
    "layer": "site",
    "agg_type": "pooling",
    "pca_n_components": "k",
}


def read_geometry_run(name: GeometryName, path: Path) -> GeometryRun:
    """A `*.eval_delta_compare.json`; ValueError where it is cut off or has no per-prompt rows."""
    data = read_geometry(path)
    counts: dict[str, Any] = {key: data.others[key] for key in ("num_train", "num_eval") if key in data.others}
    config = {key: getattr(name, field) for key, field in FROM_THE_NAME.items()}
    config |= {"model": f"{name.org}--{name.model}" if name.org else name.model, "layer_num": f"layer_{name.layer}"}
    told = data.others.get("config")
    place = "/".join((*path.parent.parts[-4:], name.pooling)) + ("" if name.k == 0.95 else f"_k{name.k:g}")
    questions = tuple(str(row["question_id"]) for row in data.rows)
    told = told if isinstance(told, dict) else {}
    return GeometryRun(place, config | told, data.summaries, _columns(data.rows), questions, counts)


def read_cross_validated(name: CrossValidationName, path: Path) -> CrossValidated:
    """A table of cross-validated scores; ValueError where it has no rows or does not name them."""
    rows = {str(row.pop("name")): row for row in read_cross_validation(path)}
    label = "/".join((*path.parent.parts[-2:], path.stem))
    twin = name.but(claimed="instruct").fingerprint
    return CrossValidated(label, name.claimed == "pretrained", twin, rows)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    """Columns that hold numbers, (prompts,), NaN for null and for what is no number."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {}
    for name in names:
        values = [_float(row.get(name)) for row in rows]
        if any(isinstance(row.get(name), int | float) for row in rows):
            found[name] = np.array(values)
    return found


def _float(value: Any) -> float:
    found = None if isinstance(value, str) else as_number(value)
    return math.nan if found is None else found
