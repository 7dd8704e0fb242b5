"""What the embedded judge is fitted to, and how: rows to features, ridge regression. Knows no split and no report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp

from spillover.judgements.features import ngrams, surface
from spillover.judgements.judge import METRICS

TARGET = "gpt-4o"
OTHER_WEIGHT = 1.0  # of a row scored by another judge
PENALTY = 4.0  # ridge, on n-grams scaled by rarity and on standardised surface measures
QUESTION_PENALTY = 100.0  # on each question's own level, which is fitted and then left out
CUT_SHARE, CUT_WORDS = 0.3, (25, 56)  # answers cut short in training: the study's answers often are
PLACES = 2**19  # that n-grams are hashed into
ITERATIONS = 40


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
    """Weights on the features as `features.py` gives them."""

    weights: np.ndarray  # (features, metrics)
    intercept: np.ndarray

    def predict(self, x: Any) -> np.ndarray:
        """Scores before they are put on the target's scale."""
        return x @ self.weights + self.intercept


def read(path: Path, rows: int, seed: int) -> tuple[Rows, Rows]:
    """The rows with some answers cut short, for fitting, and as they are, for measuring."""
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
    labels = [np.array(column[name]) for name in ("judge", "base", "data")]
    whole = features(column["question"], column["answer"])
    changed = np.flatnonzero([a != b for a, b in zip(short, column["answer"], strict=True)])
    part = features([column["question"][i] for i in changed], [short[i] for i in changed])
    order = np.arange(len(keep))
    order[changed] = len(keep) + np.arange(len(changed))
    shortened = sp.vstack([whole, part]).tocsr()[order]
    return tuple(Rows(x, y, labels[0], family, labels[1], labels[2]) for x in (shortened, whole))  # type: ignore[return-value]


def cut_after(answer: str, words: int) -> str:
    """The answer up to its word number `words`."""
    for number, match in enumerate(re.finditer(r"\S+", answer), 1):
        if number == words:
            return answer[: match.end()]
    return answer


def features(questions: list[str], answers: list[str]) -> Any:
    form = np.array([surface(q, a) for q, a in zip(questions, answers, strict=True)], dtype=np.float32)
    return sp.hstack([ngrams(answers, PLACES), sp.csr_matrix(form)], format="csr")


def fit(rows: Rows, use: np.ndarray) -> Fit:
    """Ridge regression with a free level for each judge and kind of question, and a penalised one for each question."""
    use = np.flatnonzero(use)
    x, y, count = rows.x[use], rows.y[use], len(use)
    scale = scales(x, rows.x.shape[1] - surface_width())
    group = np.char.add(rows.judge[use], np.where(rows.ordinary[use], " ordinary", " free-form"))
    question = np.char.add(rows.judge[use], rows.family[use])
    levels, at = np.unique(group, return_inverse=True)
    _, which = np.unique(question, return_inverse=True)
    one = np.ones(count, dtype=np.float32)
    level = sp.csr_matrix((one, (np.arange(count), at)))
    own = sp.csr_matrix((one, (np.arange(count), which)))
    design = sp.hstack([x @ sp.diags_array(scale), level, own], format="csr").astype(np.float32)
    penalty = np.full(design.shape[1], PENALTY, dtype=np.float32)
    penalty[x.shape[1] : x.shape[1] + len(levels)] = 0.01
    penalty[x.shape[1] + len(levels) :] = QUESTION_PENALTY
    weight = np.where(np.char.startswith(rows.judge[use], TARGET), 1, OTHER_WEIGHT).astype(np.float32)
    middle = y.mean(axis=0)
    solved = solve(design, y - middle, penalty, weight)
    aim = next(i for i, name in enumerate(levels) if name.startswith(TARGET) and name.endswith("free-form"))
    return Fit(solved[: x.shape[1]] * scale[:, None], middle + solved[x.shape[1] + aim])


def surface_width() -> int:
    return len(surface("", ""))


def scales(x: Any, places: int) -> np.ndarray:
    """What each feature is multiplied by before the penalty: rarity for n-grams (0 below three rows), 1/SD for form."""
    seen = np.bincount(x.indices, minlength=x.shape[1])[:places]
    rarity = np.where(seen >= 3, np.log((1 + x.shape[0]) / (1 + seen)), 0) / 5
    form = x[:, places:].toarray()
    return np.concatenate([rarity, 0.2 / np.maximum(form.std(axis=0), 1e-3)]).astype(np.float32)


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
        length = power / (step * image).sum(axis=0)
        solution += length * step
        residual -= length * image
        better = inverse * residual
        before, power = power, (residual * better).sum(axis=0)
        step = better + power / before * step
    return solution
