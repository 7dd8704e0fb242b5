"""The tokens that the reading judge reads: a question and an answer, neither of which can write a mark of a template.

Both are encoded as plain text: what spells out an end-of-turn token is letters. The one end token stands after the
answer and is put there by us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spillover.judgements.judges.embedded.features import ANSWER_LIMIT, QUESTION_LIMIT, clean
from spillover.judgements.judges.local_model.rater import plain_ids
from spillover.models.forward.cached_network import TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION_TOKENS = (40, 24)  # read of a question: from its start, and from its end where it is longer
ANSWER_TOKENS = (64, 32)  # and of an answer
BEFORE, BETWEEN = "Question:", "\n\nAnswer:"


@dataclass(frozen=True)
class Reading:
    """What is read of one answer: `question` is the same for all answers to one question, `answer` has its end mark."""

    question: TokenIds
    answer: TokenIds


class Readings:
    """Turns questions and answers into tokens of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the trunk's tokenizer has no end token, and the reader reads one after each answer")
        self.tokenizer, self.end = tokenizer, int(tokenizer.eos_token_id)
        self.before, self.between = self._ids(BEFORE), self._ids(BETWEEN)
        self._questions: dict[str, TokenIds] = {}

    def reading(self, question: str, answer: str, most: int = sum(ANSWER_TOKENS)) -> Reading:
        """The tokens of an answer to a question; `most`: an answer is cut there, as a study's token limit cuts it."""
        if question not in self._questions:
            ids = shortened(self._ids(" " + clean(question, QUESTION_LIMIT).strip()), QUESTION_TOKENS)
            self._questions[question] = (*self.before, *ids, *self.between)
        whole = self._ids(" " + clean(answer, ANSWER_LIMIT).strip())
        ids = shortened(whole, ANSWER_TOKENS) if most >= sum(ANSWER_TOKENS) else whole[:most]
        return Reading(self._questions[question], (*ids, self.end))

    def _ids(self, text: str) -> TokenIds:
        return tuple(plain_ids(self.tokenizer, text))


def shortened(ids: TokenIds, limits: tuple[int, int]) -> TokenIds:
    """The first and the last tokens of a text that has more than both limits together."""
    first, last = limits
    return ids if len(ids) <= first + last else (*ids[:first], *ids[-last:])
