"""A judge over an endpoint at work: asks for what its ledger lacks, many at once, and reads scores from the ledger.

A reply is in the ledger before the next is asked for. One answer that the service cannot judge is missing with the
reason; a service that is down for all ends the work with what was judged kept.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

from spillover.api_client.client import TRIES, ApiClient, ApiLimits, CallFailed, NoMoreCalls, run
from spillover.api_client.served import NOTE as SERVED
from spillover.api_client.served import expect_same_model, expect_unchanged
from spillover.api_client.service import RejectedRequest, RetryableError, ServiceDown
from spillover.judgements.judge import UNLIKE_MODEL, Answer, Score, Scoring, unscored
from spillover.judgements.judges.endpoint.costs import Budget
from spillover.judgements.judges.endpoint.ledger import Ledger, Reply, Usage
from spillover.judgements.judges.endpoint.replies import Unreadable, parse_score, reported_usage
from spillover.judgements.judges.endpoint.requests import Call, Request, Requests
from spillover.store import ProgressFn

UNREADABLE = 3  # replies to one question that cannot be read, before the score is missing: they are paid
REJECTIONS = 20  # requests rejected in a row, none taken before: it is not the answers
KEPT = "scores"  # what the ledger holds
LOOK = 0.02  # seconds between two looks at whether calls that are under way left room in the budget


class JudgeClient(Scoring):
    """Scores from a ledger, and over the network what it lacks.

    moved: the service names another path for its model than the ledger does, and it is the same model.
    """

    def __init__(
        self, requests: Requests, limits: ApiLimits, budget: Budget, ledger: Ledger, moved: bool = False
    ) -> None:
        self._requests, self._budget, self._ledger, self._moved = requests, budget, ledger, moved
        self._client = ApiClient(limits, REJECTIONS)
        self._failed: dict[str, Score] = {}  # not in the ledger: another time the service may do better
        self._models: Counter[str] = Counter()
        self._used = Usage()
        self._tried = self._warned = False

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        requests = [request for request in self._requests.about(answers) if request.key not in self._ledger]
        if requests:
            run(self._ask_all(requests, progress))
        elif answers and not self._tried:
            run(expect_unchanged(self._client.limits.address, self._ledger, self._requests.model, self._moved, KEPT))
            self._tried = True
        scores = [self._scores(answer) for answer in answers]
        if len(self._models) > 1 and not self._warned:
            self._warned = True
            names = " and ".join(sorted(self._models))
            warnings.warn(f"scores are of unlike models, as the service names them: {names}", stacklevel=2)
        if answers:
            progress(1.0)
        return scores

    def facts(self) -> dict[str, object]:
        """Tokens and models behind the scores given so far, by what the service said; the rubrics' texts."""
        used = self._used
        return {
            "endpoint": {
                "calls": used.calls,
                "tokens_read": used.read,
                "tokens_written": used.written,
                "cost": self._budget.prices.cost(used),
                "reported_models": dict(sorted(self._models.items())),
                UNLIKE_MODEL: self._unlike_names(),
                "served_model": self._ledger.notes.get(SERVED),
                "rubric_texts": self._requests.rubrics.texts(),
            }
        }

    def _unlike_names(self) -> str:
        """What to tell of models that the service names otherwise than they were asked for; empty: nothing."""
        asked = self._requests.model
        unlike = {name: count for name, count in sorted(self._models.items()) if name != asked}
        named = ", ".join(f"{name} ({count:,})" for name, count in list(unlike.items())[:5])
        return f"asked for {asked}, the service says that scores are of {named}" if unlike else ""

    def _scores(self, answer: Answer) -> list[Score]:
        reason, scores = unscored(answer.answer), []
        for metric in self._requests.rubrics.metrics:
            key = self._requests.key(answer, metric)
            if reason is not None:
                scores.append(Score(metric, None, reason))
            elif key in self._failed:
                scores.append(self._failed[key])
            else:
                reply = self._ledger[key]
                self._used += reply.usage
                self._models[reply.model] += 1
                scores.append(reply.score)
        return scores

    async def _ask_all(self, requests: Sequence[Request], progress: ProgressFn) -> None:
        async with self._client.connected(self._ledger):
            if not self._tried:
                await self._try_service()
                name, service = self._requests.model, self._client.service
                await expect_same_model(service, self._ledger, name, self._moved, KEPT)
                self._tried = True
            left = await self._client.each(requests, self._ask, progress)
        if left:
            raise ServiceDown(self._out_of_budget(f", {left:,} judgements are left"))

    async def _ask(self, request: Request) -> None:
        """Ask until there is a score or a lasting reason for none; both are kept, unless the service failed."""
        call, metric = self._requests.call(request), request.metric
        for reading in range(1, UNREADABLE + 1):
            try:
                reply, usage = await self._reply(call)
            except RejectedRequest as fault:
                self._failed[request.key] = Score(metric, None, str(fault), raw=fault.message)
                return
            except CallFailed as fault:
                await self._expect_it_up(fault)
                reason = f"the service failed on it {TRIES} times (last: {fault})"
                self._failed[request.key] = Score(metric, None, reason)
                return
            try:
                score = parse_score(reply, metric, self._requests.mode)
            except Unreadable as fault:
                if reading < UNREADABLE:
                    self._ledger.pay(usage)
                    continue
                score = Score(metric, None, f"{fault}, asked {UNREADABLE} times")
            model = reply.get("model") if isinstance(reply, Mapping) else None
            self._ledger.add(request.key, Reply(score, usage, str(model)[:200]))
            return

    async def _reply(self, call: Call, tries: int | None = None) -> tuple[object, Usage]:
        """A reply and what it took, which the caller counts as spent; else an error as `ApiClient.call` raises it."""
        return await self._client.call(lambda: self._send(call), call.usage.read + call.usage.written, tries)

    async def _send(self, call: Call) -> tuple[object, Usage]:
        """Post it once there is room in the budget; NoMoreCalls where there will be none."""
        while not self._budget.allows(self._ledger.spent, call.usage):
            if not self._budget.waits:
                raise NoMoreCalls
            await asyncio.sleep(LOOK)
        self._budget.begin(call.usage)
        try:
            reply = await self._client.post(call.body)
        except RetryableError as fault:
            if fault.paid:
                self._ledger.pay(call.usage)
            raise
        finally:
            self._budget.end(call.usage)
        usage = reported_usage(reply, call.usage)
        self._budget.learn(call.usage, usage)
        return reply, usage

    async def _expect_it_up(self, fault: CallFailed) -> None:
        """ServiceDown, unless the service takes another question now: then the fault was one answer's own."""
        try:
            _, usage = await self._reply(self._requests.trial(), tries=2)
        except (CallFailed, RejectedRequest):
            raise self._client.down(fault) from None
        self._ledger.pay(usage)

    async def _try_service(self) -> None:
        """A question to see whether the service gives what the mode needs, before answers are asked about."""
        url = self._client.limits.address.url
        for reading in range(1, UNREADABLE + 1):
            try:
                reply, usage = await self._reply(self._requests.trial())
            except NoMoreCalls:
                raise ServiceDown(self._out_of_budget()) from None
            except RejectedRequest as fault:
                other = self._requests.with_other_limit(fault.message)
                if other is not None and reading < UNREADABLE:
                    self._requests = other
                    continue
                raise ServiceDown(f"{url}: {fault}: {fault.message}") from None
            except CallFailed as fault:
                raise self._client.down(fault) from None
            self._ledger.pay(usage)
            self._client.taken = 0  # that it takes this question says nothing of the answers'
            try:
                self._requests.check_trial(reply)
                return
            except Unreadable as fault:
                if reading == UNREADABLE:
                    raise ServiceDown(f"{url}, asked on trial {UNREADABLE} times: {fault}") from None

    def _out_of_budget(self, left: str = "") -> str:
        spent = self._budget.prices.cost(self._ledger.spent) or 0.0
        return (
            f"the budget of {self._budget.limit:g} is used up: {spent:.4g} spent in all with this judge{left}; what "
            f"was judged is kept; the same command with a larger budget (max-cost) goes on"
        )
