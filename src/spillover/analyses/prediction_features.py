"""What a question's score may be predicted from: activations in three forms, and what needs none. Knows no score after.

`raw`: the activations themselves. `pca`: squared projections on the principal axes of the *training* prompts'
activations, centred at their mean. `random`: squared projections on random orthonormal axes, not centred. The last two
are the published ones (docs/method.md, section 2b).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spillover.activations.activations import layers, read_activations
from spillover.analyses.scores import Scores
from spillover.maths.arrays import Floats
from spillover.maths.subspaces import principal_axes, random_axes

POOLINGS = ("last", "mean")
FeatureSet = Literal["raw", "pca", "random"]
FeatureSource = tuple[dict[str, Any], Floats]  # what it is, and (questions, columns)


@dataclass(frozen=True)
class Places:
    """Where activations of the questions, in rows, are read, layer by layer."""

    folder: Path
    rows: np.ndarray
    every: int
    training: Path | None = None

    def there(self) -> list[tuple[int, str]]:
        """(layer, pooling) pairs looked at: every so many layers, the last one always."""
        kept = layers(self.folder)
        looked = sorted({*kept[:: self.every], kept[-1]})
        return [(layer, pooling) for pooling in POOLINGS for layer in looked]

    def raw(self, layer: int, pooling: str) -> Floats:
        """The activations (questions, d_model)."""
        found = read_activations(self.folder, f"resid_post.{layer:02d}", pooling)[self.rows]
        return np.asarray(found, dtype=np.float64)

    def pca(self, layer: int, pooling: str, components: int) -> Floats:
        """Squared projections on as many principal axes of the training prompts as asked for, or as there are."""
        assert self.training is not None
        training = read_activations(self.training, f"resid_post.{layer:02d}", pooling).astype(np.float64)
        axes = principal_axes(training, variance=1.0)
        return np.asarray(axes.first(min(components, axes.k)).project(self.raw(layer, pooling)) ** 2)

    def random(self, layer: int, pooling: str, components: int, rng: np.random.Generator) -> Floats:
        """Squared projections on random axes, as many."""
        x = self.raw(layer, pooling)
        return np.asarray((x @ random_axes(min(components, x.shape[1]), x.shape[1], rng).T) ** 2)


def baselines(
    before: Scores, names: list[str], about: Any, prompts: Any, metric: str, within: Callable[[Any], Floats]
) -> Iterator[FeatureSource]:
    """Features that no activation is needed for: prompt length, category, the prior's own score."""
    length = np.log([prompts[name]["prompt_tokens"] for name in names])
    yield {"features": "prompt length", "layer": None, "pooling": None}, within(length)[:, None]
    categories = np.array([about[name]["category"] for name in names])
    dummies = (categories[:, None] == np.unique(categories)[None, :]).astype(float)
    yield {"features": "category", "layer": None, "pooling": None}, dummies
    prior = within(before.means(metric, names, by="question_id"))
    yield {"features": "score before", "layer": None, "pooling": None}, np.nan_to_num(prior)[:, None]


def words(names: list[str], prompts: Any) -> FeatureSource:
    """The prompt's words, weighted by rarity (TF-IDF): what a text model without a network would go by."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [prompts[name]["prompt"] for name in names]
    x = TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=r"(?u)\w+").fit_transform(texts)
    return {"features": "prompt words", "layer": None, "pooling": None}, np.asarray(x.toarray(), dtype=np.float64)


def sentences(names: list[str], prompts: Any, model: str) -> FeatureSource | None:
    """The prompt's embedding by a sentence-transformers model on this machine; None where that is not installed."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError:
        return None
    encoder = SentenceTransformer(model, local_files_only=True, trust_remote_code=False)
    x = encoder.encode([prompts[name]["prompt"] for name in names], show_progress_bar=False)
    return {"features": "sentence embedding", "layer": None, "pooling": None}, np.asarray(x, dtype=np.float64)
