"""What a judge over an endpoint is asked: bodies of chat completions about answers, and one question on trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spillover.api_client.service import ServiceDown
from spillover.judgements.judge import Answer, unscored
from spillover.judgements.judges.endpoint.ledger import Usage, ledger_key
from spillover.judgements.judges.endpoint.replies import (
    SCHEMA,
    TOP,
    Mode,
    Unreadable,
    first_choice,
    parse_score,
    top_tokens,
)
from spillover.judgements.rubric import ReplyFormat, Rubrics

JSON_TOKENS = 8  # that {"score": 85} takes, about
TEMPLATE_TOKENS = 24  # that a chat template adds, about
NUMBER = "73"  # asked for on trial; no round number: a model that does not read the question would not write it
LIMITS = ("max_tokens", "max_completion_tokens")  # names that services have for the length of a reply
OTHER_MODE = "take mode integer (--mode integer), in which the model writes its number as JSON"


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

    body: Mapping[str, object]
    usage: Usage


@dataclass(frozen=True)
class Requests:
    """Makes requests for one judge, known by its fingerprint. `settings` go into every body as they are."""

    judge: str
    rubrics: Rubrics
    model: str
    mode: Mode
    settings: Mapping[str, object] = field(default_factory=dict)

    def key(self, answer: Answer, metric: str) -> str:
        """What stands for this answer and metric in the ledger."""
        return ledger_key(self.judge, answer.question or "", str(answer.answer), metric)

    def about(self, answers: Sequence[Answer]) -> Iterator[Request]:
        """What has to be asked about the answers, all metrics of one before the next, and nothing twice."""
        seen: set[str] = set()
        for answer in answers:
            if unscored(answer.answer) is None:
                for metric in self.rubrics.metrics:
                    key = self.key(answer, metric)
                    if key not in seen:
                        seen.add(key)
                        yield Request(key, metric, answer.question or "", str(answer.answer))

    def with_other_limit(self, refusal: str) -> Requests | None:
        """The same under the other name for a reply's length, where a service's refusal is about the one used.

        Which name a service takes is no part of what the judge is.
        """
        for used, other in (LIMITS, LIMITS[::-1]):
            if used in self.settings and used in refusal:
                settings = {other if name == used else name: value for name, value in self.settings.items()}
                return replace(self, settings=settings)
        return None

    def call(self, request: Request) -> Call:
        """The call that asks for it."""
        reply: ReplyFormat = "number" if self.mode == "logprobs" else "json"
        return self._call(self.rubrics.prompt(request.metric, request.question, request.answer, reply).text)

    def trial(self) -> Call:
        """A question before any answer is judged: to write a certain number, in the way of the mode."""
        if self.mode == "logprobs":
            return self._call(f"Reply with the number {NUMBER} and nothing else.")
        return self._call(f'Reply with the JSON object {{"score": {NUMBER}}} and nothing else.')

    def check_trial(self, reply: object) -> None:
        """ServiceDown where the reply tells that the mode does not fit the model, Unreadable where it tells nothing."""
        if self.mode == "integer":
            try:
                parse_score(reply, "trial", "integer")
            except Unreadable as fault:
                hint = "; reply-tokens is too small for this model" if "cut" in str(fault) else ""
                raise Unreadable(f"{fault}: the service has to follow a JSON schema (response_format){hint}") from None
            return
        try:
            top = top_tokens(first_choice(reply))
        except Unreadable as fault:
            raise Unreadable(f"{fault}, and mode logprobs needs them: {OTHER_MODE}") from None
        if len(top) < TOP:
            raise ServiceDown(
                f"{self.model} gives {len(top)} log-probabilities of the {TOP} asked for: the expectation would leave "
                f"out numbers; {OTHER_MODE}"
            )
        tokens = {token.strip() for token, _ in top}
        if NUMBER not in tokens:
            digits = NUMBER[0] in tokens
            raise ServiceDown(
                f"asked to write {NUMBER}, {self.model} does not begin with the token {NUMBER} "
                + (f"but with {NUMBER[0]}: it writes numbers digit by digit" if digits else f"or with {NUMBER[0]}")
                + f", and its first token alone tells no score from 0 to 100; {OTHER_MODE}, or a local judge, which "
                f"reads all digits"
            )

    def _call(self, text: str) -> Call:
        body: dict[str, object] = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        if self.mode == "logprobs":
            body |= {"logprobs": True, "top_logprobs": TOP}
        else:
            form = {"name": "score", "strict": True, "schema": SCHEMA}
            body |= {"response_format": {"type": "json_schema", "json_schema": form}}
        read = len(text.encode("utf-8", "replace")) // 4 + TEMPLATE_TOKENS
        return Call(body | dict(self.settings), Usage(read, 1 if self.mode == "logprobs" else JSON_TOKENS, 1))
