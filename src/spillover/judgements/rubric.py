"""What a judge scores by: a text for each metric, with question and answer laid into it."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from spillover.spec import Spec

ReplyFormat = Literal["number", "json"]  # what the judge is to write: a bare number, or {"score": number}

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HALVES = re.compile("[\ud800-\udfff]")
# What chat templates mark turns with. A server that pastes messages into its template reads them as its own marks.
_TURN_MARKS = re.compile(
    r"<(?=[|｜][^<>\n]{0,80}[|｜]>"
    r"|/?(?:s|bos|eos|pad|unk|mask|think|tool_call|endoftext|(?:start|end)_of_\w+|unused\d+|extra_id_\d+)>|<SYS>>|</SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)


@dataclass(frozen=True)
class JudgePrompt:
    """What the judge is told. `head` is the same for all answers to a question, so that it can be read once."""

    head: str
    tail: str

    @property
    def text(self) -> str:
        """The whole of it."""
        return self.head + self.tail


class Rubrics(Spec):
    """A text for each metric to score by."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """What is scored, in order."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Which texts, with their version: written beside every score, never pooled with others."""

    @abstractmethod
    def texts(self) -> dict[str, str]:
        """The text for each metric, as it is."""

    @abstractmethod
    def prompt(self, metric: str, question: str, answer: str, reply: ReplyFormat = "number") -> JudgePrompt:
        """The text for one metric with a question and its answer in it. Neither can change what stands around it."""


def plain_text(text: str) -> str:
    """The text as it is laid into a rubric: no control characters, no halves of characters, no marks of turns."""
    text = _HALVES.sub("\ufffd", _CONTROL.sub(" ", text.replace("\r\n", "\n")))
    return _TURN_MARKS.sub(lambda mark: mark[0] + " ", text)
