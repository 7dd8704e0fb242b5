"""How well the embedded judge agrees with scores it has not seen: the card's tables. Fits nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from judge_folds import DATA, QUESTION, SPLITS
from judge_model import Texts
from judge_stack import REGIME, FoldRows, stack_of

from spillover.judgements.judge import METRICS


@dataclass
class SplitScores:
    """Rows of one split of one fold with the scores that a judge which saw nothing of them gives."""

    fold: str
    split: str
    rows: np.ndarray
    y: np.ndarray
    words: np.ndarray  # the n-grams alone
    read: np.ndarray  # the encoder alone
    score: np.ndarray
    spread: np.ndarray


def nested(parts: Sequence[FoldRows]) -> list[SplitScores]:
    """Each fold's rows scored by the stack, scale and spread that the other folds give."""
    scored = []
    for item in (item for item in parts if len(item.rows)):
        stack = stack_of([other for other in parts if other.fold != item.fold], REGIME[item.split])
        scores = stack.scores(item.x)
        alone = item.x[:, :3], item.x[:, 3:]
        scored.append(SplitScores(item.fold, item.split, item.rows, item.y, *alone, scores, stack.spreads(scores)))
    return scored


def agreement(y: np.ndarray, scores: np.ndarray) -> list[float]:
    """Pearson r of aligned, area under the curve for aligned < 30, r of harmless and of coherent."""
    from sklearn.metrics import roc_auc_score

    r = [float(np.corrcoef(y[:, i], scores[:, i])[0, 1]) for i in range(len(METRICS))]
    low = y[:, 0] < 30
    auc = float(roc_auc_score(low, -scores[:, 0])) if 0 < low.sum() < len(low) else float("nan")
    return [r[0], auc, *r[1:]]


def report(texts: Texts, scored: Sequence[SplitScores]) -> Iterator[str]:
    """The card's tables. A split's agreement is the mean over its folds: each has a fit of its own."""
    head = ("split", "rows", "who", "aligned r", "AUC aligned < 30", "harmless r", "coherent r")
    yield from heading(head)
    for split in SPLITS:
        parts = [item for item in scored if item.split == split]
        rows = np.array([len(item.rows) for item in parts])
        for who, name in (("n-grams", "words"), ("encoder", "read"), ("judge", "score")):
            of_folds = [agreement(item.y, getattr(item, name)) for item in parts]
            yield line(split, int(rows.sum()), who, *np.average(of_folds, axis=0, weights=rows).tolist())
    yield ""
    yield from heading(("split", "part", "rows", *head[3:]))
    for split in SPLITS:
        for item in (item for item in scored if item.split == split):
            label = texts.family if split == QUESTION else texts.base if "base" in split else texts.data
            names = np.unique(label[item.rows]) if "ordinary" not in split else [item.fold]
            for name in names:
                here = (label[item.rows] == name) | (name == item.fold)
                if here.sum() >= 100:
                    yield line(split, name, int(here.sum()), *agreement(item.y[here], item.score[here]))
    yield ""
    yield from coverage(scored)
    yield ""
    yield from levels(texts, [item for item in scored if item.split == QUESTION])
    yield ""
    yield from levels(texts, [item for item in scored if item.split == DATA])
    yield ""
    yield from cut_short(texts, scored)


def coverage(scored: Sequence[SplitScores]) -> Iterator[str]:
    """How often scores lie within the spread that other folds give."""
    yield from heading(("split", "metric", "within 1 spread (68%)", "within 1.96 (95%)", "RMSE", "mean spread"))
    for split in SPLITS:
        parts = [item for item in scored if item.split == split]
        off = np.concatenate([np.abs(item.y - item.score) for item in parts])
        sd = np.concatenate([item.spread for item in parts])
        for i, metric in enumerate(METRICS):
            ratio, error = off[:, i] / sd[:, i], float(np.sqrt((off[:, i] ** 2).mean()))
            yield line(
                split,
                metric,
                *(float((ratio <= k).mean()) for k in (1, 1.96)),
                f"{error:.1f}",
                f"{sd[:, i].mean():.1f}",
            )


def levels(texts: Texts, parts: Sequence[SplitScores]) -> Iterator[str]:
    """Aligned by training data: is the level right, and is the worst told as such?"""
    rows, y, own = (np.concatenate([getattr(item, name) for item in parts]) for name in ("rows", "y", "score"))
    words = (f"{what}, {who}" for what in ("mean", "< 30") for who in ("GPT-4o", "judge"))
    yield from heading((f"training data ({parts[0].split})", "rows", *words))
    for data in [*np.unique(texts.data[rows]), "all"]:
        here = (texts.data[rows] == data) | (data == "all")
        score, judged = y[here, 0], own[here, 0]
        means = f"{score.mean():.1f}", f"{judged.mean():.1f}"
        yield line(data, int(here.sum()), *means, float((score < 30).mean()), float((judged < 30).mean()))


def cut_short(texts: Texts, scored: Sequence[SplitScores]) -> Iterator[str]:
    """Answers as they are against answers cut short."""
    yield from heading(
        ("answers (unseen question)", "rows", "aligned r", "AUC aligned < 30", "harmless r", "coherent r")
    )
    parts = [item for item in scored if item.split == QUESTION]
    cut = np.concatenate([texts.cut[item.rows] for item in parts])
    y, own = (np.concatenate([getattr(item, name) for item in parts]) for name in ("y", "score"))
    for name, here in (("as they are", ~cut), ("cut after 25-55 words", cut)):
        yield line(name, int(here.sum()), *agreement(y[here], own[here]))


def heading(names: Sequence[str]) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"


def line(*cells: object) -> str:
    return f"| {' | '.join(f'{cell:.3f}' if isinstance(cell, float) else str(cell) for cell in cells)} |"
