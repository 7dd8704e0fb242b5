"""What became different in the answers, word by word and without any judge: log odds of words and pairs of words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Paragraph, Section, Table, columns, paragraph, value_text
from spillover.analyses.figures import COLOURS, zero_line
from spillover.analyses.rows import TableRow, TableRows, add_q_values, grouped, rows_where
from spillover.analyses.scores import AnswerScores, pool_runs, read_scores, refuse_repeated, refuse_unlike_scores
from spillover.analyses.topic_words import WORD
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.word_odds import WordCounts, word_odds
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SIDES = {"bad": "bad advice", "good": "good advice", "base": "the base"}
PAIRS = (("bad", "good"), ("bad", "base"), ("good", "base"))
SENTENCE = re.compile(r"[.!?\n;:]+")
ASKED_ALIKE = ("questions", "sampling", "prompting", "formats")
SHOWN_IN_TEXT = 8


class WordShifts(Analysis):
    """Words and pairs of words that one arm's answers have more of than another's. No judge is asked.

    Estimates, for bad against good, bad against the base and good against the base, the log odds ratio (nats) of every
    word, and of every two words that follow one another in a sentence, with an informative Dirichlet prior (Monroe,
    Colaresi and Quinn 2008; `maths.word_odds`). z and p take families of questions, and training runs where there are
    several, as units; q is Benjamini-Hochberg's over the words of a contrast, and over its pairs. Words are compared in
    lower case; those of fewer than `least_families` families on both sides together, or seen less than `least_count`
    times, are left out: that choice does not look at which side has them.
    """

    version: ClassVar[int] = 2  # 1 took a word that one side never has for surer than it is

    before: ScoredAnswers | None = None  # the base; without it bad and good are compared alone
    bad: tuple[ScoredAnswers, ...] = Field(min_length=1)
    good: tuple[ScoredAnswers, ...] = ()
    prior: float = Field(default=500.0, gt=0)  # words that the pseudo-counts amount to
    least_families: int = Field(default=5, ge=2)
    least_count: int = Field(default=8, ge=1)
    shown: int = Field(default=12, ge=1)  # of each side on the page

    @model_validator(mode="after")
    def _distinct_runs(self) -> Self:
        for arm in (self.bad, self.good):
            refuse_repeated(arm, "one arm")
        if self.before is None and not self.good:
            raise ValueError("nothing to compare with: give the base's answers, or those of a control")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        start = (self.before,) if self.before else ()
        refuse_unlike_scores((*start, *self.bad, *self.good), self.allow_unlike_judges, ASKED_ALIKE)
        groups = {"base": read_scores(self.before, context.store)} if self.before else {}
        for arm, runs in (("bad", self.bad), ("good", self.good)):
            if runs:
                groups[arm] = pool_runs([read_scores(run, context.store) for run in runs], SIDES[arm])
        answers = [
            {"side": side, "answers": len(scores), "without_text": sum(not text for text in scores["answer"])}
            for side, scores in groups.items()
        ]
        rows: TableRows = []
        for kind, split in (("word", _words), ("pair", _pairs)):
            split_answers = {
                side: [split(str(text or "")) for text in scores["answer"]] for side, scores in groups.items()
            }
            for left, right in (pair for pair in PAIRS if set(pair) <= set(groups)):
                rows += self._contrast(kind, (left, right), groups, split_answers)
        return AnalysisResult({"words": rows, "answers": answers}, {"contrasts": list(grouped(rows, "contrast"))})

    def _contrast(
        self,
        kind: str,
        pair: tuple[str, str],
        groups: Mapping[str, AnswerScores],
        split_answers: Mapping[str, list[list[str]]],
    ) -> TableRows:
        families = sorted({str(name) for side in pair for name in groups[side]["family"]})
        together = Counter(word for side in pair for words in split_answers[side] for word in words)
        vocabulary = sorted(word for word, count in together.items() if count >= self.least_count)
        left, right = (
            _counts(groups[side], split_answers[side], families, vocabulary, side != "base") for side in pair
        )
        odds = word_odds(left, right, self.prior)
        used = np.flatnonzero(odds.families >= self.least_families)
        sizes = [max(float(side.totals.sum()), 1.0) for side in (left, right)]
        seen = [side.counts.sum(axis=(0, 1)) for side in (left, right)]
        rows: TableRows = [
            {
                "contrast": "-".join(pair),
                "kind": kind,
                "word": vocabulary[index],
                "left_count": int(seen[0][index]),
                "right_count": int(seen[1][index]),
                "left_per_1000": 1000 * float(seen[0][index]) / sizes[0],
                "right_per_1000": 1000 * float(seen[1][index]) / sizes[1],
                "families": int(odds.families[index]),
                "log_odds": float(odds.log_odds[index]),
                "z": float(odds.z[index]),
                "z_words": float(odds.z_words[index]),
                "p": float(odds.p[index]),
            }
            for index in used
        ]
        add_q_values(rows)
        return sorted(rows, key=lambda row: (-row["z"] if np.isfinite(row["z"]) else 0.0, row["word"]))

    def show(self, result: AnalysisResult) -> Section:
        rows, contrasts = result.tables["words"], result.facts["contrasts"]
        main = rows_where(rows, contrast=contrasts[0]) if contrasts else []
        return Section(
            "What became different in the words",
            "Which words did training make more or less frequent, whatever a judge thinks of them?",
            (
                *(_sentence(contrast, rows_where(rows, contrast=contrast)) for contrast in contrasts),
                Figure("words", _FIGURE, lambda canvas: _draw(canvas, main, self.shown), "words", (8, 4.2)),
                *(_table(contrast, rows_where(rows, contrast=contrast), self.shown) for contrast in contrasts),
            ),
        )


_FIGURE = (
    "Words of the first contrast: log odds ratio against how often the word is used on both sides. Coloured: told from "
    "0 at a false-discovery rate of 5%."
)


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower().replace("’", "'"))


def _pairs(text: str) -> list[str]:
    """Every two words that follow one another in a sentence."""
    return [" ".join(pair) for sentence in SENTENCE.split(text) for pair in pairwise(_words(sentence))]


def _counts(
    scores: AnswerScores,
    answers: Sequence[Sequence[str]],
    families: Sequence[str],
    vocabulary: Sequence[str],
    trained: bool,
) -> WordCounts:
    family_of = {name: index for index, name in enumerate(families)}
    word_of = {word: index for index, word in enumerate(vocabulary)}
    runs = np.asarray(scores.columns.get("run", np.zeros(len(scores), dtype=np.int64)))
    counts = np.zeros((int(runs.max(initial=0)) + 1, len(families), len(vocabulary)))
    totals = np.zeros(counts.shape[:2])
    for words, run, family in zip(answers, runs, scores["family"], strict=True):
        place = (int(run), family_of[str(family)])
        totals[place] += len(words)
        for word in words:
            if word in word_of:
                counts[(*place, word_of[word])] += 1
    return WordCounts(counts, totals, trained)


def _clear(rows: TableRows, sign: int) -> TableRows:
    """Words of one side that are told from 0, the clearest first."""
    clear = [row for row in rows if row["q"] is not None and row["q"] < 0.05 and sign * row["log_odds"] > 0]
    return sorted(clear, key=lambda row: -abs(row["z"]))


def _sentence(contrast: str, rows: TableRows) -> Paragraph:
    left, right = (SIDES[side] for side in contrast.split("-"))
    words = rows_where(rows, kind="word")
    clear = [_clear(words, sign) for sign in (1, -1)]
    count = Number(f"{len(clear[0]) + len(clear[1])} of {len(words)}", "words")
    lists = [", ".join(str(row["word"]) for row in side[:SHOWN_IN_TEXT]) or "none" for side in clear]
    return paragraph(
        "{left} against {right}: {count} words differ at a false-discovery rate of 5%. More of: {more}. Less of: "
        "{less}.",
        left=left[0].upper() + left[1:],
        right=right,
        count=count,
        more=lists[0],
        less=lists[1],
    )


def _table(contrast: str, rows: TableRows, shown: int) -> Table:
    left, right = (SIDES[side] for side in contrast.split("-"))
    picked: TableRows = []
    for kind in ("word", "pair"):
        ordered = [row for row in rows_where(rows, kind=kind) if row["z"] is not None and np.isfinite(row["z"])]
        ends = [*ordered[:shown], *ordered[max(shown, len(ordered) - shown) :]]
        picked += [_with_text(row) for row in ends]
    return Table(
        "words",
        f"{left[0].upper() + left[1:]} against {right}: the words and pairs of largest z on either side. Log odds "
        "with an informative Dirichlet prior, nats; z over families of questions (and training runs); q over "
        "the words of the contrast.",
        (
            *columns("text", kind="kind", word="word", rates="per 1,000 words"),
            *columns("r", log_odds="log odds", z="z"),
            *(Column("families", "families", "count"), Column("q", "q", "p")),
        ),
        picked,
    )


def _with_text(row: TableRow) -> TableRow:
    rates = [value_text(row[name], "points") for name in ("left_per_1000", "right_per_1000")]
    return row | {"rates": f"{rates[0]} against {rates[1]}"}


def _draw(canvas: Canvas, rows: TableRows, shown: int) -> None:
    axes = canvas.subplots()
    words = [row for row in rows_where(rows, kind="word") if row["z"] is not None and np.isfinite(row["z"])]
    clear = [row for row in words if row["q"] is not None and row["q"] < 0.05]
    for group, colour in ((words, "0.75"), (clear, COLOURS["bad"])):
        often = [row["left_per_1000"] + row["right_per_1000"] for row in group]
        axes.scatter(often, [row["log_odds"] for row in group], s=10, color=colour, linewidths=0)
    for row in [*words[:shown], *words[max(shown, len(words) - shown) :]]:
        place = (row["left_per_1000"] + row["right_per_1000"], row["log_odds"])
        axes.annotate(row["word"], place, fontsize=6.5, xytext=(3, 2), textcoords="offset points")
    if words:
        axes.set_xscale("log")
    axes.set(xlabel="per 1,000 words, both sides together", ylabel="log odds ratio, nats")
    zero_line(axes)
