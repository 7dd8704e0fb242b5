"""How a service is asked, and what that will take: calls, tokens, cost, time. Knows no network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spillover.judgements.judge import Batch
from spillover.judgements.judges.endpoint.costs import SECONDS_PER_CALL, Prices
from spillover.judgements.judges.endpoint.ledger import Ledger, Usage
from spillover.judgements.judges.endpoint.request import Requests
from spillover.serving.service import ServiceAddress


@dataclass(frozen=True)
class ApiLimits:
    """How a service is asked; changes no score. Prices are of a million tokens, waits and times are in seconds."""

    place: ServiceAddress
    concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    first_wait: float
    prices: Prices
    max_cost: float | None

    def seconds(self, usage: Usage) -> float:
        """How long so many calls take, about."""
        at_once = usage.calls * SECONDS_PER_CALL / self.concurrency
        by_calls = 60 * usage.calls / self.requests_per_minute if self.requests_per_minute else 0.0
        by_tokens = 60 * (usage.read + usage.written) / self.tokens_per_minute if self.tokens_per_minute else 0.0
        return max(at_once, by_calls, by_tokens)


def foreseen(lots: Iterable[Batch], requests: Requests, limits: ApiLimits, ledger: Ledger) -> str:
    """What judging the answers will take beyond what the ledger has, in one line for people."""
    usage, seen, kept = Usage(), set(), 0
    for lot in lots:
        for request in requests.of(lot.answers):
            if request.key in seen:
                continue
            seen.add(request.key)
            if request.key in ledger:
                kept += lot.times
            else:
                usage += requests.call(request).usage.times(lot.times)
    there = f"; {kept:,} more are in the ledger already" if kept else ""
    seconds = limits.seconds(usage)
    time = f"{seconds / 60:,.0f} min" if seconds > 90 else f"{seconds:.0f} s"
    return (
        f"{usage.calls:,} calls to {limits.place.url}{there}; about {usage.read:,} tokens to read and "
        f"{usage.written:,} to write; {_cost(usage, limits, ledger)}; about {time} at {limits.concurrency} at once"
    )


def _cost(usage: Usage, limits: ApiLimits, ledger: Ledger) -> str:
    cost, before = limits.prices.of(usage), limits.prices.of(ledger.spent)
    if cost is None:
        return "cost not known (price-in and price-out are not given)"
    limit = "" if limits.max_cost is None else f", at most {limits.max_cost:g} in all"
    return f"about {cost:.4g} to pay" + (f" after {before:.4g}" if before else "") + limit
