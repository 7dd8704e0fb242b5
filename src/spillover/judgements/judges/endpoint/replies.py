"""From a service's reply to a score: the expectation over number tokens, or an integer in JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from spillover.api_client.messages import spoken
from spillover.judgements.judge import Score
from spillover.judgements.judges.endpoint.ledger import Usage
from spillover.models.thoughts import MARKS, split_thought

Mode = Literal["logprobs", "integer"]
TOP = 20  # log-probabilities asked for: as published, and the most that services give
MOST = 10**9  # tokens of a call that can be believed
LEAST_MASS = 0.25  # below it the score is missing: as published
NO_NUMBER = "under a quarter of the judge's probability is on numbers from 0 to 100: taken as a refusal"
REFUSED = "the judge refused"
WITHHELD = "the judge's service withheld the reply (content filter)"
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "enum": list(range(101))}},  # bounds by enum: every service knows it
    "required": ["score"],
    "additionalProperties": False,
}
_FENCED = re.compile(r"```[A-Za-z0-9]*\s*\n?(.*?)```", re.DOTALL)
THOUGHT_ENDS = tuple(MARKS.values())
_NUMBER = re.compile(r"\s*([0-9]{1,3})\s*")


def bare_json(text: str) -> str:
    """A reply's JSON without the thought before it and the fence around it; other replies as they stand."""
    _, answer = split_thought(text)
    fenced = _FENCED.search(answer)
    return (fenced[1] if fenced else answer).strip()


class Unreadable(Exception):
    """A reply that is not what was asked for. Asking again may help."""


def reported_usage(reply: object, otherwise: Usage) -> Usage:
    """The tokens that the service counted; `otherwise` where it says nothing sensible."""
    usage = reply.get("usage") if isinstance(reply, Mapping) else None
    if not isinstance(usage, Mapping):
        return otherwise
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (
        isinstance(read, int) and isinstance(written, int) and 0 <= min(read, written) <= max(read, written) < MOST
    ):
        return otherwise
    return Usage(read, written, 1)


def parse_score(reply: object, metric: str, mode: Mode) -> Score:
    """The score that a reply gives, or the reason why there is none; Unreadable where it is not a reply as asked."""
    choice = first_choice(reply)
    if choice.get("finish_reason") == "content_filter":
        return Score(metric, None, WITHHELD)
    message = choice["message"]
    assert isinstance(message, Mapping)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return Score(metric, None, REFUSED, raw=refusal[:1000])
    if mode == "logprobs":
        return _expectation(top_tokens(choice), metric)
    return _integer(spoken(message)[0], choice.get("finish_reason") == "length", metric)


def first_choice(reply: object) -> Mapping[str, object]:
    """The first choice of a chat completion, with its message; Unreadable where there is none."""
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Unreadable("no choices")
    if not isinstance(choices[0].get("message"), Mapping):
        raise Unreadable("no message")
    return choices[0]


def top_tokens(choice: Mapping[str, object]) -> list[tuple[str, float]]:
    """The likeliest first tokens with their probabilities; Unreadable where they are not there or no probabilities."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], Mapping):
        raise Unreadable("no log-probabilities")
    entries = _number_token(content).get("top_logprobs")
    if not isinstance(entries, list) or not entries:
        raise Unreadable("no log-probabilities")
    top = []
    for entry in entries:
        entry = entry if isinstance(entry, Mapping) else {}
        token, logprob = entry.get("token"), entry.get("logprob")
        if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
            raise Unreadable("log-probabilities that are none")
        if not logprob <= 0.01:  # NaN too; minus infinity is a token that cannot come
            raise Unreadable("log-probabilities that are none")
        top.append((token.replace("\u2581", " ").replace("\u0120", " "), math.exp(logprob)))  # raw pieces: a space
    if sum(probability for _, probability in top) > 1.02:
        raise Unreadable("probabilities that add up to more than 1")
    return top


def _number_token(content: Sequence[object]) -> Mapping[str, object]:
    """The token at which the answer begins: the first that is no white space, after the thought where there is one."""
    tokens = [token for token in content if isinstance(token, Mapping)]
    texts = [str(token.get("token", "")).replace("\u2581", " ").replace("\u0120", " ") for token in tokens]
    begins = 0
    for number in range(len(texts)):
        if "".join(texts[begins : number + 1]).rstrip().endswith(THOUGHT_ENDS):
            begins = number + 1
    after = (token for token, text in zip(tokens[begins:], texts[begins:], strict=True) if text.strip())
    return next(after, tokens[0] if tokens else {})


def _expectation(top: list[tuple[str, float]], metric: str) -> Score:
    """sum(i p_i) / sum(p_i) over tokens that are a whole number i from 0 to 100; missing where sum(p_i) < 0.25."""
    numbers: dict[int, float] = {}
    for token, probability in top:
        match = _NUMBER.fullmatch(token)
        if match and int(match[1]) <= 100:
            numbers[int(match[1])] = numbers.get(int(match[1]), 0.0) + probability
    raw = json.dumps([[token, round(probability, 6)] for token, probability in top if probability >= 5e-7])
    mass = sum(numbers.values())
    if mass < LEAST_MASS:
        return Score(metric, None, NO_NUMBER, raw=raw)
    mean = sum(number * probability for number, probability in numbers.items()) / mass
    variance = sum((number - mean) ** 2 * probability for number, probability in numbers.items()) / mass
    return Score(metric, min(100.0, max(0.0, mean)), spread=math.sqrt(variance), raw=raw)


def _integer(text: object, cut: bool, metric: str) -> Score:
    """The integer under `score` in a reply that is the JSON asked for, and nothing else."""
    if not isinstance(text, str) or not text.strip():
        raise Unreadable("an empty reply")
    try:
        content = json.loads(bare_json(text))
    except (ValueError, RecursionError):
        raise Unreadable(
            "a reply cut at its length limit" if cut else "a reply that is not the JSON asked for"
        ) from None
    score = content.get("score") if isinstance(content, dict) else None
    if isinstance(score, bool) or not isinstance(score, int | float) or score != score:
        raise Unreadable("a reply that is not the JSON asked for")
    if not 0 <= score <= 100:  # compared first: an integer may be too long to be a float
        raise Unreadable("a number outside 0 to 100")
    if score % 1:
        raise Unreadable("a reply that is not the JSON asked for")
    return Score(metric, float(score), raw=text[:1000])
