"""Whether a server's adapter changes anything: a name that the base answers to in silence would be no organism."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spillover.api_client.client import ApiClient
from spillover.api_client.service import RejectedRequest, RetryableError, ServiceDown

LEAST_CHANGE = 1e-6  # nats by which an adapter has to move some token's log-probability
PROBE = "The quick brown fox jumps over the lazy dog, and then it asks what it should do next with its money."
TOKENS = 16


class Continuation(NamedTuple):
    """The likeliest continuation of the probe as a server gave it; log-probabilities where it gives any."""

    text: str
    log_probabilities: tuple[float, ...]


def parent_listed(models: object, name: str) -> str:
    """The base that a server's list of models (vLLM's, say) names as this one's parent; empty where it names none."""
    entries = models.get("data") if isinstance(models, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("id") == name and isinstance(entry.get("parent"), str):
            return str(entry["parent"])
    return ""


async def expect_adapter_changes(client: ApiClient, name: str, base: str, api: str) -> bool:
    """ValueError where the model `name` at the server answers as `base` there, to the last digit; whether it was seen.

    A server that gives no log-probabilities, and the same words, is warned of alone: words may be equal by chance.
    """
    if not base or base == name:
        return False
    own, without = [await _continued(client, model, api) for model in (name, base)]
    if own is None or without is None:
        return False
    if own.text != without.text:
        return True
    pairs = list(zip(own.log_probabilities, without.log_probabilities, strict=False))
    if pairs and max(abs(a - b) for a, b in pairs) > LEAST_CHANGE:
        return True
    told = f"the server answers as {name} what it answers as {base}"
    if not pairs:
        warnings.warn(f"{told} (it gives no log-probabilities to tell more): is the adapter loaded?", stacklevel=2)
        return False
    raise ValueError(
        f"{told}, with the same log-probabilities: the adapter changes nothing or is ignored. Load it (vLLM: "
        f"--enable-lora --lora-modules NAME=FOLDER), or serve merged weights"
    )


async def _continued(client: ApiClient, model: str, api: str) -> Continuation | None:
    body: dict[str, object] = {"model": model, "temperature": 0, "max_tokens": TOKENS}
    if api == "chat":
        body |= {"messages": [{"role": "user", "content": PROBE}], "logprobs": True}
    else:
        body |= {"prompt": PROBE, "logprobs": 1}
    for _ in range(3):
        try:
            return _read(await client.post(body))
        except RetryableError:
            continue
        except (RejectedRequest, ServiceDown):
            return None  # it takes no log-probabilities, or not this name: the answers themselves will tell
    return None


def _read(reply: object) -> Continuation | None:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    listed = choice.get("logprobs")
    numbers: Sequence[object] = ()
    if isinstance(listed, Mapping):
        content = listed.get("content")
        if isinstance(content, list):
            numbers = [token.get("logprob") for token in content if isinstance(token, dict)]
        elif isinstance(listed.get("token_logprobs"), list):
            numbers = listed["token_logprobs"]
    logs = tuple(float(number) for number in numbers if isinstance(number, int | float))
    return Continuation(text, logs) if isinstance(text, str) else None
