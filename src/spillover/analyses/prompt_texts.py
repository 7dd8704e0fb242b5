"""Prompts by their texts alone, no model asked: what a geometry or a prediction from activations has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spillover.maths.arrays import Floats


def word_weights(texts: Sequence[str], longest: int = 1, in_texts: int = 1) -> Floats:
    """TF-IDF of words, and runs of up to `longest` words, that stand in at least `in_texts` texts: (texts, words)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, longest), min_df=in_texts, token_pattern=r"(?u)\w+")
    return np.asarray(model.fit_transform(texts).toarray(), dtype=np.float64)


def sentence_embeddings(texts: Sequence[str], model: str) -> Floats | None:
    """(texts, width) by a sentence-transformers model on this machine; None where that library is not installed."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError:
        return None
    encoder = SentenceTransformer(model, local_files_only=True, trust_remote_code=False)
    return np.asarray(encoder.encode(list(texts), show_progress_bar=False), dtype=np.float64)


def words_alike(training: Sequence[str], evaluation: Sequence[str]) -> Floats:
    """Cosine of each evaluation text with the mean of the training texts, (n,): TF-IDF of words and pairs of words."""
    return _to_mean(word_weights([*training, *evaluation], longest=2), len(training))


def sentences_alike(training: Sequence[str], evaluation: Sequence[str], model: str) -> Floats | None:
    """The same by `sentence_embeddings`; None where there are none."""
    x = sentence_embeddings([*training, *evaluation], model)
    return None if x is None else _to_mean(x / np.linalg.norm(x, axis=1, keepdims=True), len(training))


def _to_mean(x: Floats, training: int) -> Floats:
    """Dot product of the rows after the first `training` ones with the direction of these ones' mean."""
    mean = x[:training].mean(axis=0)
    return np.asarray(x[training:] @ (mean / np.linalg.norm(mean)))
