"""The reader's trunk with its fitted part, loaded: it reads each question once, then the answers to it in batches.

Batches have fixed shapes and are filled up with rows that nobody hears of, so an answer's numbers do not depend on
what else is judged with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from spillover.judgements.judges.reader.network import Prefix, Trunk, adapted, pooled
from spillover.judgements.judges.reader.reading import ANSWER_TOKENS, QUESTION_TOKENS, Reading, Readings
from spillover.judgements.judges.reader.weights import FittedPart
from spillover.models.base import Base
from spillover.models.device import default_device
from spillover.models.forward.cached_network import TokenIds
from spillover.models.loading import load_base
from spillover.models.precision import DType

STEP = 8  # lengths are filled up to a multiple of this
TOKENS_AT_ONCE = 256  # a batch has as many rows as make about so many tokens
QUESTIONS_AT_ONCE = 192  # whose keys and values are held at a time
ROUNDED = 2  # decimals of a score: what differs by a row's place in a batch lies far below


@dataclass(frozen=True)
class ReadAnswer:
    """What the reader makes of one answer: a score and its spread for each metric, and how unlike fitted rows it is.

    distance: as a share of the distance beyond which few familiar answers lie; above 1 the answer is outside.
    """

    scores: tuple[float, ...]
    spreads: tuple[float, ...]
    distance: float

    @property
    def outside(self) -> bool:
        """Whether the answer is unlike all that the reader was fitted on."""
        return self.distance > 1

    def raw(self) -> str:
        """For the column `raw` of judgements."""
        return json.dumps({"outside": self.outside, "distance": self.distance})


class LoadedReader:
    """A trunk and the part that was fitted on it."""

    def __init__(self, base: Base, part: FittedPart, dtype: DType = "float32") -> None:
        network, tokenizer = load_base(base, dtype)
        network = network.requires_grad_(False).to(default_device())
        self.part, self.readings, self.device = part, Readings(tokenizer), network.device
        self.trunk = Trunk(network, part.blocks)
        part.check_trunk(self.trunk.width, len(network.base_model.layers))
        lower, upper = self.trunk.blocks[: part.frozen], self.trunk.blocks[part.frozen :]
        self.lower, self.upper = lower, adapted(upper, part.adapter, merge=dtype == "float32")
        around = len(self.readings.before) + len(self.readings.between)
        self.asked = filled_up(sum(QUESTION_TOKENS) + around)
        self._held: dict[TokenIds, list[torch.Tensor]] = {}  # of questions read: models are asked the same ones in turn

    def verdicts(
        self, texts: Sequence[tuple[str, str]], progress: Callable[[float], None] = lambda share: None
    ) -> list[ReadAnswer]:
        """What it makes of (question, answer) pairs, in order; each depends on its own pair alone."""
        readings = [self.readings.reading(question, answer) for question, answer in texts]
        by_question: dict[TokenIds, list[int]] = {}
        for index, reading in enumerate(readings):
            by_question.setdefault(reading.question, []).append(index)
        questions = list(by_question)
        verdicts: dict[int, ReadAnswer] = {}
        with torch.inference_mode():
            for start in range(0, len(questions), QUESTIONS_AT_ONCE):
                part = questions[start : start + QUESTIONS_AT_ONCE]
                held = self._read_questions(part)
                for rows in batches(
                    [(index, readings[index].answer) for asked in part for index in by_question[asked]]
                ):
                    verdicts |= self._read_answers(rows, readings, held)
                    progress(len(verdicts) / len(texts))
        return [verdicts[index] for index in range(len(texts))]

    def _read_questions(self, questions: Sequence[TokenIds]) -> dict[TokenIds, list[torch.Tensor]]:
        """Each question's keys and values, (2, heads, tokens, width) for each block; those read before are held."""
        if len({*self._held, *questions}) > QUESTIONS_AT_ONCE:
            self._held.clear()
        unread = [question for question in questions if question not in self._held]
        for rows in batches(list(enumerate(unread))):
            tokens, lengths = self._filled([unread[index] for index in rows])
            prefix = self.trunk.read_questions(tokens, lengths)
            for row, index in enumerate(dict.fromkeys(rows)):
                self._held[unread[index]] = [
                    torch.stack([key[row], value[row]]) for key, value in zip(prefix.keys, prefix.values, strict=True)
                ]
        return self._held

    def _read_answers(
        self, rows: Sequence[int], readings: Sequence[Reading], held: dict[TokenIds, list[torch.Tensor]]
    ) -> dict[int, ReadAnswer]:
        tokens, lengths = self._filled([readings[index].answer for index in rows])
        asked = [readings[index].question for index in rows]
        prefix = self._prefix(asked, held)
        frozen = self.part.frozen
        lower = Prefix(prefix.keys[:frozen], prefix.values[:frozen], prefix.lengths)
        upper = Prefix(prefix.keys[frozen:], prefix.values[frozen:], prefix.lengths)
        states = self.trunk.run(self.lower, self.trunk.embed(tokens), lower)
        means = pooled(states, lengths)[:, : self.trunk.width].cpu()
        shares = self.part.familiar.shares(means, lengths).tolist()
        scores, spreads = self.part.heads.scores(pooled(self.trunk.run(self.upper, states, upper), lengths).cpu())
        return {
            index: ReadAnswer(_rounded(scores[row]), _rounded(spreads[row]), round(shares[row], ROUNDED))
            for row, index in enumerate(dict.fromkeys(rows))
        }

    def _prefix(self, questions: Sequence[TokenIds], held: dict[TokenIds, list[torch.Tensor]]) -> Prefix:
        """The rows' questions side by side, filled up to the longest that there can be."""
        keys, values = [], []
        for block in range(len(self.trunk.blocks)):
            first = held[questions[0]][block]
            both = first.new_zeros((2, len(questions), first.shape[1], self.asked, first.shape[3]))
            for row, question in enumerate(questions):
                own = held[question][block]
                both[:, row, :, : own.shape[2]] = own
            keys.append(both[0])
            values.append(both[1])
        lengths = torch.tensor([len(question) for question in questions], device=self.device)
        return Prefix(keys, values, lengths)

    def _filled(self, rows: Sequence[TokenIds]) -> tuple[torch.Tensor, torch.Tensor]:
        span = filled_up(max(map(len, rows)))
        tokens = torch.tensor([[*ids, *[0] * (span - len(ids))] for ids in rows], device=self.device)
        return tokens, torch.tensor([len(ids) for ids in rows], device=self.device)


def filled_up(length: int) -> int:
    """The length that a row of so many tokens is filled up to."""
    return -(-length // STEP) * STEP


def batches(rows: Sequence[tuple[int, TokenIds]]) -> Iterator[list[int]]:
    """Numbers of rows of about one length; as many at once for a length, the last row said again to fill the batch."""
    for span in sorted({filled_up(len(ids)) for _, ids in rows}):
        alike = [index for index, ids in rows if filled_up(len(ids)) == span]
        size = max(1, TOKENS_AT_ONCE // span)
        for start in range(0, len(alike), size):
            here = alike[start : start + size]
            yield here + here[-1:] * (size - len(here))


def longest_answer() -> int:
    """Tokens of the longest answer that is read, its end mark with it."""
    return sum(ANSWER_TOKENS) + 1


def _rounded(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(round(float(value), ROUNDED) for value in values)


def read_part(path: Path) -> FittedPart:
    """The fitted part in a safetensors file."""
    from safetensors.torch import load_file

    return FittedPart.from_tensors(load_file(path))
