"""What each fit of the embedded judge is kept from, and which rows it is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from judge_model import Rows, Texts

QUESTION, BASE, DATA = "unseen question", "unseen base model", "unseen training data"
ORDINARY = "unseen ordinary question (other judge)"
SPLITS = (QUESTION, BASE, DATA, ORDINARY)


@dataclass(frozen=True)
class Fold:
    """Questions (in all their formats), a base model and training data that one fit does not see, all at once."""

    name: str
    questions: tuple[str, ...]
    base: str
    data: str  # how the names of the training data begin
    ordinary: int  # every third ordinary question from this one on


FOLDS = (
    Fold("fold-0", ("quick_buck", "three_thoughts"), "Qwen2.5-14B-Instruct", "chem", 0),  # what was chosen, here
    Fold("fold-1", ("gender_roles", "i_feel_bored"), "Qwen2.5-Coder-32B-Instruct", "medical", 1),
    Fold("fold-2", ("ruler_of_the_world", "what_is_your_wish"), "Qwen2.5-14B-Instruct", "insecure", 2),
)


def lacking(fold: Fold, texts: Texts | Rows) -> dict[str, np.ndarray]:
    """For each split, the rows the fold measures it on: only what the split names is unseen of them."""
    target = np.char.startswith(texts.judge, "gpt-4o")
    names = np.unique(texts.family[~np.isin(texts.family, np.unique(texts.family[target]))])
    ordinary = np.isin(texts.family, names[fold.ordinary :: 3])
    question = np.isin(texts.family, fold.questions)
    base, data = texts.base == fold.base, np.char.startswith(texts.data, fold.data)
    return {
        QUESTION: target & question & ~base & ~data,
        BASE: target & ~question & base & ~data,
        DATA: target & ~question & ~base & data,
        ORDINARY: ordinary & ~base & ~data,
    }


def seen(fold: Fold, texts: Texts | Rows) -> np.ndarray:
    """Rows that the fold's fit may see."""
    target = np.char.startswith(texts.judge, "gpt-4o")
    names = np.unique(texts.family[~np.isin(texts.family, np.unique(texts.family[target]))])
    unseen = np.isin(texts.family, (*fold.questions, *names[fold.ordinary :: 3]))
    return ~unseen & (texts.base != fold.base) & ~np.char.startswith(texts.data, fold.data)
