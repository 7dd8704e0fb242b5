"""What judging costs: estimated before the first call, held to a budget, counted by the service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spillover.api_client.client import ApiLimits
from spillover.judgements.judge import Batch
from spillover.judgements.judges.endpoint.ledger import Ledger, Usage
from spillover.judgements.judges.endpoint.requests import Requests

MILLION = 1e6
SECONDS_PER_CALL = 1.0  # before anything was measured


@dataclass(frozen=True)
class Prices:
    """Of a million tokens read and written, in the currency of your bill; None where not known."""

    read: float | None
    written: float | None

    def cost(self, usage: Usage) -> float | None:
        """What so many tokens cost; None where a price is not known."""
        if self.read is None or self.written is None:
            return None
        return (usage.read * self.read + usage.written * self.written) / MILLION


class Budget:
    """Holds what is spent, with what is under way, below a limit. What is spent comes from the ledger.

    limit: of all that the ledger may have cost; None: none, and prices need not be known.
    """

    def __init__(self, prices: Prices, limit: float | None) -> None:
        self.prices, self.limit = prices, limit
        self._under_way = Usage()
        self._stretch = 1.0  # the most that a call took beyond its estimate, so far

    def allows(self, spent: Usage, call: Usage) -> bool:
        """Whether one more call keeps within the limit, even were it as far off its estimate as the worst so far."""
        if self.limit is None:
            return True
        cost, coming = self.prices.cost(spent), self.prices.cost(self._under_way + call)
        assert cost is not None and coming is not None  # a limit without prices is refused by the judge
        return cost + coming * self._stretch <= self.limit

    @property
    def waits(self) -> bool:
        """Whether calls are under way, which may come cheaper than was set aside for them."""
        return self._under_way.calls > 0

    def begin(self, call: Usage) -> None:
        """A call goes out."""
        self._under_way += call

    def end(self, call: Usage) -> None:
        """It came back, or never will."""
        self._under_way += call.times(-1)

    def learn(self, call: Usage, took: Usage) -> None:
        """What a call took, beside its estimate."""
        estimated, cost = self.prices.cost(call), self.prices.cost(took)
        if estimated and cost:
            self._stretch = max(self._stretch, cost / estimated)


def estimated_work(
    batches: Iterable[Batch], requests: Requests, limits: ApiLimits, budget: Budget, ledger: Ledger
) -> str:
    """What judging the answers will take beyond what the ledger has, in one line for people."""
    usage, seen, there = Usage(), set(), 0
    for batch in batches:
        for request in requests.about(batch.answers):
            if request.key in seen:
                continue
            seen.add(request.key)
            if request.key in ledger:
                there += batch.times
            else:
                usage += requests.call(request).usage.times(batch.times)
    seconds = _seconds(usage, limits)
    return (
        f"{usage.calls:,} calls to {limits.address.url}"
        + (f"; {there:,} more are in the ledger already" if there else "")
        + f"; about {usage.read:,} tokens to read and {usage.written:,} to write; {_cost(usage, budget, ledger)}; "
        + (f"about {seconds / 60:,.0f} min" if seconds > 90 else f"about {seconds:.0f} s")
        + f" at {limits.concurrency} at once"
    )


def _seconds(usage: Usage, limits: ApiLimits) -> float:
    at_once = usage.calls * SECONDS_PER_CALL / limits.concurrency
    by_calls = 60 * usage.calls / limits.requests_per_minute if limits.requests_per_minute else 0.0
    by_tokens = 60 * (usage.read + usage.written) / limits.tokens_per_minute if limits.tokens_per_minute else 0.0
    return max(at_once, by_calls, by_tokens)


def _cost(usage: Usage, budget: Budget, ledger: Ledger) -> str:
    cost, before = budget.prices.cost(usage), budget.prices.cost(ledger.spent)
    if cost is None:
        return "cost not known (price-in and price-out are not given)"
    limit = "" if budget.limit is None else f", at most {budget.limit:g} in all"
    return f"about {cost:.4g} to pay" + (f" after {before:.4g}" if before else "") + limit
