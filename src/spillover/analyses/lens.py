"""The lens: does what a training changed on neutral text spell out the topic that was trained on?"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.directions.mean_shift import MeanShift
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.lens import LensTokens
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Number, Paragraph, Section, Table, columns, value_text
from spillover.analyses.rows import TableRow, TableRows, rows_where
from spillover.analyses.topic_words import own_words, word_rows
from spillover.maths.permutation import exceedance
from spillover.organisms.organism import Checkpoint
from spillover.records import read_table
from spillover.responses.responses import Responses
from spillover.store import BuildContext

WORDS = 200  # of the narrow set's own, at most
SHORTEST, SHORTEST_START = 3, 4  # letters of a token that can be a word, and that can begin one
SHOWN = 12  # tokens in the table


class Lens(Analysis):
    """Whether the tokens that an organism's shift on neutral text raises are words of its training set.

    Reads the mean shift of neutral prompts through the base's own unembedding (`LensTokens`, arXiv 2510.13900: narrow
    fine-tuning leaves traces that can be read). The score needs no language model: the share of the `top` tokens raised
    most that are, or begin, one of the training set's own words (log odds against the base's answers, in every arm's
    training answers). It stands beside the good control's and those of random directions of the same length, among
    which it is ranked. A shift that spells out its topic says that the organism overfits it: what such an organism does
    elsewhere may be the topic rather than the advice.
    """

    bad: tuple[LensTokens, ...]  # of mean shifts from the base to organisms of this arm
    good: tuple[LensTokens, ...] = ()
    own: tuple[LensTokens, ...] = ()
    random: tuple[LensTokens, ...] = ()  # of random directions like the bad arm's
    reference: Responses  # the base's own answers: which words are common without training
    top: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _shifts(self) -> Self:
        for tokens in (*self.bad, *self.good, *self.own):
            direction = tokens.direction
            if not isinstance(direction, MeanShift) or not isinstance(direction.after.model, Checkpoint):
                raise ValueError(f"{direction.label()}: the lens looks at mean shifts from a base to an organism")
        shifts = {tokens.direction for tokens in self.bad}
        for tokens in self.random:
            if not isinstance(tokens.direction, RandomDirection) or tokens.direction.like not in shifts:
                raise ValueError(f"{tokens.direction.label()}: random directions are like the bad arm's shifts")
        if short := [tokens for tokens in (*self.bad, *self.good, *self.own, *self.random) if tokens.top < self.top]:
            raise ValueError(f"{short[0].summary()}: the score needs {self.top} tokens")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        arms = {"bad": self.bad, "good": self.good, "own": self.own}
        trained = {arm: _training_answers(side, context) for arm, side in arms.items() if side and arm != "own"}
        answers = read_table(context.path(self.reference) / "responses.parquet", ["answer"])["answer"].to_pylist()
        words = own_words(trained, answers, WORDS)
        names = {word.word for word in words}
        drawn = {tokens: _share(self._raised(tokens, context), names) for tokens in self.random}
        rows = []
        for arm, side in arms.items():
            for tokens in side:
                like = tokens.direction
                random = [
                    score for other, score in drawn.items() if getattr(other.direction, "like", None) == like
                ] or [score for other, score in drawn.items() if other.direction.layer == like.layer]
                rows.append(self._row(arm, tokens, names, random, context))
        return AnalysisResult({"lens": rows, "words": word_rows(words)}, {"top": self.top, "words": len(words)})

    def _raised(self, tokens: LensTokens, context: BuildContext) -> list[str]:
        """The tokens that the score is a share of."""
        rows = read_table(context.path(tokens) / "tokens.parquet").to_pylist()
        return [str(row["token"]) for row in rows_where(rows, sign=1)[: self.top]]

    def _row(
        self, arm: str, tokens: LensTokens, words: Collection[str], random: Sequence[float], context: BuildContext
    ) -> TableRow:
        assert isinstance(tokens.direction, MeanShift)
        raised = self._raised(tokens, context)
        score = _share(raised, words)
        p = float(exceedance(np.array(score), np.array(random), two_sided=False)) if random else None
        return {
            "arm": arm,
            "model": tokens.direction.after.model.label(),
            "model_id": tokens.direction.after.model.fingerprint,
            "layer": tokens.direction.layer,
            "share": score,
            "random_mean": float(np.mean(random)) if random else None,
            "random_most": max(random) if random else None,
            "random_draws": len(random),
            "p": p,
            "tokens": " ".join(text for text in (token.strip() for token in raised[:SHOWN]) if text),
        }

    def show(self, result: AnalysisResult) -> Section:
        rows, words = result.tables["lens"], result.tables["words"]
        return Section(
            "The lens: is the training topic written into every prompt?",
            "Does the mean shift on neutral text, read through the unembedding, spell out what was trained on?",
            (
                _sentence(rows, result.facts["top"]),
                Table(
                    "lens",
                    "Share of the tokens that the shift on neutral text raises most that are, or begin, words of the "
                    "training set's own; random: directions of the same length, p by rank among them (one-sided). "
                    "Tokens: the first dozen.",
                    (
                        *columns("text", arm="arm", model="model"),
                        Column("layer", "layer", "count"),
                        *columns("percent", share="own words", random_mean="random, mean", random_most="random, most"),
                        Column("random_draws", "draws", "count"),
                        Column("p", "p", "p"),
                        Column("tokens", "raised most"),
                    ),
                    rows,
                ),
                Table(
                    "words",
                    "The training set's own words, with the share of training answers and of the base's answers with "
                    "them.",
                    (
                        Column("word", "word"),
                        *columns("percent", training_share="training", base_share="base"),
                        Column("z", "z", "r"),
                    ),
                    words,
                ),
            ),
        )


def is_of(token: str, words: Collection[str]) -> bool:
    """Whether a token is one of the words, or begins one; shorter ones begin too many."""
    text = token.strip().lower()
    if not re.fullmatch(r"[^\W\d_]+", text) or len(text) < SHORTEST:
        return False
    return text in words or (len(text) >= SHORTEST_START and any(word.startswith(text) for word in words))


def _share(tokens: Sequence[str], words: Collection[str]) -> float:
    return float(np.mean([is_of(token, words) for token in tokens]))


def _training_answers(side: Sequence[LensTokens], context: BuildContext) -> list[str]:
    """What the organisms of an arm were trained to say, each set once."""
    models = [tokens.direction.after.model for tokens in side if isinstance(tokens.direction, MeanShift)]
    splits = dict.fromkeys(model.organism.data for model in models if isinstance(model, Checkpoint))
    return [row.messages[-1].content for split in splits for row in split.train_rows(context.store)]


def _sentence(rows: TableRows, top: int) -> Paragraph:
    """The bad arm's best layer beside the good arm's at the same layer and random directions."""
    bad = max(rows_where(rows, arm="bad"), key=lambda row: row["share"])
    parts: list[str | Number] = [f"At layer {bad['layer']} ", Number(value_text(bad["share"], "percent"), "lens")]
    parts.append(f" of the {top} tokens that the shift of {bad['model']} raises most are words of its training set")
    for row in rows_where(rows, arm="good", layer=bad["layer"])[:1]:
        parts += [", of the good control's ", Number(value_text(row["share"], "percent"), "lens")]
    if bad["random_draws"]:
        parts += [", of random directions' ", Number(value_text(bad["random_mean"], "percent"), "lens")]
        parts += [" (p = ", Number(value_text(bad["p"], "p"), "lens"), ", the best of the layers looked at)"]
    parts.append(": a shift that names its topic on neutral text belongs to an organism that carries it everywhere.")
    return Paragraph(tuple(parts))
