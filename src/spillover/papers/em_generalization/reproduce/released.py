"""What a folder of the release holds, read once: runs, published tables, comparisons, priors, activation results.

What cannot be read is a problem, named with its file and line, and costs nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from spillover.judgements.tables.row_reader import Rejected, header_of
from spillover.maths.arrays import Floats
from spillover.papers.cells import as_float, numbers
from spillover.papers.em_generalization.contents import (
    Answers,
    PublishedRow,
    Summary,
    read_activation_shifts,
    read_answers,
    read_csv_rows,
    read_json_file,
    read_published_table,
    read_summary,
)
from spillover.papers.em_generalization.files import ReleaseFiles, RunFiles, find_files
from spillover.papers.em_generalization.names import CrossValidationName, GeometryName, RunName
from spillover.papers.paper import StageProgress, with_progress
from spillover.responses.question import split_question_id

T = TypeVar("T")
Comparisons = Mapping[str, Mapping[str, PublishedRow]]  # file name of a run -> metric -> statistic -> number
TABLES: Mapping[str, tuple[str, ...]] = {  # columns of which most must be there
    "max_diffs": ("max_diff", "r2", "pearsonr_stats", "pearsonr_p", "avg_x", "avg_y", "sample_size"),
    "runs": ("run", "eval_final_avg_loss", "train_initial_loss", "train_final_avg_loss", "log_history", "lr"),
    "rates": ("suffix", "metric", "total", "wilcoxon_sig_rate_0.05", "pearson_sig_rate_0.05", "pearson_stat"),
    "across_k": ("train_data_prefix", "eval_data_prefix", "layer_num", "agg_type", "pca_n_components", "source_csv"),
    "pretrained": ("base_model", "question_set", "question_id", "harmless_mean", "aligned_mean"),
}
MOST = 0.7  # share of a table's columns
PRIOR_SCORES = ("harmless_mean", "aligned_mean", "coherent_mean", "harmless_std", "aligned_std", "coherent_std")
ANSWERS_PER_QUESTION = (50, 100)  # in the release
ABOVE = ("pretrained_scores*.csv", "prior_comparison*.json")
LARGEST = 50_000_000  # bytes of a JSON that may hold comparisons
CONFIG = {  # of geometry files, where they lack it: our names of what their own name says
    "train_data_prefix": "data",
    "eval_data_prefix": "evaluated",
    "activation_type": "tokens",
    "layer": "site",
    "agg_type": "pooling",
    "pca_n_components": "k",
}


@dataclass(frozen=True, eq=False)
class ReleasedRun:
    """One model asked one set of questions.

    label: file_name, with the folder before it where two folders hold a file of that name. file_name: without its
    ending. name: what it says. summary: empty where none can be read; answers: None then.
    """

    label: str
    file_name: str
    folder: str
    name: RunName
    summary: Summary
    answers: Answers | None

    @property
    def has_summary(self) -> bool:
        """Whether any published number of it could be read."""
        return self.summary != Summary()

    @property
    def questions(self) -> str:
        """The question set as the release spells it (fpq, hbpnano, ...)."""
        return self.name.questions

    @cached_property
    def answers_per_question(self) -> int | None:
        """Counted, or the usual number with which the published overall SD comes out; None where none does."""
        if self.answers is not None:
            counts = np.unique(self.answers.question_id, return_counts=True)[1]
            return int(np.median(counts)) if len(counts) else None
        for metric in ("harmless", "aligned", "coherent"):
            means, sds = self.summary.column(metric), self.summary.column(f"{metric}_std")
            published = as_float(self.summary.agg.get(f"{metric}_std"))
            if not len(means) or len(means) != len(sds) or np.isnan([*means, *sds, published]).any():
                continue
            for count in ANSWERS_PER_QUESTION:
                both = (pooled_sd(means, sds, count, ddof) for ddof in (0, 1))
                if any(abs(sd - published) <= 1e-6 * published for sd in both):
                    return count
        return None

    def loss(self, name: str) -> float:
        """x of a published table's loss column, nats; NaN where this run has none.

        train_final_avg_loss: loss of the last logged step. train_initial_loss: of the first. eval_final_avg_loss: held
        out, mean over sequences. eval_final_token_loss and the like: held out, mean over tokens.
        """
        if name.startswith("train"):
            steps = self.summary.training_losses
            return steps[0 if "initial" in name else -1] if steps else math.nan
        if "token" in name:
            return as_float(self.summary.token_loss.get("avg_loss"))
        losses = self.summary.losses
        return float(np.mean(losses)) if losses else as_float(self.summary.eval_loss.get("avg_loss"))


@dataclass(frozen=True)
class Prior:
    """Scores of a model before narrow training by question: columns such as harmless_mean.

    questions: the set, as its table spells it. precision: of the scores as read back, points (0 where they are exact).
    answers_per_question: None where not told.
    """

    model: str
    questions: str
    columns: Mapping[str, Mapping[str, float]]
    precision: float = 0.0
    answers_per_question: int | None = None


@dataclass(frozen=True)
class CrossValidated:
    """One released table of predictions from activations: its label in cells, its rows by regressor.

    pretrained: whether its name says that the activations are the pretrained model's. twin: equal for a table and its
    counterpart of the other model.
    """

    label: str
    pretrained: bool
    twin: str
    rows: Mapping[str, PublishedRow]


@dataclass(frozen=True)
class ReleasedGeometry:
    """One `*.eval_delta_compare.json`: label in cells; config as published; summaries by name.

    config: model, train_data_prefix, eval_data_prefix, activation_type, layer, layer_num, agg_type, pca_n_components.
    counts: num_train, num_eval. columns: over evaluation prompts, (prompts,) each, NaN for null. prompts: their ids.
    """

    label: str
    config: PublishedRow
    summaries: Mapping[str, PublishedRow]
    counts: PublishedRow
    columns: Mapping[str, Floats]
    prompts: tuple[str, ...]

    @property
    def layer(self) -> str:
        return str(self.config.get("layer_num"))

    @property
    def pooling(self) -> str:
        return str(self.config.get("agg_type"))


@dataclass
class Release:
    """What a folder holds. tables: rows as text by kind and file. problems: files, or lines of them, and why."""

    files: ReleaseFiles
    runs: list[ReleasedRun] = field(default_factory=list)
    tables: dict[str, dict[str, list[dict[str, str]]]] = field(default_factory=lambda: {kind: {} for kind in TABLES})
    comparisons: list[Comparisons] = field(default_factory=list)
    priors: list[Prior] = field(default_factory=list)
    cross_validated: list[CrossValidated] = field(default_factory=list)
    geometry: list[ReleasedGeometry] = field(default_factory=list)
    problems: list[Rejected] = field(default_factory=list)

    def rows(self, kind: str) -> list[dict[str, str]]:
        """The rows of all published tables of a kind."""
        return [row for rows in self.tables[kind].values() for row in rows]

    def within(self, path: Path) -> str:
        """A file's path below the folder; its name where it lies elsewhere."""
        return self.files.within(path) if path.is_relative_to(self.files.root) else path.name

    def attempt(self, path: Path, read: Callable[[Path], T]) -> list[T]:
        """What `read` makes of one file; nothing where it is wrong, which becomes a problem and costs nothing else."""
        try:
            return [read(path)]
        except (ValueError, OSError, KeyError, TypeError) as error:
            why = " ".join(str(error).split()).removeprefix(str(path)).lstrip(":, ")
            self.problems.append(Rejected(self.within(path), 0, why.replace(f"{self.files.root}/", "")))
            return []


def read_release(path: Path, progress: StageProgress) -> Release:
    """Read the folder; ValueError where it holds no release.

    Scores of pretrained models and comparisons with them may also lie in the folder above it, under `ABOVE`.
    """
    files = find_files(path)
    release = Release(files, problems=list(files.refused))
    tables = [file for file in (*files.tables, *files.unknown) if file.suffix.lower() in (".csv", ".json")]
    above = [file for pattern in ABOVE for file in sorted(files.root.parent.glob(pattern))]
    for file in with_progress("published tables", [*tables, *above], progress):
        release.attempt(file, partial(_add_table, release))
    file_names = Counter(run.file_name for run in files.runs)
    for run_files in with_progress("runs", files.runs, progress):
        _add_run(release, run_files, file_names[run_files.file_name] == 1)
    for rows in release.tables["pretrained"].values():
        release.priors += _priors_of(rows)
    for run in release.runs:
        release.priors += [] if run.name.tuned else _untuned_prior(run)
    for fold, file in with_progress("cross-validation", files.cross_validation, progress):
        release.cross_validated += release.attempt(file, partial(_read_cross_validated, fold))
    for shift, file in with_progress("geometry", files.geometry, progress):
        release.geometry += release.attempt(file, partial(_read_geometry, shift))
    return release


def pooled_sd(means: Floats, sds: Floats, count: int, ddof: int) -> float:
    """SD over all answers from (questions,) means and SDs (ddof 1) of `count` answers a question."""
    inside = (count - 1) * float((sds**2).sum())
    between = count * float(((means - means.mean()) ** 2).sum())
    return math.sqrt((inside + between) / (count * len(means) - ddof))


def family_of(question: str) -> str:
    """The question without its answer format: formats of one question are resampled together."""
    return split_question_id(question)[0]


def _kind_of_table(names: Sequence[str]) -> str | None:
    """Whose columns these mostly are; None for a table that is not known."""
    shares = {kind: sum(column in names for column in columns) / len(columns) for kind, columns in TABLES.items()}
    best = max(shares, key=lambda kind: shares[kind])
    return best if shares[best] >= MOST else None


def _add_table(release: Release, path: Path) -> None:
    if path.suffix.lower() == ".json":
        comparisons = _read_comparisons(path)
        release.comparisons += [] if comparisons is None else [comparisons]
        return
    names, file = header_of(path), release.within(path)
    kind = _kind_of_table(names)
    if kind is None:
        shown = ", ".join(name for name in names[:8] if name) or "none"
        known = "; ".join(f"{kind}: {', '.join(columns[:4])}, ..." for kind, columns in TABLES.items())
        raise ValueError(f"{path} has the columns of no published table that is known here ({known}); it has {shown}")
    release.tables[kind][file], rejected = read_csv_rows(path)
    release.problems += [replace(row, file=file) for row in rejected]


def _read_comparisons(path: Path) -> Comparisons | None:
    """The published comparisons in a JSON file; None for one of another kind; ValueError where it cannot be read."""
    if path.stat().st_size >= LARGEST:
        return None
    content = read_json_file(path)
    by_run = content.items() if isinstance(content, dict) else ()
    comparisons = {
        run.removesuffix(".csv").removesuffix(".json"): {
            metric: row for metric, row in metrics.items() if isinstance(row, dict)
        }
        for run, metrics in by_run
        if isinstance(metrics, dict)
    }
    metrics = [metric for by_metric in comparisons.values() for metric in by_metric]
    return comparisons if metrics and all(metric.endswith("_compare") for metric in metrics) else None


def _add_run(release: Release, files: RunFiles, only: bool) -> None:
    """A run with what of it can be read; nothing where nothing can. only: no other folder has a file of its name."""
    summaries = release.attempt(files.summary, read_summary) if files.summary else []
    answers = release.attempt(files.answers, read_answers) if files.answers else []
    if not summaries and not answers:
        return
    for judged in answers:
        file = release.within(files.answers or files.folder)
        release.problems += [replace(row, file=file) for row in judged.counted.rejected]
    label = files.file_name if only else f"{files.folder.name}/{files.file_name}"
    summary, scores = next(iter(summaries), Summary()), next(iter(answers), None)
    folder = release.within(files.folder)
    release.runs.append(ReleasedRun(label, files.file_name, folder, files.name, summary, scores))


def _priors_of(rows: Sequence[Mapping[str, str]]) -> list[Prior]:
    """A published table's scores of pretrained models, by model and question set."""
    columns: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    precision: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row.get("base_model", ""), row.get("question_set", ""))
        for column, value in numbers(row).items():
            if column in PRIOR_SCORES:
                columns.setdefault(key, {}).setdefault(column, {})[row.get("question_id", "")] = value
        step = as_float(row.get("est_precision"))
        precision[key] = max(precision.get(key, 0.0), 0.0 if math.isnan(step) else step)
    return [Prior(*key, scores, precision[key]) for key, scores in columns.items()]


def _untuned_prior(run: ReleasedRun) -> list[Prior]:
    """A model that was not fine-tuned as the prior of those that were; nothing without scores by question."""
    columns: dict[str, dict[str, float]] = {}
    for question, row in run.summary.by_question.items():
        for name, value in numbers(row).items():
            columns.setdefault(name if name.endswith("_std") else f"{name}_mean", {})[question] = value
    return [Prior(run.name.model, run.questions, columns, 0.0, run.answers_per_question)] if columns else []


def _read_cross_validated(name: CrossValidationName, path: Path) -> CrossValidated:
    """A table of cross-validated scores; ValueError where it has no rows or does not name them."""
    rows = {str(row.pop("name")): row for row in read_published_table(path, ("name", "cv_r2_mean"))}
    twin = name.but(claimed="instruct").fingerprint
    return CrossValidated("/".join((*path.parent.parts[-2:], path.stem)), name.claimed == "pretrained", twin, rows)


def _read_geometry(name: GeometryName, path: Path) -> ReleasedGeometry:
    """A `*.eval_delta_compare.json`; ValueError where it is cut off or has no per-prompt rows."""
    content = read_activation_shifts(path)
    config = {key: getattr(name, field_name) for key, field_name in CONFIG.items()}
    config |= {"model": f"{name.org}--{name.model}" if name.org else name.model, "layer_num": f"layer_{name.layer}"}
    published = content.others.get("config")
    label = "/".join((*path.parent.parts[-4:], name.pooling)) + ("" if name.k == 0.95 else f"_k{name.k:g}")
    return ReleasedGeometry(
        label,
        config | (published if isinstance(published, dict) else {}),
        content.summaries,
        {key: content.others[key] for key in ("num_train", "num_eval") if key in content.others},
        _columns(content.rows),
        tuple(str(row["question_id"]) for row in content.rows),
    )


def _columns(rows: Sequence[PublishedRow]) -> dict[str, Floats]:
    """Columns that hold numbers, (rows,), NaN for null and for what is no number."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: np.array([as_float(row.get(name)) for row in rows])
        for name in names
        if any(isinstance(row.get(name), int | float) for row in rows)
    }
