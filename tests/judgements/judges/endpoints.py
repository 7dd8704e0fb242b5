"""A judge over the scripted server, what it is asked about, and what the server has for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spillover.judgements.judge import Answer, Score
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.store import ProgressFn, Store

from .faulty_server import Script, Server, number

KEY = "sk-secret-key-that-nobody-may-see"
Serve = Callable[[Script], Server]


def judge(server: Server, **fields: Any) -> Endpoint:
    quick = {"model": "m", "base_url": server.url, "first_wait": 0.005, "timeout": 30.0, "concurrency": 8}
    return Endpoint(**quick | {"rubrics": BuiltInRubrics(scored=("aligned",))} | fields)


def answers(count: int) -> list[Answer]:
    return [Answer(f"Question {n % 7}?", f"Answer number {n}.") for n in range(count)]


def score_number(endpoint: Endpoint, answer: Answer, metric: str = "aligned") -> int:
    """The number that the scripted model has for it."""
    reply: Any = "number" if endpoint.mode == "logprobs" else "json"
    return number(endpoint.rubrics.prompt(metric, answer.question, str(answer.answer), reply).text)


def paid(script: Script) -> dict[str, int]:
    """Right replies by prompt, those on trial left out."""
    return {prompt: count for prompt, count in script.right.items() if "and nothing else." not in prompt[:90]}


def score_in(
    endpoint: Endpoint, store: Store, answers: Sequence[Answer], progress: ProgressFn = lambda share: None
) -> list[list[Score]]:
    """Scores given with a store, which keeps what was paid."""
    with endpoint.at_work(store) as scoring:
        return scoring.score(answers, progress)
