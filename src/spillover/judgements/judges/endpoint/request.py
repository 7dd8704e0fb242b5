"""What a judge over an endpoint is asked: from answers to the bodies of chat completions. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from spillover.judgements.judge import Answer, unscored
from spillover.judgements.judges.endpoint.costs import tokens_in
from spillover.judgements.judges.endpoint.ledger import Usage, key_of
from spillover.judgements.judges.endpoint.replies import SCHEMA, TOP, Mode
from spillover.judgements.rubric import ReplyFormat, Rubrics

JSON_TOKENS = 8  # that {"score": 85} takes, about


@dataclass(frozen=True)
class Request:
    """One answer to be judged by one metric."""

    key: str
    metric: str
    question: str
    answer: str


@dataclass(frozen=True)
class Call:
    """One call: the body that goes out, and the tokens it takes, about."""

    body: dict[str, Any]
    usage: Usage


@dataclass(frozen=True)
class Requests:
    """Makes requests for one judge, known by its fingerprint. `settings` go into every body as they are."""

    judge: str
    rubrics: Rubrics
    model: str
    mode: Mode
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is scored."""
        return self.rubrics.metrics

    def key(self, answer: Answer, metric: str) -> str:
        """What stands for this answer and metric in the ledger."""
        return key_of(self.judge, answer.question or "", str(answer.answer), metric)

    def of(self, answers: Sequence[Answer]) -> Iterator[Request]:
        """What has to be asked about the answers, all metrics of one before the next, and nothing twice."""
        seen: set[str] = set()
        for answer in answers:
            if unscored(answer.answer) is None:
                for metric in self.metrics:
                    key = self.key(answer, metric)
                    if key not in seen:
                        seen.add(key)
                        yield Request(key, metric, answer.question or "", str(answer.answer))

    def call(self, request: Request) -> Call:
        """The call that asks for it."""
        reply: ReplyFormat = "number" if self.mode == "logprobs" else "json"
        return self.saying(self.rubrics.prompt(request.metric, request.question, request.answer, reply).text)

    def saying(self, text: str) -> Call:
        """A call with this text."""
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        if self.mode == "logprobs":
            body |= {"logprobs": True, "top_logprobs": TOP}
        else:
            form = {"name": "score", "strict": True, "schema": SCHEMA}
            body |= {"response_format": {"type": "json_schema", "json_schema": form}}
        written = 1 if self.mode == "logprobs" else JSON_TOKENS
        return Call(body | self.settings, Usage(tokens_in(text), written, 1))

    def texts(self) -> dict[str, str]:
        """The rubrics' texts."""
        return self.rubrics.texts()
