"""A probability sample of answers for a second look, and how large it is best made.

The sample is drawn by *ordered pivotal sampling* (Deville and Tillé 1998; in a given order: Chauvet 2012): going
through the answers in an order, two at a time contend with their inclusion probabilities until one is in the sample or
out of it. Every answer is drawn with exactly its probability, and any stretch of the order whose probabilities add up
to m holds m drawn answers, give or take one: an order by question and score is a sample stratified by both, however few
answers a question has. The random number of each contest comes from a key of the answer, so that equal answers in any
order give the same sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spillover.maths.arrays import Bools, Floats, Ints, codes

NEAR = 1e-9  # of two probabilities


def key_uniforms(keys: Sequence[str], seed: int = 0) -> Floats:
    """A number in [0, 1) for each key, that follows from key and seed alone: (keys,)."""
    digests = (hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "replace")).digest() for key in keys)
    return np.array([int.from_bytes(digest[:7], "big") / 256**7 for digest in digests])


def draw_in_order(inclusion: Floats, order: Ints, uniforms: Floats) -> Bools:
    """Which answers are drawn: (n,). inclusion: (n,) probabilities in [0, 1]; order: (n,) a permutation of the answers.

    uniforms: (n + 1,) random numbers in [0, 1), one for each answer's first contest and one for what is left in the
    end.
    """
    if not ((inclusion >= 0) & (inclusion <= 1)).all():
        raise ValueError("inclusion probabilities lie between 0 and 1")
    drawn = np.zeros(len(inclusion), dtype=bool)
    holder, chance = -1, 0.0  # who is undecided, and with which probability of being drawn
    for place in order.tolist():
        share = float(inclusion[place])
        if share <= NEAR or share >= 1 - NEAR:
            drawn[place] = share > 0.5
            continue
        total = chance + share
        if holder < 0:
            holder, chance = place, share
        elif total < 1 - NEAR:  # one of the two is out, the other goes on with the probabilities of both
            holder = holder if uniforms[place] * total < chance else place
            chance = total
        else:  # one of the two is drawn, the other goes on with what is left
            stays = uniforms[place] * (2 - total) < 1 - share
            drawn[holder if stays else place] = True
            holder, chance = (place if stays else holder), total - 1
            if chance <= NEAR:
                holder, chance = -1, 0.0
    if holder >= 0:
        drawn[holder] = uniforms[-1] < chance
    return drawn


@dataclass(frozen=True, eq=False)
class Sample:
    """Which answers are drawn, (n,), and with which probability each was: (n,), NaN outside the frame.

    Where a question is sure of an answer, the probability is that given how many of its answers were drawn: the sample
    is then one stratified by question, in which nothing is left to how many each question got.
    """

    drawn: Bools
    inclusion: Floats


def stratified_sample(
    question: Sequence[str], score: Floats, share: float, keys: Sequence[str], frame: Bools, seed: int = 0
) -> Sample:
    """A share of the answers, by question and within one by score: first how many of each question, then which.

    question: (n,) labels. score: (n,) that orders a question's answers, NaN where there is none (these come first).
    share: in (0, 1]. keys: (n,) texts that tell answers apart; the sample follows from them, in whatever order they
    come. frame: (n,) answers that can be drawn at all.
    """
    inside = np.flatnonzero(frame)
    asked, texts = np.asarray(question, dtype=object)[inside], np.asarray(keys, dtype=object)[inside]
    code, names = codes("question", asked, len(inside))
    counts = np.bincount(code, minlength=len(names)).astype(np.float64)
    values = np.nan_to_num(score[inside], nan=-1.0)
    means = np.bincount(code, weights=values, minlength=len(names)) / np.maximum(counts, 1)
    first = [""] * len(names)  # the least key of each question: other models' answers draw anew
    for at in np.argsort(texts.astype(str))[::-1].tolist():
        first[code[at]] = str(texts[at])
    expected = share * counts
    sure = np.floor(expected + NEAR)
    one_more = draw_in_order(
        np.clip(expected - sure, 0, 1),
        np.lexsort((np.arange(len(names)), np.round(means, 6))),
        key_uniforms([*first, "last"], seed),
    )
    takes = sure + one_more
    chance = takes[code] / counts[code]
    uniforms = key_uniforms([*texts.tolist(), "last"], seed)
    drawn, inclusion = np.zeros(len(frame), dtype=bool), np.full(len(frame), np.nan)
    ties = key_uniforms(
        [f"tie {text}" for text in texts.tolist()], seed
    )  # not the contests' own: these would favour some
    drawn[inside] = draw_in_order(chance, np.lexsort((ties, values, code)), uniforms)
    inclusion[inside] = np.where(sure[code] >= 1, chance, share)
    return Sample(drawn, inclusion)


def best_share(variance: float, residual: float, first: float, second: float) -> float:
    """Share of the answers that the second judge is best given, in (0, 1]: most precision for a given cost.

    With n answers of which a share s is judged twice, the mean's variance is (variance - residual) / n + residual / (s
    n) at a cost of n (first + s second), least where

        s = sqrt(residual / (variance - residual) * first / second)

    (double sampling: Neyman 1938; Cochran 1977, section 12.3). variance: of the second judge's scores over answers;
    residual: of what the first leaves unexplained of them; first, second: cost of an answer with its first judgement,
    and of a second judgement, in one unit.
    """
    if residual >= variance or second <= 0:
        return 1.0
    return float(min(1.0, np.sqrt(residual / (variance - residual) * first / second)))


def sampling_variance(residual: float, share: float, answers: int) -> float:
    """Variance that the sample adds to a mean over `answers`: residual (1 / share - 1) / answers."""
    return residual * (1 / share - 1) / answers
