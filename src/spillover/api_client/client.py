"""A client of one service: many calls at once, and one policy for all that can go wrong with them.

| the service | then |
|---|---|
| fails in a way that may pass | asked again, up to `TRIES` times a call, waiting longer each time |
| says how long to wait | all calls are held so long; this one waits its own growing time, if longer, and has tried |
| ... or more than `LONGEST_HOLD` since it last took a call | the work ends |
| refuses the key `DENIALS` times in a row | the work ends |
| rejects a request | the caller hears it; so many rejected before any was taken end the work |

What ends the work is a `ServiceDown`, in one sentence that says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from spillover.api_client.journal import Journal
from spillover.api_client.pace import Pace, back_off
from spillover.api_client.service import RejectedRequest, RetryableError, Service, ServiceAddress, ServiceDown
from spillover.store import ProgressFn

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 8  # of a call, before its fault is taken to last
DENIALS = 3  # refused keys in a row that end the work
LONGEST_HOLD = 900.0  # seconds that a service may have all calls wait, at once or again and again
LISTING = 5.0  # seconds that a list of models may take
SYNC = 0.5  # seconds between two looks at whether the journal has to be synced


class CallFailed(Exception):
    """A fault that did not pass, however often the call was tried."""


class NoMoreCalls(Exception):
    """Raised by a job: no other is begun, and those under way go on to their end."""


@dataclass(frozen=True)
class ApiLimits:
    """Where a service is and how it is asked; changes nothing of what it says. `first_wait`: seconds after a fault."""

    address: ServiceAddress
    concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    first_wait: float


class ApiClient:
    """Asks one service, many calls at once. `rejections`: requests rejected before any is taken that end the work."""

    def __init__(self, limits: ApiLimits, rejections: int) -> None:
        self.limits, self.rejections = limits, rejections
        self.taken = 0  # calls that the service answered
        self._rejected = self._denied = 0
        self._last_taken = 0.0  # when, on the monotonic clock
        self._pace = Pace(limits.requests_per_minute, limits.tokens_per_minute)
        self._service: Service | None = None

    @contextlib.asynccontextmanager
    async def connected(self, journal: Journal) -> AsyncIterator[None]:
        """Hold the connection; meanwhile the disk has within a second whatever the journal is given."""
        self._last_taken = time.monotonic()
        async with Service(self.limits.address, self.limits.concurrency) as self._service:
            syncing = asyncio.create_task(_sync_often(journal))
            try:
                yield
            finally:
                syncing.cancel()
                await asyncio.gather(syncing, return_exceptions=True)

    async def each(
        self, items: Sequence[Item], job: Callable[[Item], Awaitable[None]], progress: ProgressFn = lambda share: None
    ) -> int:
        """Run the job for every item, so many at once as the limits say; how many items are left.

        Some are left where a job raised `NoMoreCalls`; any other error ends all jobs at once.
        """
        queue, done, stopped = iter(items), 0, False

        async def worker() -> None:
            nonlocal done, stopped
            for item in queue:
                if stopped:
                    return
                try:
                    await job(item)
                except NoMoreCalls:
                    stopped = True
                    return
                done += 1
                progress(done / len(items))

        workers = [asyncio.create_task(worker()) for _ in range(min(self.limits.concurrency, len(items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return len(items) - done

    @property
    def service(self) -> Service:
        """The connection, within `connected`."""
        assert self._service is not None, "only within `connected`"
        return self._service

    async def post(self, body: Mapping[str, object]) -> object:
        """The reply to one request, asked once (`Service.post`)."""
        return await self.service.post(body)

    async def listing(self) -> object:
        """The service's own list of its models; None where it gives none."""
        try:
            return await self.service.models(LISTING)
        except RetryableError:
            return None

    async def call(self, send: Callable[[], Awaitable[Result]], tokens: int = 1, tries: int | None = None) -> Result:
        """What `send` gives, which posts a request of about so many tokens; tried again where a fault may pass.

        Raises RejectedRequest, CallFailed (it did not pass in `tries`; None: `TRIES`) and ServiceDown.
        """
        tried = 0
        while True:
            await self._pace.turn(tokens)
            try:
                result = await send()
            except RejectedRequest as fault:
                self._rejected += 1
                if self._rejected >= self.rejections and not self.taken:
                    url = self.limits.address.url
                    raise ServiceDown(f"{url}: {fault}, {self._rejected} times in a row: {fault.message}") from None
                raise
            except RetryableError as fault:
                self._denied += fault.denied
                if self._denied >= DENIALS:
                    raise ServiceDown(self._key_refused(fault)) from None
                self._hold(fault)
                tried += 1
                if tried >= (tries or TRIES):
                    raise CallFailed(fault.reason) from None
                await asyncio.sleep(max(fault.wait or 0.0, back_off(tried, self.limits.first_wait)))
                continue
            self.taken, self._denied, self._last_taken = self.taken + 1, 0, time.monotonic()
            return result

    def down(self, fault: Exception) -> ServiceDown:
        """What to raise where the service does not answer any more."""
        return ServiceDown(
            f"the service at {self.limits.address.url} does not answer (last: {fault}): what came is kept; the same "
            f"command goes on when it is back"
        )

    def _hold(self, fault: RetryableError) -> None:
        """Hold all calls for as long as the service asks to; ServiceDown where that is too long."""
        if not fault.wait:
            return
        if time.monotonic() + fault.wait - self._last_taken > LONGEST_HOLD:
            raise ServiceDown(
                f"the service at {self.limits.address.url} asks to wait for {fault.wait / 60:.0f} minutes "
                f"({fault.reason}): what came is kept; give the same command then"
            ) from None
        self._pace.hold(fault.wait)

    def _key_refused(self, fault: RetryableError) -> str:
        address = self.limits.address
        if address.key() is None:
            return f"the service at {address.url} wants a key ({fault.reason}): put it into ${address.key_variable}"
        return (
            f"the service at {address.url} refuses the key in ${address.key_variable}, {DENIALS} times "
            f"({fault.reason}): what came is kept; the same command goes on with another key"
        )


def run(work: Coroutine[object, object, None]) -> None:
    """Run it to its end, in a notebook too, where an event loop runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)  # type: ignore[arg-type]
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()  # type: ignore[arg-type]


async def _sync_often(journal: Journal) -> None:
    while True:
        await asyncio.sleep(SYNC)
        await asyncio.to_thread(journal.sync)
