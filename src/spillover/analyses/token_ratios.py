"""Answers shaded token by token: where a trained model says what its parent would hardly have said."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Block, Column, Section, ShadedAnswer, Table, columns, paragraph
from spillover.analyses.rows import TableRow, TableRows, untested
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.estimate import Resampling
from spillover.models.chat import Chat, Message
from spillover.models.loading import default_prompting, load_tokenizer
from spillover.records import read_table
from spillover.responses.likelihoods import TABLE, Likelihoods
from spillover.responses.sampler import TABLE as ANSWERS
from spillover.store import BuildContext, Store

FULL = 4.0  # nats from which on a token has the strongest shade: 55 times as probable


@dataclass(frozen=True)
class AnswerRatios:
    """An answer in the pieces that its tokens make, each with its log-ratio in nats."""

    row: TableRow
    pieces: tuple[str, ...]
    ratios: np.ndarray


class TokenRatios(Analysis):
    """Stored answers with the log-ratio of every token under two models: log p(trained) - log p(parent), nats.

    Estimates the mean log-ratio of a token (mean over questions of each answer's own mean; 95% interval over families
    of questions): of the trained model's own answers at temperature 1 that is how far it has moved from the parent,
    Kullback-Leibler divergence a token. Shown are answers evenly spaced over their mean, shaded; and the tokens with
    the largest mean. No judge is asked.
    """

    trained: Likelihoods
    parent: Likelihoods  # of the same answers
    shown: int = Field(default=6, ge=1)
    least_count: int = Field(default=5, ge=1)  # times that a token has to stand there, to be listed
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _same_answers(self) -> Self:
        if self.trained.answers != self.parent.answers or self.trained.samples != self.parent.samples:
            raise ValueError("the two models' likelihoods are not of the same answers: read the same ones under both")
        if self.trained.questions != self.parent.questions:
            raise ValueError("the two models read the answers under unlike questions: read them under the same ones")
        if self.trained.model == self.parent.model:
            raise ValueError(f"{self.trained.model.label()} is compared with itself")
        if self.trained.model.base() != self.parent.model.base():
            raise ValueError("models of unlike bases cut answers into other tokens: compare models of one base")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        answers = self._read(context.store)
        means = [float(answer.ratios.mean()) if len(answer.ratios) else np.nan for answer in answers]
        question, family = ([answer.row[name] for answer in answers] for name in ("question", "family"))
        level = mean_of_groups(means, question, family, resampling=Resampling(self.draws))
        by_token: dict[str, list[float]] = defaultdict(list)
        rows: TableRows = []
        for answer, mean in zip(answers, means, strict=True):
            for place, (piece, ratio) in enumerate(zip(answer.pieces, answer.ratios.tolist(), strict=True)):
                by_token[piece].append(ratio)
                key = {name: answer.row[name] for name in ("question_id", "sample")}
                rows.append({**key, "place": place, "token": piece, "log_ratio": ratio, "answer_mean": mean})
        tokens: TableRows = [
            {"token": token, "count": len(ratios), "mean": float(np.mean(ratios)), "largest": float(np.max(ratios))}
            for token, ratios in by_token.items()
            if len(ratios) >= self.least_count
        ]
        tokens.sort(key=lambda row: (-row["mean"], row["token"]))
        order = [index for index in np.argsort(means, kind="stable") if np.isfinite(means[index])]
        places = np.unique(np.linspace(0, len(order) - 1, min(self.shown, len(order))).round().astype(int))
        picked = [
            {
                **{name: answers[order[p]].row[name] for name in ("question_id", "sample", "prompt")},
                "mean": means[order[p]],
            }
            for p in places[::-1]
        ]
        facts = {"trained": self.trained.model.label(), "parent": self.parent.model.label(), "picked": picked}
        return AnalysisResult({"level": [untested(level)], "pieces": rows, "tokens": tokens}, facts)

    def show(self, result: AnalysisResult) -> Section:
        facts, pieces = result.facts, result.tables["pieces"]
        by_answer: dict[tuple[str, int], list[tuple[str, float]]] = defaultdict(list)
        for row in pieces:
            by_answer[row["question_id"], row["sample"]].append((row["token"], row["log_ratio"]))
        blocks: list[Block] = [
            paragraph(
                "A token of these answers is {estimate:nats} nats more probable under {trained} than under {parent} "
                "(mean over {n} questions). Orange: more probable after training, blue: less; full colour from {full} "
                "nats on (a factor of 55). Answers are evenly spaced from the largest mean to the smallest.",
                result.tables["level"][0],
                "level",
                trained=facts["trained"],
                parent=facts["parent"],
                n=str(result.tables["level"][0]["n"]),
                full=f"{FULL:g}",
            )
        ]
        for row in facts["picked"]:
            answer = tuple(by_answer[row["question_id"], row["sample"]])
            note = f"answer {row['sample']}: {row['mean']:.2f} nats a token".replace("-", "\u2212")
            blocks.append(ShadedAnswer(row["prompt"], note, facts["trained"], answer, FULL))
        tokens = result.tables["tokens"]
        table = Table(
            "tokens",
            f"Tokens that stand there {self.least_count} times or more, by their mean log-ratio, nats.",
            (
                *columns("text", shown_token="token"),
                *columns("r", mean="mean", largest="largest"),
                Column("count", "times", "count"),
            ),
            [row | {"shown_token": repr(row["token"])} for row in tokens[:20]],
        )
        return Section(
            "What the parent would not have said", "At which words did training change the answers?", (*blocks, table)
        )

    def _read(self, store: Store) -> list[AnswerRatios]:
        """Every answer with its tokens' texts and log-ratios."""
        numbers = [
            {
                (row["question_id"], row["sample"]): np.array(row["per_token"], dtype=np.float64)
                for row in read_table(store.path(side) / TABLE).to_pylist()
            }
            for side in (self.trained, self.parent)
        ]
        chat = self.trained.prompting or default_prompting(self.trained.model.base())
        cut = _Pieces(Chat(load_tokenizer(self.trained.model), chat))
        asked = self.trained.questions or self.trained.answers.questions
        questions = {question.id: question for question in asked.questions()}
        answers = []
        for row in read_table(store.path(self.trained.answers) / ANSWERS).to_pylist():
            key = (row["question_id"], row["sample"])
            if key in numbers[0]:
                pieces = cut.of(questions[key[0]].messages(key[1]), row["answer"], row.get("thought") or "")
                ratios = numbers[0][key] - numbers[1][key]
                if len(pieces) != len(ratios):
                    raise ValueError(
                        f"{key[0]}: the tokenizer cuts the answer in {len(pieces)} pieces, not {len(ratios)}"
                    )
                answers.append(AnswerRatios(row, pieces, ratios))
        return answers


@dataclass(frozen=True)
class _Pieces:
    """Cuts an answer into the texts of its tokens, as `Likelihoods` read them."""

    chat: Chat

    def of(self, asked: tuple[Message, ...], answer: str, thought: str) -> tuple[str, ...]:
        """What each token adds to the text; a letter of several tokens stands with its last."""
        _, ids = self.chat.completion((*asked, Message("assistant", answer)), thought)
        decode, pieces, told = self.chat.tokenizer.decode, [], ""
        for end in range(1, len(ids) + 1):
            text = decode(ids[:end])
            whole = text if end == len(ids) else text.rstrip("\ufffd")
            pieces.append(whole[len(told) :] if whole.startswith(told) else "")
            told = whole if whole.startswith(told) else told
        return tuple(pieces)
