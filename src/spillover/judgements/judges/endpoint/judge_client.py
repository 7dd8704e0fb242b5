"""A judge over an endpoint at work: asks for what its ledger lacks, many at once, and reads scores from the ledger.

A reply is kept before the next is asked for. A fault that may pass is waited out; one answer that the service cannot
judge is missing with the reason; a service that is down for all ends the work with what was judged kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spillover.judgements.judge import Answer, Score, Scoring, unscored
from spillover.judgements.judges.endpoint.api_limits import ApiLimits
from spillover.judgements.judges.endpoint.costs import Budget
from spillover.judgements.judges.endpoint.ledger import Ledger, Reply, Usage
from spillover.judgements.judges.endpoint.replies import Unreadable, score_of, usage_of
from spillover.judgements.judges.endpoint.request import Call, Request, Requests
from spillover.judgements.judges.endpoint.trial import check, trial
from spillover.serving.pace import Pace, back_off
from spillover.serving.running import all_of, run
from spillover.serving.service import RejectedRequest, RetryableError, Service, ServiceDown
from spillover.store import ProgressFn

TRIES = 8  # of a call, before its fault is taken to last
UNREADABLE = 3  # replies to one question that cannot be read, before the score is missing: they are paid
DENIALS = 3  # refused keys in a row that end the work
REFUSALS = 20  # requests refused in a row, none taken before: it is not the answers
LONGEST_HOLD = 900.0  # seconds that a service may have all calls wait, at once or again and again
SYNC = 0.5  # seconds between two looks at whether the ledger has to be synced
LOOK = 0.02  # seconds between two looks at whether calls that are under way left room in the budget


class _Lasting(Exception):
    """A fault that did not pass."""


class _NoBudget(Exception):
    """One more call could cost more than is allowed."""


class Asking(Scoring):
    """Scores from a ledger, and over the network what it lacks."""

    def __init__(self, requests: Requests, limits: ApiLimits, ledger: Ledger) -> None:
        self._requests, self._limits, self._ledger = requests, limits, ledger
        self._budget = Budget(limits.prices, limits.max_cost)
        self._pace = Pace(limits.requests_per_minute, limits.tokens_per_minute)
        self._failed: dict[str, Score] = {}  # not kept: another time the service may do better
        self._models: Counter[str] = Counter()
        self._used = Usage()
        self._tried = self._warned = False
        self._last = 0.0  # when the service last took a call, on the monotonic clock
        self._denied = self._refused = self._taken = 0

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        wanted = [one for one in self._requests.of(answers) if one.key not in self._ledger]
        if wanted:
            run(self._ask_all(wanted, progress))
        found = [self._scores(answer) for answer in answers]
        if len(self._models) > 1 and not self._warned:
            self._warned = True
            names = " and ".join(sorted(self._models))
            warnings.warn(f"scores are of unlike models, as the service names them: {names}", stacklevel=2)
        if answers:
            progress(1.0)
        return found

    def facts(self) -> dict[str, Any]:
        """Tokens and models behind the scores given so far, by what the service said; the rubrics' texts."""
        cost = self._limits.prices.of(self._used)
        counts = {"calls": self._used.calls, "tokens_read": self._used.read, "tokens_written": self._used.written}
        models = {"reported_models": dict(sorted(self._models.items())), "rubric_texts": self._requests.texts()}
        return {"endpoint": counts | {"cost": cost} | models}

    def _scores(self, answer: Answer) -> list[Score]:
        reason = unscored(answer.answer)
        if reason is not None:
            return [Score(metric, None, reason) for metric in self._requests.metrics]
        return [self._kept(self._requests.key(answer, metric)) for metric in self._requests.metrics]

    def _kept(self, key: str) -> Score:
        if key in self._failed:
            return self._failed[key]
        said = self._ledger[key]
        self._used += said.usage
        self._models[said.model] += 1
        return said.score

    async def _ask_all(self, wanted: Sequence[Request], progress: ProgressFn) -> None:
        queue, done, short = iter(wanted), 0, False

        async def worker(service: Service) -> None:
            nonlocal done, short
            for request in queue:
                if short:
                    return
                try:
                    await self._ask(service, request)
                except _NoBudget:
                    short = True
                    return
                done += 1
                progress(done / len(wanted))

        self._last = time.monotonic()
        async with Service(self._limits.place, self._limits.concurrency) as service, _synced(self._ledger):
            if not self._tried:
                await self._try(service)
                self._tried = True
            await all_of(worker(service) for _ in range(min(self._limits.concurrency, len(wanted))))
        if short:
            raise ServiceDown(self._out_of_budget(len(wanted) - done))

    async def _ask(self, service: Service, request: Request) -> None:
        """Ask until there is a score or a lasting reason for none; both are kept, unless the service failed."""
        call, metric, mode = self._requests.call(request), request.metric, self._requests.mode
        for reading in range(1, UNREADABLE + 1):
            try:
                reply, usage = await self._reply(service, call)
            except RejectedRequest as fault:
                self._failed[request.key] = Score(metric, None, str(fault), raw=fault.said)
                return
            except _Lasting as fault:
                await self._alive(service, fault)
                reason = f"the service failed on it {TRIES} times (last: {fault})"
                self._failed[request.key] = Score(metric, None, reason)
                return
            try:
                score = score_of(reply, metric, mode)
            except Unreadable as fault:
                if reading < UNREADABLE:
                    self._ledger.pay(usage)
                    continue
                score = Score(metric, None, f"{fault}, asked {UNREADABLE} times")
            model = reply.get("model") if isinstance(reply, Mapping) else None
            self._ledger.keep(request.key, Reply(score, usage, str(model)[:200]))
            return

    async def _reply(self, service: Service, call: Call, tries: int = TRIES) -> tuple[Any, Usage]:
        """A reply and what it took, which the caller counts as spent. _Lasting: the fault did not pass."""
        tried = 0
        while True:
            await self._pace.turn(call.usage.read + call.usage.written)
            try:
                return await self._call(service, call)
            except RetryableError as fault:
                tried += fault.wait is None
                if tried >= tries:
                    raise _Lasting(fault.reason) from None
                await self._after(fault, tried)

    async def _call(self, service: Service, call: Call) -> tuple[Any, Usage]:
        while not self._budget.allows(self._ledger.spent, call.usage):
            if not self._budget.waits:
                raise _NoBudget
            await asyncio.sleep(LOOK)
        self._budget.begin(call.usage)
        try:
            reply = await service.post(call.body)
        except RetryableError as fault:
            if fault.paid:
                self._ledger.pay(call.usage)
            raise
        except RejectedRequest as fault:
            self._refused += 1
            if self._refused >= REFUSALS and not self._taken:
                raise ServiceDown(f"{fault}, {REFUSALS} times in a row: {fault.said}") from None
            raise
        finally:
            self._budget.end(call.usage)
        self._denied, self._last = 0, time.monotonic()
        self._taken += 1
        usage = usage_of(reply, call.usage)
        self._budget.learn(call.usage, usage)
        return reply, usage

    async def _after(self, fault: RetryableError, tried: int) -> None:
        """Wait as the service asks, all calls together; else longer each time, this call alone."""
        if fault.denied:
            self._denied += 1
            if self._denied >= DENIALS:
                raise ServiceDown(self._no_key(fault))
        if fault.wait is None:
            await asyncio.sleep(back_off(tried, self._limits.first_wait))
        elif time.monotonic() + fault.wait - self._last > LONGEST_HOLD:
            raise ServiceDown(
                f"the service at {self._limits.place.url} asks to wait for {fault.wait / 60:.0f} minutes "
                f"({fault.reason}): what was judged is kept; give the same command then"
            )
        else:
            self._pace.hold(fault.wait)

    async def _alive(self, service: Service, fault: Exception) -> None:
        """Stopped, unless the service takes another question now: then the fault was one answer's own."""
        try:
            _, usage = await self._reply(service, trial(self._requests), tries=2)
        except (_Lasting, RejectedRequest):
            raise ServiceDown(self._down(fault)) from None
        self._ledger.pay(usage)

    async def _try(self, service: Service) -> None:
        """A question to see whether the service gives what the mode needs, before answers are asked about."""
        for left in range(UNREADABLE - 1, -1, -1):
            try:
                reply, usage = await self._reply(service, trial(self._requests))
            except _NoBudget:
                raise ServiceDown(self._out_of_budget(None)) from None
            except RejectedRequest as fault:
                raise ServiceDown(f"{self._limits.place.url}: {fault}: {fault.said}") from None
            except _Lasting as fault:
                raise ServiceDown(self._down(fault)) from None
            self._ledger.pay(usage)
            self._taken = 0
            try:
                check(reply, self._requests)
                return
            except Unreadable as fault:
                if not left:
                    raise ServiceDown(f"{self._limits.place.url}, asked on trial {UNREADABLE} times: {fault}") from None

    def _down(self, fault: Exception) -> str:
        return (
            f"the service at {self._limits.place.url} does not answer (last: {fault}): what was judged is kept; the "
            f"same command goes on when it is back"
        )

    def _no_key(self, fault: RetryableError) -> str:
        place = self._limits.place
        if place.key() is None:
            return f"the service at {place.url} wants a key ({fault.reason}): put it into ${place.key_variable}"
        return (
            f"the service at {place.url} refuses the key in ${place.key_variable}, {DENIALS} times ({fault.reason}): "
            f"what was judged is kept; the same command goes on with another key"
        )

    def _out_of_budget(self, left: int | None) -> str:
        spent = self._limits.prices.of(self._ledger.spent) or 0.0
        rest = "" if left is None else f", {left:,} judgements are left"
        return (
            f"the budget of {self._limits.max_cost:g} is used up: {spent:.4g} spent in all with this judge{rest}; "
            f"what was judged is kept; the same command with a larger budget (max-cost) goes on"
        )


@contextlib.asynccontextmanager
async def _synced(ledger: Ledger) -> Any:
    """While the block runs, have the disk hold every reply within a second."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(SYNC)
            await asyncio.to_thread(ledger.sync)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
