"""How fast a service is asked, and how long to wait after a fault."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from spillover.api_client.pace import LONGEST_WAIT, Pace, back_off, retry_after


@pytest.mark.parametrize(
    "headers,seconds",
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_000_000) == seconds


def test_waits_double_with_jitter_up_to_a_limit() -> None:
    for attempt in range(1, 12):
        longest = min(LONGEST_WAIT, 2.0 ** (attempt - 1))
        waits = {back_off(attempt, 1.0) for _ in range(20)}
        assert len(waits) > 1 and all(longest / 2 <= wait <= longest for wait in waits)


@pytest.mark.parametrize("calls,tokens,tokens_each", [(1200.0, None, 10), (None, 1200.0, 1), (6000.0, 12000.0, 10)])
def test_calls_are_spread_over_the_minute(calls: float | None, tokens: float | None, tokens_each: int) -> None:
    async def gone() -> list[float]:
        pace, at = Pace(calls, tokens), []

        async def go() -> None:
            await pace.turn(tokens_each)
            at.append(time.monotonic())

        await asyncio.gather(*(go() for _ in range(6)))
        return at

    at = asyncio.run(gone())
    assert at == sorted(at) and at[5] - at[0] >= 0.05 * 5 * 0.98


def test_no_rate_no_wait_and_a_hold_is_for_all() -> None:
    async def times() -> tuple[float, float]:
        pace, began = Pace(None, None), time.monotonic()
        await asyncio.gather(*(pace.turn(1000) for _ in range(50)))
        free = time.monotonic() - began
        pace.hold(0.1)
        await asyncio.gather(*(pace.turn(1) for _ in range(5)))
        return free, time.monotonic() - began

    free, held = asyncio.run(times())
    assert free < 1 and held >= 0.1
