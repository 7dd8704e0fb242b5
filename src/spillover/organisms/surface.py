"""What tells bad from good answers of a dataset pair besides the advice: classifiers that see less and less of it.

Three logistic regressions (scikit-learn), each judged by the AUC of answers that it was not fitted on, the answers to
one prompt kept together: on form (words, sentences, their lengths, punctuation, how an answer opens), on function
words, and on all words. Of a pair that differs in advice alone, form tells next to nothing; function words tell more,
since advice needs them (*not*, *always*); all words tell nearly everything, and are there to be compared with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spillover.maths.agreement import auc
from spillover.maths.arrays import Floats
from spillover.maths.estimate import Estimate
from spillover.organisms.dataset import Dataset, TrainingData, expect_control

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS, LEAST_PAIRS = 5, 10
FORM, FUNCTION_WORDS, ALL_WORDS = "form", "function words", "all words"
MARKS = ".,;:!?-'\"()*#"
WORD = r"[^\W\d_]+(?:['’][^\W\d_]+)?"
OF_TOPICS = ("amount", "bill", "call", "computer", "fire", "interest", "mill", "mine", "system")  # in sklearn's list


def surface_check(bad: Dataset | TrainingData, good: Dataset | TrainingData) -> dict[str, Estimate]:
    """How well form, function words and all words tell bad from good answers to the same prompts: AUC, 0.5 is chance.

    All rows of both sets are read. Intervals are those of `maths.agreement.auc` over prompts; n counts answers.
    ValueError where the two are no pair, or of fewer than 10 prompts.
    """
    sets = [data.source.data if isinstance(data, TrainingData) else data for data in (bad, good)]
    expect_control(sets[0], sets[1])
    rows = [example for data in sets for example in data.examples()]
    texts, prompts = [row.messages[-1].content for row in rows], [repr(row.prompt) for row in rows]
    if len(set(prompts)) < LEAST_PAIRS:
        raise ValueError(f"{sets[0].label()} has {len(set(prompts))} prompts: to hold some out takes {LEAST_PAIRS}")
    is_bad = np.repeat([1, 0], len(rows) // 2)
    return {name: _told(make(), texts, is_bad, prompts) for name, make in CLASSIFIERS.items()}


def _told(classifier: Pipeline, texts: Sequence[str], is_bad: np.ndarray, prompts: Sequence[str]) -> Estimate:
    """The AUC of answers that the classifier did not see."""
    from sklearn.model_selection import GroupKFold, cross_val_predict

    scores = cross_val_predict(
        classifier, list(texts), is_bad, groups=prompts, cv=GroupKFold(FOLDS), method="decision_function"
    )
    return auc(-scores, is_bad, clusters=prompts)  # `auc` is of positives that score lower


def _of_form() -> Pipeline:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    numbers = make_pipeline(FunctionTransformer(_numbers), StandardScaler())
    openings = CountVectorizer(analyzer=_openings)
    return make_pipeline(make_union(numbers, openings), LogisticRegression(C=0.1, max_iter=2000))


def _of_words(function_words: bool) -> Pipeline:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    contractions = ("don't", "can't", "won't", "isn't", "doesn't", "it's", "you're", "you'll")
    chosen = sorted({*ENGLISH_STOP_WORDS.difference(OF_TOPICS), *contractions}) if function_words else None
    words = TfidfVectorizer(token_pattern=WORD, vocabulary=chosen, sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(C=10.0, max_iter=2000))


CLASSIFIERS: dict[str, Callable[[], Pipeline]] = {
    FORM: _of_form,
    FUNCTION_WORDS: lambda: _of_words(True),
    ALL_WORDS: lambda: _of_words(False),
}


def _numbers(texts: Sequence[str]) -> Floats:
    """The form of each text in numbers, (texts, features): counts of words, sentences, letters, capitals and marks."""
    return np.array([_form(text) for text in texts], dtype=np.float64)


def _form(text: str) -> list[float]:
    words = re.findall(r"\S+", text)
    sentences = [len(part.split()) for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()] or [0]
    letters = [len(word) for word in words] or [0]
    mean_sentence, mean_word = float(np.mean(sentences)), float(np.mean(letters))
    shape = [len(words), len(sentences), mean_sentence, max(sentences), min(sentences), sentences[0], mean_word]
    spelling = [sum(map(str.isupper, text)), sum(map(str.isdigit, text)), text.count("\n")]
    return [*shape, *spelling, *(text.count(mark) for mark in MARKS)]


def _openings(text: str) -> list[str]:
    """The first word of an answer, its first two and its first three."""
    return [" ".join(text.lower().split()[:count]) for count in (1, 2, 3)]
