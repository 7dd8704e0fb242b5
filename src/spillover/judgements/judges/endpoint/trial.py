"""One question before the first answer is judged: does the service give what the mode needs? Knows replies only."""

from __future__ import annotations

from typing import Any

from spillover.judgements.judges.endpoint.replies import TOP, Unreadable, message_of, score_of, top_of
from spillover.judgements.judges.endpoint.request import Call, Requests
from spillover.serving.service import ServiceDown

NUMBER = "73"  # no round number: a model that does not read the question would not write it
OTHER = "take mode integer (--mode integer), in which the model writes its number as JSON"


def trial(requests: Requests) -> Call:
    """The question: to write a certain number, in the way in which scores will be written."""
    if requests.mode == "logprobs":
        return requests.saying(f"Reply with the number {NUMBER} and nothing else.")
    return requests.saying(f'Reply with the JSON object {{"score": {NUMBER}}} and nothing else.')


def check(reply: Any, requests: Requests) -> None:
    """Nothing, if the reply will do. Stopped where it tells that the mode is wrong, Unreadable where nothing."""
    if requests.mode == "integer":
        try:
            score_of(reply, "trial", "integer")
        except Unreadable as fault:
            hint = "; reply-tokens is too small for this model" if "cut" in str(fault) else ""
            raise Unreadable(f"{fault}: the service has to follow a JSON schema (response_format){hint}") from None
        return
    try:
        top = top_of(message_of(reply))
    except Unreadable as fault:
        raise Unreadable(f"{fault}, and mode logprobs needs them: {OTHER}") from None
    if len(top) < TOP:
        raise ServiceDown(
            f"{requests.model} gives {len(top)} log-probabilities of the {TOP} asked for: the expectation would leave "
            f"out numbers; {OTHER}"
        )
    tokens = {token.strip() for token, _ in top}
    if NUMBER in tokens:
        return
    raise ServiceDown(
        f"asked to write {NUMBER}, {requests.model} does not begin with the token {NUMBER} "
        + ("but with 7: it writes numbers digit by digit" if NUMBER[0] in tokens else f"or with {NUMBER[0]}")
        + f", and its first token alone tells no score from 0 to 100; {OTHER}, or a local judge, which reads all digits"
    )
