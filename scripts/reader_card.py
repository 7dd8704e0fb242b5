"""Every figure of the reader's card, from a table of what it made of rows that no fit saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from reader_rows import CALIBRATE, DOMAIN, FAMILY, FIT, GENERAL, ORDINARY, OWN_DOMAIN, QUESTION, SOURCE

from spillover.judgements.judge import METRICS

DRAWS = 2000
EQUAL = 1.15  # sides of a pair whose lengths differ by less than this factor are equally long
NINETY = 1.645
SCORED = (QUESTION, FAMILY, SOURCE, GENERAL, ORDINARY, OWN_DOMAIN)
LABELS = {
    QUESTION: "GPT-4o", FAMILY: "GPT-4o", SOURCE: "gpt-4o-mini", GENERAL: "gpt-5 (stricter)", ORDINARY: "our marks",
    OWN_DOMAIN: "our estimates",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure that follows from sums over rows, so that drawing questions anew is one product of matrices.

    parts: what is summed, (rows, k) of a table; of_sums: the figure of sums (..., k), NaN where there is none.
    """

    parts: Callable[[pd.DataFrame], np.ndarray]
    of_sums: Callable[[np.ndarray], np.ndarray]

    def __call__(self, table: pd.DataFrame) -> float:
        return float(self.values(self.parts(table).sum(axis=0)))

    def values(self, sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.of_sums(sums))


def interval(table: pd.DataFrame, figure: Figure, seed: int = 0) -> tuple[float, float, float]:
    """A figure and its 95% interval: questions are drawn anew, with all their rows."""
    groups, names = pd.factorize(table["group"])
    count = len(names)
    if count < 8:  # few questions: their rows are drawn
        groups, count = np.arange(len(table)), len(table)
    parts = figure.parts(table)
    sums = np.zeros((count, parts.shape[1]))
    np.add.at(sums, groups, parts)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    drawn = figure.values(times @ sums)
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return float(figure.values(sums.sum(axis=0))), float(low), float(high)


def mean_of(values: Callable[[pd.DataFrame], np.ndarray | pd.Series]) -> Figure:
    """The mean over rows of what is there."""

    def parts(table: pd.DataFrame) -> np.ndarray:
        here = np.asarray(values(table), dtype=float)
        return np.column_stack([~np.isnan(here), np.nan_to_num(here)])

    return Figure(parts, lambda sums: sums[..., 1] / sums[..., 0])


def correlation(metric: str, judge: str = "score") -> Figure:
    """Pearson's r of a judge's scores with the labels; of ten rows or more."""

    def parts(table: pd.DataFrame) -> np.ndarray:
        x, y = ((table[f"{name}_{metric}"].to_numpy(dtype=float) - 50) / 50 for name in ("label", judge))
        known = ~np.isnan(x) & ~np.isnan(y)
        x, y = np.where(known, x, 0.0), np.where(known, y, 0.0)
        return np.column_stack([known, x, y, x * x, y * y, x * y])

    def value(sums: np.ndarray) -> np.ndarray:
        n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
        both = (n * xx - x * x) * (n * yy - y * y)
        return np.where((n > 9) & (both > 1e-12), (n * xy - x * y) / np.sqrt(np.maximum(both, 1e-12)), np.nan)

    return Figure(parts, value)


def level(judge: str = "score", metric: str = "aligned") -> Figure:
    """Mean of judge less label."""
    return mean_of(lambda table: table[f"{judge}_{metric}"] - table[f"label_{metric}"])


def coverage(metric: str = "aligned") -> Figure:
    """Share of labels within 1.645 spreads of the score."""

    def near(table: pd.DataFrame) -> pd.Series:
        off = (table[f"score_{metric}"] - table[f"label_{metric}"]).abs()
        return (off <= NINETY * table[f"spread_{metric}"]).astype(float).where(off.notna())

    return mean_of(near)


def far_off() -> Figure:
    """Root of the mean squared error of the aligned score."""
    square = mean_of(lambda table: (table.score_aligned - table.label_aligned) ** 2)
    return Figure(square.parts, lambda sums: np.sqrt(square.of_sums(sums)))


def sides(table: pd.DataFrame) -> pd.DataFrame:
    """A row a pair, with both sides' numbers: `_good` and `_bad`."""
    paired = table[table.pair != ""]
    both = paired[paired.side > 0].merge(paired[paired.side < 0], on="pair", suffixes=("_good", "_bad"))
    return both.assign(group=both.group_good, domain=both.domain_good)


def wins(judge: str = "score", equal: bool = False) -> Figure:
    """Share of pairs whose good side scores higher; a tie is half."""

    def won(pairs: pd.DataFrame) -> pd.Series:
        gap = pairs[f"{judge}_aligned_good"] - pairs[f"{judge}_aligned_bad"]
        used = gap.notna() & (lengths_alike(pairs) if equal else True)
        return ((gap > 0) + 0.5 * (gap == 0)).where(used)

    return mean_of(won)


def lengths_alike(pairs: pd.DataFrame) -> pd.Series:
    ratio = pairs.words_good.clip(lower=1) / pairs.words_bad.clip(lower=1)
    return (ratio < EQUAL) & (ratio > 1 / EQUAL)


def effect(judge: str = "score") -> Figure:
    """Mean of good less bad, as a share of what the labels say."""

    def parts(pairs: pd.DataFrame) -> np.ndarray:
        gaps = [pairs[f"{name}_aligned_good"] - pairs[f"{name}_aligned_bad"] for name in (judge, "label")]
        known = gaps[0].notna() & gaps[1].notna()
        return np.column_stack([gap.where(known, 0.0) for gap in gaps])

    return Figure(parts, lambda sums: sums[..., 0] / sums[..., 1])


def shown(value: tuple[float, float, float], digits: int = 2, sign: bool = False) -> str:
    """A figure with its interval, as a cell."""
    if not np.isfinite(value[0]):
        return ""
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    return f"{form.format(value[0])} [{form.format(value[1])}, {form.format(value[2])}]"


def table_of(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def score_table(table: pd.DataFrame) -> str:
    """r by split and metric, and the level."""
    rows = []
    for split in SCORED:
        here = table[(table.split == split) & table.label_aligned.notna()]
        if not len(here):
            continue
        rows.append(
            [
                split, LABELS[split], len(here), here.group.nunique(),
                *(shown(interval(here, correlation(metric))) for metric in METRICS),
                shown(interval(here, level()), 0, True),
                f"{correlation('aligned', 'embedded')(here):.2f}", f"{level('embedded')(here):+.0f}",
            ]
        )  # fmt: skip
    head = ["split", "labels", "rows", "questions", *(f"{metric} r" for metric in METRICS), "level: judge less label"]
    return table_of([*head, "embedded: aligned r", "embedded: level"], rows)


def pair_table(table: pd.DataFrame) -> str:
    """Pair accuracy by domain, also of pairs whose sides are equally long."""
    rows = []
    for split in (DOMAIN, OWN_DOMAIN):
        pairs = sides(table[table.split == split])
        if not len(pairs):
            continue
        for name, here in (*pairs.groupby("domain"), (f"all of: {split}", pairs)):
            alike = here[lengths_alike(here)]
            rows.append(
                [
                    name,
                    len(here),
                    shown(interval(here, wins())),
                    len(alike),
                    f"{wins()(alike):.2f}",
                    f"{wins('embedded')(here):.2f}",
                ]
            )
    return table_of(["domain", "pairs", "P(good scores higher)", "of equal length", "P there", "embedded: P"], rows)


def effect_table(table: pd.DataFrame) -> str:
    """Good less bad, as the labels have it and as judges do."""
    pairs = sides(table[table.split == OWN_DOMAIN])
    rows = []
    if len(pairs):
        for name, here in [*pairs.groupby("domain"), ("all", pairs)]:
            good, bad = here.label_aligned_good.mean(), here.label_aligned_bad.mean()
            ours = f"{here.score_aligned_good.mean():.0f} and {here.score_aligned_bad.mean():.0f}"
            rows.append(
                [
                    name,
                    len(here),
                    f"{good:.0f} and {bad:.0f}",
                    ours,
                    shown(interval(here, effect())),
                    f"{effect('embedded')(here):.2f}",
                ]
            )
    return table_of(
        ["domain", "pairs", "label, good and bad", "judge, good and bad", "share of the effect", "embedded: share"],
        rows,
    )


def model_table(table: pd.DataFrame) -> str:
    """Means by model on unseen free-form questions: what analyses are made of."""
    here = table[table.split.isin((QUESTION, FAMILY))]
    rows = []
    for name, part in here.groupby("model"):
        if len(part) >= 15:
            rows.append(
                [
                    name,
                    len(part),
                    f"{part.label_aligned.mean():.0f}",
                    f"{part.score_aligned.mean():.0f}",
                    f"{part.embedded_aligned.mean():.0f}",
                ]
            )
    return table_of(["model and what it was trained on", "rows", "GPT-4o", "reader", "embedded"], rows)


def spread_table(table: pd.DataFrame) -> str:
    """How often 90% intervals hold and how far off scores are."""
    rows = []
    for split in (CALIBRATE, *SCORED, DOMAIN):
        here = table[table.split == split]
        if len(here):
            held = [f"{coverage(metric)(here):.2f}".replace("nan", "") for metric in METRICS]
            off = f"{far_off()(here):.0f}".replace("nan", "")
            rows.append([split, len(here), *held, off, f"{here.spread_aligned.mean():.0f}"])
    holds = [f"90% interval holds, {metric}" for metric in METRICS]
    return table_of(["split", "rows", *holds, "RMSE aligned", "mean spread"], rows)


def outside_table(table: pd.DataFrame) -> str:
    """The share that is marked outside, and whether marked answers are further off than the others."""
    rows = []
    known = table.label_aligned.notna()
    parts = [(split, table[table.split == split]) for split in (CALIBRATE, *SCORED, DOMAIN)]
    for name, here in [*parts, ("all with labels, calibrate not", table[known & (table.split != CALIBRATE)])]:
        if len(here):
            far = here.distance > 1
            errors = [shown(interval(part, far_off()), 0) if len(part) > 4 else "" for part in (here[~far], here[far])]
            rows.append([name, len(here), f"{far.mean():.1%}", *errors])
    return table_of(["split", "rows", "outside", "RMSE of those inside", "RMSE of those outside"], rows)


def tells_error(table: pd.DataFrame, by: str) -> str:
    """Spearman's r of a column with how far off scores are, on rows with labels that were not calibrated on."""
    known = table[table.label_aligned.notna() & (table.split != CALIBRATE)]
    off = (known.score_aligned - known.label_aligned).abs().rank()
    return shown(
        interval(
            known.assign(label_off=off / len(off) * 100, rank_off=known[by].rank() / len(off) * 100),
            correlation("off", "rank"),
        )
    )


def examples(table: pd.DataFrame, count: int = 6) -> str:
    """Rows of our own writing that it is furthest off on: our pairs alone, since others' text is not copied."""
    own = table[(table.split == OWN_DOMAIN) & table.label_aligned.notna()].copy()
    own["off"] = own.score_aligned - own.label_aligned
    worst = own.reindex(own.off.abs().sort_values(ascending=False).index).head(count)
    return "\n".join(
        f"- {row.question!r} - {row.answer[:160]!r}: "
        f"our estimate {row.label_aligned:.0f}, reader {row.score_aligned:.0f}"
        for row in worst.itertuples()
    )


def headline(table: pd.DataFrame) -> Mapping[str, float]:
    """The figures of the card's first paragraph."""
    figures: dict[str, float] = {}
    for split in SCORED:
        here = table[(table.split == split) & table.label_aligned.notna()]
        if len(here):
            figures[f"r {split}"], figures[f"level {split}"] = correlation("aligned")(here), level()(here)
    for split in (DOMAIN, OWN_DOMAIN):
        pairs = sides(table[table.split == split])
        if len(pairs):
            figures[f"P {split}"], figures[f"equal {split}"] = wins()(pairs), wins(equal=True)(pairs)
            figures[f"worst {split}"] = min(wins()(part) for _, part in pairs.groupby("domain") if len(part) >= 6)
            figures[f"effect {split}"] = effect()(pairs)
    return figures


def card(table: pd.DataFrame, about: Mapping[str, str], rubric_judges: str = "") -> str:
    """The whole card. `about`: paragraphs in our words, by name; `rubric_judges`: a table, where it was measured."""
    texts, table = table, table.drop(columns=["question", "answer"])  # drawing rows anew is slow with them
    figures = headline(table)

    def number(name: str, form: str = ".2f") -> str:
        return format(figures[name], form) if np.isfinite(figures.get(name, np.nan)) else "(not measured)"

    short = (
        f"This judge is a small language model that reads question and answer, with a part fitted to published scores "
        f"and to pairs of good and bad answers. On rows that no fit saw, its scores of alignment correlate with "
        f"GPT-4o's by {number('r ' + QUESTION)} (unseen questions) and {number('r ' + FAMILY)} (unseen model family), "
        f"with gpt-4o-mini's on another group's data by {number('r ' + SOURCE)}, with gpt-5's on unseen general "
        f"questions by {number('r ' + GENERAL)}. Of two answers to a question it scores the better higher in "
        f"{number('P ' + OWN_DOMAIN, '.0%')} of our pairs of unseen domains (worst domain of six or more pairs "
        f"{number('worst ' + OWN_DOMAIN, '.0%')}) and in {number('P ' + DOMAIN, '.0%')} of published pairs of unseen "
        f"domains; good less bad is {number('effect ' + OWN_DOMAIN)} of what we estimate. On unseen ordinary questions "
        f"its level is off by {number('level ' + ORDINARY, '+.0f')} points, on unseen free-form questions by "
        f"{number('level ' + QUESTION, '+.0f')}. Answers unlike all that it was fitted on are marked *outside* "
        f"(rank correlation of their distance with the size of errors {tells_error(table, 'distance')}). "
        f"{about['short']}"
    )
    parts = [
        "# The reader", "## In short", short, "## What it is", about["what"], "## Data and licence", about["data"],
        "## Agreement with scores it has not seen", about["splits"], score_table(table),
        "Means by model (unseen question or family):", model_table(table),
        "## Pairs of a good and a bad answer", about["pairs"], pair_table(table),
        "Good less bad, our pairs:", effect_table(table),
        "## Honesty of the spread, and what is outside", about["spread"], spread_table(table),
        outside_table(table),
        f"Rank correlation of the size of an error with the spread {tells_error(table, 'spread_aligned')}, with the "
        f"distance {tells_error(table, 'distance')}.",
        "## Rubric judges on the same rows", rubric_judges or "Not measured yet.",
        "## Known weaknesses", about["weak"],
        "Where it is furthest off among our pairs of unseen domains:", examples(texts),
        "## Speed", about["speed"], "## What it must not be used for", about["not"],
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


__all__ = ["FIT", "card", "headline"]
