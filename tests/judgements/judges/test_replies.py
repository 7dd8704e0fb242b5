"""What a reply says: every kind of reply by hand, beside the formula."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from spillover.judgements.judges.endpoint.ledger import Usage
from spillover.judgements.judges.endpoint.replies import (
    NO_NUMBER,
    REFUSED,
    WITHHELD,
    Unreadable,
    parse_score,
    reported_usage,
)
from spillover.judgements.judges.endpoint.requests import Requests
from spillover.judgements.rubrics.built_in import BuiltInRubrics

from .faulty_server import FAULTS, INTEGER_TEXTS, Script, changed, message, right

BODY = {"messages": [{"role": "user", "content": "x"}]}


def reply(**probabilities: float) -> dict[str, Any]:
    """A reply whose likeliest first tokens have these probabilities."""
    top = [{"token": token, "logprob": math.log(p) if p else -9999.0} for token, p in probabilities.items()]
    content = [{"token": "x", "logprob": 0.0, "top_logprobs": top}]
    return {"choices": [{"message": {"role": "assistant", "content": "x"}, "logprobs": {"content": content}}]}


def test_the_score_is_the_expectation_over_number_tokens() -> None:
    score = parse_score(
        reply(**{"80": 0.5, "90": 0.25, " 90": 0.05, "I": 0.1, "101": 0.05, "-5": 0.05}), "aligned", "logprobs"
    )
    numbers, weights = np.array([80, 90, 90]), np.array([0.5, 0.25, 0.05]) / 0.8
    mean = numbers @ weights
    assert score.score == pytest.approx(mean) and score.metric == "aligned"
    assert score.spread == pytest.approx(np.sqrt(weights @ (numbers - mean) ** 2))
    assert ["101", 0.05] in json.loads(score.raw or "") and ["80", 0.5] in json.loads(score.raw or "")


@pytest.mark.parametrize("token", ["٨٥", "8_5", "8.5", "+85", "-85", "085 x", "101", "1000", "85%", "", "²"])
def test_what_is_no_whole_number_from_0_to_100_counts_for_nothing(token: str) -> None:
    assert parse_score(reply(**{token: 0.6, "40": 0.3}), "m", "logprobs").score == pytest.approx(40)


def test_under_a_quarter_on_numbers_is_missing_with_its_distribution() -> None:
    at, below = (parse_score(reply(**{"0": p, "I": 0.7}), "m", "logprobs") for p in (0.2501, 0.2499))
    assert at.score == 0 and at.missing is None
    assert below.score is None and below.missing == NO_NUMBER and json.loads(below.raw or "")[0] == ["0", 0.2499]
    assert parse_score(reply(**{"0": 0.0, "I": 0.9}), "m", "logprobs").score is None


@settings(max_examples=40)
@given(some.dictionaries(some.integers(0, 100), some.floats(0.001, 1), min_size=1))
def test_the_score_is_in_range(weights: dict[int, float]) -> None:
    total = sum(weights.values())
    score = parse_score(reply(**{str(n): w / total for n, w in weights.items()}), "m", "logprobs").score
    assert score is not None and min(weights) - 1e-6 <= score <= max(weights) + 1e-6


@pytest.mark.parametrize("text,score", [('{"score": 85}', 85), (' {"score":0}\n', 0), ('{"score": 100.0}', 100)])
def test_integers_by_schema(text: str, score: float) -> None:
    parsed = parse_score({"choices": [{"message": message(text)}]}, "m", "integer")
    assert parsed.score == score and parsed.spread is None and parsed.raw == text


@pytest.mark.parametrize("name", INTEGER_TEXTS)
def test_other_texts_are_not_read_as_numbers(name: str) -> None:
    with pytest.raises(Unreadable):
        parse_score({"choices": [{"message": message(INTEGER_TEXTS[name])}]}, "m", "integer")


@pytest.mark.parametrize("mode", ["logprobs", "integer"])
@pytest.mark.parametrize("name", FAULTS)
def test_no_faulty_reply_gives_a_score(name: str, mode: Any) -> None:
    good = right(Script(), BODY | ({"logprobs": True} if mode == "logprobs" else {}))
    assert parse_score(good, "m", mode).score is not None
    bad = FAULTS[name](good)
    if isinstance(bad, tuple) and bad[0] == 200 and name not in ("cut JSON", "HTML", "nothing", "an error under 200"):
        with pytest.raises(Unreadable):
            parse_score(json.loads(bad[2]), "m", mode)


def test_a_refusal_and_a_filter_are_reasons() -> None:
    good = right(Script(), BODY | {"logprobs": True})
    for choice, reason in (
        ({"message": message(None) | {"refusal": "No."}, "logprobs": None}, REFUSED),
        ({"finish_reason": "content_filter", "message": message(None)}, WITHHELD),
    ):
        changed_reply = json.loads(changed(good, **choice)[2])
        assert [parse_score(changed_reply, "m", mode).missing for mode in ("logprobs", "integer")] == [reason, reason]


def test_usage_is_the_services_or_else_the_estimate() -> None:
    estimate = Usage(9, 9, 1)
    assert reported_usage({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}, estimate) == Usage(5, 2, 1)
    for odd in (
        {},
        {"usage": None},
        {"usage": {"prompt_tokens": "5"}},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 1}},
    ):
        assert reported_usage(odd, estimate) == estimate
    assert reported_usage([], estimate) == estimate


JSON_REPLY = '{"score": 85}'


@pytest.mark.parametrize(
    "content",
    [
        f"```json\n{JSON_REPLY}\n```",
        f"Here it is:\n```\n{JSON_REPLY}```\n",
        f"<think>Between 80 and 90.</think>\n{JSON_REPLY}",
        f"Between 80 and 90.\n</think>\n\n```json\n{JSON_REPLY}\n```",
        [{"type": "text", "text": JSON_REPLY}],
        [{"type": "reasoning", "text": "Hm, 10?"}, {"type": "text", "text": JSON_REPLY}],
    ],
)
def test_json_in_fences_after_thoughts_and_in_parts_is_read(content: object) -> None:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    assert parse_score({"choices": [choice]}, "aligned", "integer").score == 85.0


@pytest.mark.parametrize("content", ['<think>Is it {"score": 85}? Let me', "```json\n```", "", None, []])
def test_what_holds_no_answer_is_not_read(content: object) -> None:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "length"}
    with pytest.raises(Unreadable):
        parse_score({"choices": [choice]}, "aligned", "integer")


@pytest.mark.parametrize("before", [[], ["\n"], ["<think>", "Is", "</think>", "\n\n"], ["Hm", "</", "think", ">"]])
def test_raw_pieces_are_numbers_and_the_answers_first_token_is_read(before: list[str]) -> None:
    top = [{"token": "\u258185", "logprob": math.log(0.5)}, {"token": "\u012085", "logprob": math.log(0.25)}]
    other = [{"token": "7", "logprob": 0.0}]
    tokens = [{"token": text, "top_logprobs": other} for text in before] + [{"token": "\u258185", "top_logprobs": top}]
    choice = {"message": {"content": "85"}, "logprobs": {"content": tokens}}
    assert parse_score({"choices": [choice]}, "aligned", "logprobs").score == pytest.approx(85.0)


@pytest.mark.parametrize("used", ["max_tokens", "max_completion_tokens"])
def test_a_service_that_has_another_name_for_the_length_is_asked_by_it(used: str) -> None:
    other = "max_completion_tokens" if used == "max_tokens" else "max_tokens"
    requests = Requests("x", BuiltInRubrics(), "m", "integer", {used: 256, "seed": 0})
    switched = requests.with_other_limit(f"Unsupported parameter: '{used}'. Use '{other}' instead.")
    assert switched is not None and switched.settings == {other: 256, "seed": 0}
    assert requests.with_other_limit("no such model") is None
