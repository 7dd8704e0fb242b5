"""How alike prompts are by their text, no model asked: what a geometry of activations has to beat. Knows texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats


def words_alike(training: Sequence[str], evaluation: Sequence[str]) -> Floats:
    """Cosine of each evaluation text with the mean of the training texts, (n,): TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\w+")
    x = np.asarray(model.fit_transform([*training, *evaluation]).toarray(), dtype=np.float64)
    return _to_mean(x[: len(training)], x[len(training) :])


def sentences_alike(training: Sequence[str], evaluation: Sequence[str], model: str) -> Floats | None:
    """The same by a sentence-transformers model on this machine; None where that is not installed."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError:
        return None
    encoder: Any = SentenceTransformer(model, local_files_only=True, trust_remote_code=False)
    x = np.asarray(encoder.encode([*training, *evaluation], show_progress_bar=False), dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return _to_mean(x[: len(training)], x[len(training) :])


def _to_mean(training: Floats, evaluation: Floats) -> Floats:
    mean = training.mean(axis=0)
    return np.asarray(evaluation @ (mean / np.linalg.norm(mean)))
