"""How fast a service is asked: rates per minute, and how long to wait after a fault."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime

LONGEST_WAIT = 60.0  # seconds between two tries of our own choosing


class Pace:
    """Spreads calls evenly over the minute, by count and by tokens; holds all of them where the service says so."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._per_call = 60 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._free = 0.0  # when the next call may go, on the monotonic clock
        self._held_until = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait until a call of so many tokens may go."""
        now = time.monotonic()
        start = max(now, self._free)
        self._free = start + max(self._per_call, tokens * self._per_token)
        while start > now:
            await asyncio.sleep(start - now)
            now, start = time.monotonic(), max(start, self._held_until)

    def hold(self, seconds: float) -> None:
        """Let no call go for so long."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)
        self._free = max(self._free, self._held_until)


def back_off(attempt: int, first: float) -> float:
    """Seconds to wait after the failed try number `attempt` (from 1): doubled each time, with jitter of a half."""
    longest = min(LONGEST_WAIT, first * 2 ** (attempt - 1))
    return float(longest * (0.5 + random.random() / 2))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a service asks to wait, in milliseconds, seconds or as an HTTP date; None: nothing sensible.

    `now`: seconds since 1970, of which a date is told; None: this moment.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if 0 <= seconds < 1e9:
            return seconds
    try:
        then = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    current = datetime.fromtimestamp(now, UTC) if now is not None else datetime.now(UTC)
    return max(0.0, (then - current).total_seconds())
