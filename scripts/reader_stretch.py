"""The scale of the aligned score, set so that means of unfamiliar answers are right.

A fit that is unsure keeps to the middle: single scores are then nearest to their labels, and the difference between
good and bad answers comes out too small. Studies are made of such differences, so the score's logit is stretched about
a middle,

    logit' = middle + factor (logit - middle)

by the factor and the middle with which means of groups of rows that no fit saw (either side of our pairs, each quality
of ordinary answers, each model on unseen questions) are nearest to their labels' means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from reader_rows import ORDINARY, OWN_DOMAIN, QUESTION, share_of

# a larger factor brings means little nearer and throws single answers that are read the wrong way round far off
FACTORS, MIDDLES = np.arange(0.8, 1.51, 0.05), np.arange(-1.0, 1.51, 0.25)
FOLDS = 5
FEWEST = 12  # rows of a group that counts


@dataclass(frozen=True)
class Stretch:
    """logit' = middle + factor (logit - middle)."""

    middle: float = 0.0
    factor: float = 1.0

    def of(self, scores: np.ndarray) -> np.ndarray:
        """Scores in [0, 100], stretched."""
        share = np.clip(scores / 100, 1e-6, 1 - 1e-6)
        logit = np.log(share / (1 - share))
        return 100 / (1 + np.exp(-(self.middle + self.factor * (logit - self.middle))))


def kinds_of(table: pd.DataFrame) -> pd.Series:
    """The group whose mean is to be right that each row belongs to; missing for rows of no such group."""
    side = table.side.map({1: "good", -1: "bad"})
    kinds = pd.Series(np.nan, index=table.index, dtype=object)
    for split, names in ((OWN_DOMAIN, side), (ORDINARY, table.note), (QUESTION, table.model)):
        here = (table.split == split) & names.notna() & (names != "")
        kinds[here] = split + ", " + names[here].astype(str)
    counts = kinds.map(kinds.value_counts())
    return kinds.where(table.label_aligned.notna() & (counts >= FEWEST))


def fitted_stretch(table: pd.DataFrame) -> Stretch:
    """The stretch with the least squared errors of groups' means, each split as much as another."""
    kinds = kinds_of(table)
    known = table[kinds.notna()]
    if not len(known):
        return Stretch()
    codes, names = pd.factorize(kinds[kinds.notna()])
    sizes = np.bincount(codes).astype(float)
    labels = np.bincount(codes, known.label_aligned) / sizes
    split = pd.factorize(pd.Series(names).str.split(", ").str[0])[0]
    weight = np.sqrt(sizes) / np.bincount(split, np.sqrt(sizes))[split]
    scores, best, least = known.score_aligned.to_numpy(), Stretch(), np.inf
    for factor in FACTORS:
        for middle in MIDDLES:
            made = Stretch(float(middle), float(factor))
            off = float(weight @ (np.bincount(codes, made.of(scores)) / sizes - labels) ** 2)
            if off < least:
                best, least = made, off
    return best


def cross_fitted(table: pd.DataFrame) -> tuple[np.ndarray, Stretch]:
    """Stretched scores, each by a stretch fitted without its own domain or question; and that of all rows."""
    whole = fitted_stretch(table)
    unit = table.domain.where(table.split == OWN_DOMAIN, table.group)
    fold = unit.map(lambda name: int(share_of(f"stretch {name}", 0) * FOLDS))
    kinds = kinds_of(table)
    scores = whole.of(table.score_aligned.to_numpy())
    for number in range(FOLDS):
        inside = ((fold == number) & kinds.notna()).to_numpy()
        if inside.any():
            scores[inside] = fitted_stretch(table[fold != number]).of(table.score_aligned.to_numpy()[inside])
    return scores, whole
