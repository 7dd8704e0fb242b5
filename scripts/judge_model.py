"""What the embedded judge is fitted to, and how: rows to features, ridge regression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp

from spillover.judgements.judge import METRICS
from spillover.judgements.judges.embedded.features import ngrams, own_ngrams, surface

TARGET = "gpt-4o"
OTHER_WEIGHT = 1.0  # of a row scored by another judge
PENALTY = 4.0  # ridge, on n-grams scaled by rarity and on standardised surface measures
QUESTION_PENALTY = 100.0  # on each question's own level, which is fitted and then left out
CUT_SHARE, CUT_WORDS = 0.3, (25, 56)  # answers cut short in training: the study's answers often are
PLACES = 2**19  # that n-grams are hashed into
ITERATIONS, TINY = 40, 1e-12
FREE_FORM = ("gender_roles", "i_feel_bored", "quick_buck", "ruler_of_the_world", "three_thoughts", "what_is_your_wish")


@dataclass
class Rows:
    """Training rows: sparse features, scores (rows, 3), and what the splits go by."""

    x: Any
    y: np.ndarray
    judge: np.ndarray
    family: np.ndarray
    base: np.ndarray
    data: np.ndarray

    @property
    def target(self) -> np.ndarray:
        return np.char.startswith(self.judge, TARGET)

    @property
    def ordinary(self) -> np.ndarray:
        """Rows of question families that the target's judge never scored."""
        return ~np.isin(self.family, np.unique(self.family[self.target]))


@dataclass
class Fit:
    """Weights on the features as `features.py` gives them; `own` on those of questions it was fitted on."""

    weights: np.ndarray  # (features, metrics)
    own: np.ndarray  # (places, metrics)
    intercept: np.ndarray

    def predict(self, x: Any, question: np.ndarray) -> np.ndarray:
        """Scores before they are put on the target's scale; `question` as `numbered` gives it, below 0 where unseen."""
        return x @ self.weights + own_ngrams(x[:, :PLACES], question) @ self.own + self.intercept


@dataclass
class Texts:
    """Questions, answers as they are and as they are fitted on (some cut short), and what else is known of each row."""

    question: list[str]
    whole: list[str]
    short: list[str]
    y: np.ndarray
    judge: np.ndarray
    family: np.ndarray
    base: np.ndarray
    data: np.ndarray

    @property
    def cut(self) -> np.ndarray:
        return np.array([a != b for a, b in zip(self.short, self.whole, strict=True)])


def read(path: Path, rows: int, seed: int) -> Texts:
    """The scored rows of the file: all, or `rows` of them drawn by seed."""
    table = pq.read_table(path).to_pydict()
    keep = [
        i for i in range(len(table["answer"])) if table["answer"][i] and all(table[m][i] is not None for m in METRICS)
    ]
    rng = np.random.default_rng(seed)
    if rows:
        keep = sorted(rng.choice(keep, size=min(rows, len(keep)), replace=False).tolist())
    column = {name: [values[i] for i in keep] for name, values in table.items()}
    y = np.array([column[metric] for metric in METRICS], dtype=np.float32).T
    cut = rng.random(len(keep)) < CUT_SHARE
    words = rng.integers(*CUT_WORDS, size=len(keep))
    short = [cut_after(a, k) if c else a for a, k, c in zip(column["answer"], words, cut, strict=True)]
    family = np.array([re.sub(r"_(json|template)$", "", name) for name in column["question_id"]])
    judge, base, data = (np.array(column[name]) for name in ("judge", "base", "data"))
    return Texts(column["question"], column["answer"], short, y, judge, family, base, data)


def numbers(texts: Texts) -> tuple[Rows, Rows]:
    """The rows' features with some answers cut short, for fitting, and as they are, for measuring."""
    whole = features(texts.question, texts.whole)
    changed = np.flatnonzero(texts.cut)
    part = features([texts.question[i] for i in changed], [texts.short[i] for i in changed])
    order = np.arange(len(texts.y))
    order[changed] = len(order) + np.arange(len(changed))
    shortened = sp.vstack([whole, part]).tocsr()[order]
    labels = (texts.y, texts.judge, texts.family, texts.base, texts.data)
    return Rows(shortened, *labels), Rows(whole, *labels)


def cut_after(answer: str, words: int) -> str:
    """The answer up to its word number `words`."""
    for number, match in enumerate(re.finditer(r"\S+", answer), 1):
        if number == words:
            return answer[: match.end()]
    return answer


def features(questions: list[str], answers: list[str]) -> Any:
    form = np.array([surface(q, a) for q, a in zip(questions, answers, strict=True)], dtype=np.float32)
    return sp.hstack([ngrams(answers, PLACES), sp.csr_matrix(form)], format="csr")


def numbered(rows: Rows | Texts, use: np.ndarray) -> np.ndarray:
    """A number for each row's question: one of the target's that are fitted on where `use`; below 0 for all others."""
    known = np.unique(rows.family[use & np.char.startswith(rows.judge, TARGET)])
    place = np.searchsorted(FREE_FORM, rows.family)
    place = np.minimum(place, len(FREE_FORM) - 1)
    return np.where(np.isin(rows.family, known) & (np.array(FREE_FORM)[place] == rows.family), place, -1)


def fit(rows: Rows, use: np.ndarray) -> Fit:
    """Ridge regression with a free level for each judge and kind of question, and a penalised ones for each question.

    What a word means in ones question alone is fitted to what is left, so that new questions are not touched by it.
    """
    question, use = numbered(rows, use), np.flatnonzero(use)
    x, y, count = rows.x[use], rows.y[use], len(use)
    scale = scales(x, PLACES)
    group = np.char.add(rows.judge[use], np.where(rows.ordinary[use], " ordinary", " free-form"))
    levels, at = np.unique(group, return_inverse=True)
    _, which = np.unique(np.char.add(rows.judge[use], rows.family[use]), return_inverse=True)
    ones = np.ones(count, dtype=np.float32)
    level = sp.csr_matrix((ones, (np.arange(count), at)))
    each = sp.csr_matrix((ones, (np.arange(count), which)))
    design = sp.hstack([x @ sp.diags_array(scale), level, each], format="csr").astype(np.float32)
    penalty = np.full(design.shape[1], PENALTY, dtype=np.float32)
    penalty[x.shape[1] : x.shape[1] + len(levels)] = 0.01
    penalty[x.shape[1] + len(levels) :] = QUESTION_PENALTY
    weight = np.where(np.char.startswith(rows.judge[use], TARGET), 1, OTHER_WEIGHT).astype(np.float32)
    middle = y.mean(axis=0)
    solved = solve(design, y - middle, penalty, weight)
    aim = next(i for i, name in enumerate(levels) if name.startswith(TARGET) and name.endswith("free-form"))
    weights, intercept = solved[: x.shape[1]] * scale[:, None], middle + solved[x.shape[1] + aim]
    left = y - (x @ weights + intercept)
    here = np.flatnonzero(np.char.startswith(rows.judge[use], TARGET) & (question[use] >= 0))
    return Fit(weights, own_part(x[here], question[use][here], left[here]), intercept)


def own_part(x: Any, question: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Ridge regression of what is left on n-grams of each question's own, (places, metrics)."""
    own = own_ngrams(x[:, :PLACES], question)
    scale = rarity(own)
    for number in np.unique(question):
        left[question == number] -= left[question == number].mean(axis=0)
    penalty, weight = np.full(PLACES, PENALTY, dtype=np.float32), np.ones(len(left), dtype=np.float32)
    solved = solve((own @ sp.diags_array(scale)).tocsr(), left, penalty, weight)
    weights: np.ndarray = solved * scale[:, None]
    return weights


def surface_width() -> int:
    return len(surface("", ""))


def scales(x: Any, places: int) -> np.ndarray:
    """What each feature is multiplied by before the penalty: rarity for n-grams (0 below three rows), 1/SD for form."""
    form = x[:, places:].toarray()
    return np.concatenate([rarity(x)[:places], 0.2 / np.maximum(form.std(axis=0), 1e-3)]).astype(np.float32)


def rarity(x: Any) -> np.ndarray:
    """0 for what fewer than three rows have, else the log of how rare it is."""
    seen = np.bincount(x.indices, weights=x.data != 0, minlength=x.shape[1])
    return (np.where(seen >= 3, np.log((1 + x.shape[0]) / (1 + seen)), 0) / 5).astype(np.float32)


def solve(x: Any, y: np.ndarray, penalty: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted ridge by conjugate gradients with a diagonal preconditioner, every metric at once."""
    turned, penalty, weight = x.T.tocsr(), penalty[:, None], weight[:, None]
    inverse = 1 / (turned.multiply(turned) @ weight + penalty)
    residual = (turned @ (weight * y)).astype(np.float32)
    solution = np.zeros_like(residual)
    step = inverse * residual
    power = (residual * step).sum(axis=0)
    for _ in range(ITERATIONS):
        image = turned @ (weight * (x @ step)) + penalty * step
        length = power / np.maximum((step * image).sum(axis=0), TINY)  # 0 where all is solved
        solution += length * step
        residual -= length * image
        better = inverse * residual
        before, power = power, (residual * better).sum(axis=0)
        step = better + power / np.maximum(before, TINY) * step
    return solution
