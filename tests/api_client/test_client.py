"""The client's policy, on calls that a test scripts: tries, waits that a service names, keys, rejections, jobs."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spillover.api_client import client
from spillover.api_client.client import ApiClient, ApiLimits, CallFailed, NoMoreCalls
from spillover.api_client.service import RejectedRequest, RetryableError, ServiceAddress, ServiceDown, without_key
from spillover.responses.samplers.api_sampler import AnswerJournal, ServedAnswer

ADDRESS = ServiceAddress("http://127.0.0.1:9/v1", "SPILLOVER_TEST_KEY", 1.0)
ANSWER = ServedAnswer("Hello.", "stop", 2, 9, "m-1")


def new_client(first_wait: float = 0.01, concurrency: int = 2) -> ApiClient:
    return ApiClient(ApiLimits(ADDRESS, concurrency, None, None, first_wait), rejections=3)


def scripted(*faults: Exception) -> tuple[Callable, list[float]]:
    """What meets these faults in turn and then succeeds, and when it was called."""
    left: Iterator[Exception] = iter(faults)
    times: list[float] = []

    async def send() -> str:
        times.append(time.monotonic())
        for fault in left:
            raise fault
        return "reply"

    return send, times


def call(api: ApiClient, *faults: Exception) -> list[float]:
    """Seconds between the tries of a call that meets these faults."""
    send, times = scripted(*faults)
    api._last_taken = time.monotonic()
    assert asyncio.run(api.call(send)) == "reply"
    return [later - sooner for sooner, later in itertools.pairwise(times)]


def test_waits_grow_and_tries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = call(new_client(), *[RetryableError("status 500")] * 4)
    assert len(gaps) == 4 and all(gap >= 0.005 * 2**n for n, gap in enumerate(gaps))
    monkeypatch.setattr(client, "TRIES", 3)
    send, times = scripted(*[RetryableError("status 500")] * 9)
    with pytest.raises(CallFailed, match="status 500"):
        asyncio.run(new_client().call(send))
    assert len(times) == 3


def test_a_service_that_asks_for_no_wait_is_not_asked_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Retry-After: 0` again and again: our own waits, and a try each time."""
    gaps = call(new_client(), *[RetryableError("status 429", wait=0.0)] * 4)
    assert all(gap >= 0.005 * 2**n for n, gap in enumerate(gaps))
    monkeypatch.setattr(client, "TRIES", 3)
    send, times = scripted(*[RetryableError("status 429", wait=0.0)] * 9)
    with pytest.raises(CallFailed, match="status 429"):
        asyncio.run(new_client().call(send))
    assert len(times) == 3


def test_a_wait_that_a_service_names_is_the_least_and_each_is_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = call(new_client(), *[RetryableError("status 429", wait=0.03)] * 5)
    assert len(gaps) == 5 and all(gap >= max(0.03, 0.005 * 2**n) for n, gap in enumerate(gaps))
    monkeypatch.setattr(client, "TRIES", 3)
    send, times = scripted(*[RetryableError("status 429", wait=0.02)] * 9)
    api = new_client()
    api._last_taken = time.monotonic()
    with pytest.raises(CallFailed, match="status 429"):
        asyncio.run(api.call(send))
    assert len(times) == 3


def test_a_key_refused_three_times_and_requests_rejected_from_the_start_end_the_work() -> None:
    send, times = scripted(*[RetryableError("the key is refused (401)", denied=True)] * 9)
    with pytest.raises(ServiceDown, match="wants a key"):
        asyncio.run(new_client().call(send))
    assert len(times) == 3
    api = new_client()
    for last in (False, False, True):
        send, times = scripted(RejectedRequest(400, "no such field"))
        with pytest.raises(ServiceDown if last else RejectedRequest):
            asyncio.run(api.call(send))
        assert len(times) == 1
    api = new_client()
    call(api)
    for _ in range(9):  # it has answered before: what it rejects is a request's own fault
        with pytest.raises(RejectedRequest):
            asyncio.run(api.call(scripted(RejectedRequest(400, "too long"))[0]))


def test_jobs_under_way_end_when_no_more_are_wanted_and_an_error_ends_all() -> None:
    ended: list[int] = []

    async def job(number: int) -> None:
        if number == 2:
            raise NoMoreCalls
        await asyncio.sleep(0.02)
        ended.append(number)

    shares: list[float] = []
    assert asyncio.run(new_client(concurrency=3).each(range(9), job, shares.append)) == 7
    assert sorted(ended) == [0, 1] and shares == [1 / 9, 2 / 9]

    async def breaks(number: int) -> None:
        if number == 1:
            raise OSError("no room")
        await job(number)

    ended.clear()
    with pytest.raises(OSError, match="no room"):
        asyncio.run(new_client(concurrency=2).each([0, 1, 3], breaks))
    assert ended == []


def test_a_journal_of_other_things_is_begun_anew_where_that_is_asked_and_each_line_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "answers.jsonl", []
    monkeypatch.setattr("os.fsync", synced.append)
    with AnswerJournal.open(path, {"needs": "x"}, same=True) as journal:
        for number in range(3):
            journal.add(f"q #{number}", ANSWER)
        assert len(synced) == 4 and journal["q #1"] == ANSWER
    with AnswerJournal.open(path, {"needs": "x"}, same=True) as journal:
        assert len(journal) == 3
    with AnswerJournal.open(path, {"needs": "y"}) as journal:
        assert len(journal) == 3  # a ledger, say: what was paid for is not thrown away
    with AnswerJournal.open(path, {"needs": "y"}, same=True) as journal:
        assert len(journal) == 0 and len(path.read_text().splitlines()) == 1


KEY = "sk-live-9f8e7d6c5b4a39281706"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad key {KEY}!", "bad key ***!"),
        (f"bad key {KEY[:12]}... given", "bad key ***... given"),
        (f"ends in {KEY[-9:]}", "ends in ***"),
        (f"{KEY[4:13]} and {KEY[10:20]}", "*** and ***"),
        (f"only {KEY[:7]} here", f"only {KEY[:7]} here"),  # under 8 characters tell nothing
        ("nothing of it", "nothing of it"),
    ],
)
def test_no_part_of_a_key_is_repeated(text: str, shown: str) -> None:
    assert without_key(text, KEY) == shown
    assert without_key(text, "") == text
