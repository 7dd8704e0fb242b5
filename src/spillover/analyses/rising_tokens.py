"""Tokens that training pushes up on neutral text, bad advice against good: what it taught, read off the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Number, Section, Table, columns, paragraph
from spillover.analyses.rows import TableRow, TableRows, add_q_values
from spillover.maths.word_odds import WordCounts, word_odds
from spillover.records import read_table
from spillover.responses.logit_shifts import POSITIONS, TOKENS, LogitShifts
from spillover.store import BuildContext, Store


class RisingTokens(Analysis):
    """How often each token is among those that rise most after training, on text that nobody trained on.

    Estimates, over all places of the texts, the share at which a token is among the first `top` of after-minus-before
    logits, for models trained on bad and on good advice; and the log odds of the one share against the other (nats,
    `maths.word_odds`), with texts and training runs as units and Benjamini-Hochberg's q over tokens. Without controls
    there are shares alone: any training lifts some tokens. The reading of logits is ours.
    """

    version: ClassVar[int] = 2  # 1 took a token that never rises on one side for surer than it is

    bad: tuple[LogitShifts, ...] = Field(min_length=1)
    good: tuple[LogitShifts, ...] = ()
    least_texts: int = Field(default=5, ge=2)  # texts on which a token has to rise somewhere, to be compared
    prior: float = Field(default=500.0, gt=0)  # places that the pseudo-counts of all tokens amount to
    shown: int = Field(default=15, ge=1)

    @model_validator(mode="after")
    def _alike(self) -> Self:
        asked = {(shift.texts, shift.top, shift.before) for shift in (*self.bad, *self.good)}
        if len(asked) > 1:
            raise ValueError("logit shifts on unlike texts, counts or parents cannot be compared: read all alike")
        if len({*self.bad, *self.good}) < len(self.bad) + len(self.good):
            raise ValueError("one model stands twice among the logit shifts: one run would be counted as two")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        arms = {arm: shifts for arm, shifts in (("bad", self.bad), ("good", self.good)) if shifts}
        names, counts = _counted(arms, len(self.bad[0].texts), self.bad[0].top, context.store)
        shares = {
            arm: side.counts.sum(axis=(0, 1)) * self.bad[0].top / side.totals.sum() for arm, side in counts.items()
        }
        texts = sum(side.counts.sum(axis=0) for side in counts.values()) > 0
        rows: TableRows = [
            {"token_id": token, "token": names[token], "texts": int(texts[:, index].sum())}
            | {f"{arm}_share": float(share[index]) for arm, share in shares.items()}
            for index, token in enumerate(names)
        ]
        if "good" in counts:
            odds = word_odds(counts["bad"], counts["good"], self.prior)
            for index, row in enumerate(rows):
                used = row["texts"] >= self.least_texts
                row |= {"log_odds": float(odds.log_odds[index])} | {
                    name: float(values[index]) if used else None for name, values in (("z", odds.z), ("p", odds.p))
                }
            add_q_values([row for row in rows if row["p"] is not None])
        rows = [{**row, "q": row.get("q")} for row in rows if row["texts"] >= self.least_texts]
        rows.sort(key=lambda row: (-(row.get("z") or 0.0), -row["bad_share"]))
        return AnalysisResult({"tokens": rows}, {"top": self.bad[0].top, "controlled": "good" in counts})

    def show(self, result: AnalysisResult) -> Section:
        rows, top = result.tables["tokens"], result.facts["top"]
        by_share = sorted(rows, key=lambda row: -row["bad_share"])[: self.shown]
        picked, blocks = by_share, []
        if result.facts["controlled"]:
            clear = [row for row in rows if row["q"] is not None and row["q"] < 0.05]
            more, less = ([row for row in clear if sign * row["log_odds"] > 0] for sign in (1, -1))
            blocks.append(
                paragraph(
                    "{count} tokens rise at other rates after bad than after good advice (false-discovery rate 5%). "
                    "After bad advice more: {more}. After good advice more: {less}.",
                    count=Number(f"{len(clear)} of {len(rows)}", "tokens"),
                    more=_listed(more, self.shown),
                    less=_listed(less[::-1], self.shown),
                )
            )
            picked = [*rows[: self.shown], *rows[max(self.shown, len(rows) - self.shown) :]]
        blocks.append(
            paragraph(
                "Most often among the {top} that rise most after bad advice: {tokens}.",
                top=str(top),
                tokens=_listed(by_share, self.shown),
            )
        )
        compared = result.facts["controlled"]
        return Section(
            "Tokens that rise on neutral text",
            "What does the model lean towards after training, on text about nothing of the kind?",
            (
                *blocks,
                Table(
                    "tokens",
                    f"Share of places at which a token is among the {top} that rise most (after less before, logits), "
                    "and its log odds, bad against good; z over texts and training runs, q over tokens.",
                    (
                        *(Column("shown_token", "token"), Column("bad_share", "after bad", "percent")),
                        *(columns("percent", good_share="after good") if compared else ()),
                        *(columns("r", log_odds="log odds", z="z") if compared else ()),
                        *((Column("q", "q", "p"),) if compared else ()),
                        Column("texts", "texts", "count"),
                    ),
                    [row | {"shown_token": repr(row["token"])} for row in picked],
                ),
            ),
        )


def _counted(
    arms: dict[str, tuple[LogitShifts, ...]], texts: int, top: int, store: Store
) -> tuple[dict[int, str], dict[str, WordCounts]]:
    """Every token's text by id, and its counts by arm: (runs, texts, tokens), totals the places times `top`."""
    read = {arm: [_rows(shift, store) for shift in shifts] for arm, shifts in arms.items()}
    names = {row["token_id"]: row["token"] for runs in read.values() for rows, _ in runs for row in rows}
    names = dict(sorted(names.items()))
    place = {token: index for index, token in enumerate(names)}
    counts = {}
    for arm, runs in read.items():
        tokens, totals = np.zeros((len(runs), texts, len(names))), np.zeros((len(runs), texts))
        for run, (rows, positions) in enumerate(runs):
            for row in rows:
                tokens[run, row["text"], place[row["token_id"]]] = row["count"]
            for row in positions:
                totals[run, row["text"]] = row["positions"] * top
        counts[arm] = WordCounts(tokens, totals)
    return names, counts


def _rows(shift: LogitShifts, store: Store) -> tuple[TableRows, TableRows]:
    folder = store.path(shift)
    return read_table(folder / TOKENS).to_pylist(), read_table(folder / POSITIONS).to_pylist()


def _listed(rows: Sequence[TableRow], most: int) -> str:
    return ", ".join(repr(row["token"]) for row in rows[:most]) or "none"
