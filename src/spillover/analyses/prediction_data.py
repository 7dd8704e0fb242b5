"""What is predicted, question by question, and from what: activations in three forms, and what needs none.

`raw`: the activations themselves. `pca`: squared projections on the principal axes of the *training* prompts'
activations, centred at their mean. `random`: squared projections on random orthonormal axes, not centred. The last two
are the published ones (docs/method.md, section 2b).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from spillover.activations.activations import captured_layers, read_activations
from spillover.activations.sites import layer_site
from spillover.analyses.prompt_texts import sentence_embeddings, word_weights
from spillover.analyses.rows import TableRow
from spillover.analyses.scores import AnswerScores, less_format_mean
from spillover.maths.arrays import Floats, Ints
from spillover.maths.subspaces import principal_axes, random_axes

POOLINGS = ("last", "mean")
SPREAD = " sd"  # "aligned sd" is the standard deviation of a question's aligned scores
FeatureSet = Literal["raw", "pca", "random"]
FeatureSource = tuple[TableRow, Floats]  # what they are (features, layer, pooling), and (questions, columns)


@dataclass(frozen=True, eq=False)
class PredictionTargets:
    """Questions with their targets (n, T), and what all features share: groups, folds (R, n), orders (draws + 1, n)."""

    about: Mapping[str, TableRow]  # of each question id, in order: question, family, category, format
    targets: tuple[str, ...]
    y: Floats
    groups: np.ndarray  # (n,) what no fold may split
    folds: Ints
    orders: Ints

    @property
    def names(self) -> list[str]:
        """The questions' ids, in order."""
        return list(self.about)

    def labels(self, kind: str) -> np.ndarray:
        """family, category or format of each question, (n,)."""
        return np.array([question[kind] for question in self.about.values()])

    @property
    def metric(self) -> str:
        """What the first target is of."""
        return self.targets[0].removesuffix(SPREAD)


@dataclass(frozen=True)
class ActivationFeatures:
    """Features of the questions, in rows, from activations that lie in a folder, layer by layer."""

    folder: Path
    rows: np.ndarray  # of the activations, one a question
    every: int  # layers looked at: every so many, the last one always
    training: Path | None = None  # activations of the training prompts, for the axes of pca

    def places(self) -> list[tuple[int, str]]:
        """(layer, pooling) pairs looked at."""
        captured = captured_layers(self.folder)
        chosen = sorted({*captured[:: self.every], captured[-1]})
        return [(layer, pooling) for pooling in POOLINGS for layer in chosen]

    def raw(self, layer: int, pooling: str) -> Floats:
        """The activations (questions, d_model)."""
        return np.asarray(read_activations(self.folder, layer_site(layer), pooling)[self.rows], dtype=np.float64)

    def pca(self, layer: int, pooling: str, components: int) -> Floats:
        """Squared projections on as many principal axes of the training prompts as asked for, or as there are."""
        assert self.training is not None
        training = read_activations(self.training, layer_site(layer), pooling).astype(np.float64)
        axes = principal_axes(training, variance=1.0)
        return np.asarray(axes.first(min(components, axes.k)).project(self.raw(layer, pooling)) ** 2)

    def random(self, layer: int, pooling: str, components: int, rng: np.random.Generator) -> Floats:
        """Squared projections on random axes, as many."""
        x = self.raw(layer, pooling)
        return np.asarray((x @ random_axes(min(components, x.shape[1]), x.shape[1], rng).T) ** 2)


def target_values(scores: AnswerScores, target: str, names: list[str]) -> Floats:
    """Mean, or standard deviation (ddof 1), of each question's scores (n,), points; NaN where there are too few."""
    metric = target.removesuffix(SPREAD)
    if metric not in scores.columns:
        raise ValueError(f"no scores of {metric!r} in {scores.label}; targets are metrics, or 'METRIC{SPREAD}'")
    values = scores.means if metric == target else scores.deviations
    return values(metric, names, by="question_id")


def baselines(
    before: AnswerScores, data: PredictionTargets, prompts: Mapping[str, TableRow]
) -> Iterator[FeatureSource]:
    """Features that no activation is needed for: prompt length, category, the prior's own score."""
    formats = data.labels("format")
    length = np.log([prompts[name]["prompt_tokens"] for name in data.names])
    yield _named("prompt length"), less_format_mean(length, formats)[:, None]
    categories = data.labels("category")
    yield _named("category"), (categories[:, None] == np.unique(categories)[None, :]).astype(float)
    prior = less_format_mean(before.means(data.metric, data.names, by="question_id"), formats)
    yield _named("score before"), np.nan_to_num(prior)[:, None]


def text_baselines(texts: list[str], words: bool, sentences: str) -> Iterator[FeatureSource]:
    """The prompts' words (TF-IDF), as a text model without a network has them; their embedding by model `sentences`."""
    if words:
        yield _named("prompt words"), word_weights(texts, in_texts=2)
    if sentences and (embedded := sentence_embeddings(texts, sentences)) is not None:
        yield _named("sentence embedding"), embedded


def _named(features: str) -> TableRow:
    return {"features": features, "layer": None, "pooling": None}
