"""What judging costs: estimated before the first call, held to a budget, counted by the service. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass

from spillover.judgements.judges.endpoint.ledger import Usage

MILLION = 1e6
PER_CALL = 24  # tokens that a chat template adds, about
SECONDS_PER_CALL = 1.0  # before anything was measured


def tokens_in(text: str) -> int:
    """Tokens of a text, about: a quarter of its bytes."""
    return len(text.encode("utf-8", "replace")) // 4 + PER_CALL


@dataclass(frozen=True)
class Prices:
    """Of a million tokens read and written, in the currency of your bill; None where not known."""

    read: float | None
    written: float | None

    def of(self, usage: Usage) -> float | None:
        """What so many tokens cost."""
        if self.read is None or self.written is None:
            return None
        return (usage.read * self.read + usage.written * self.written) / MILLION


class Budget:
    """Holds what is spent, with what is under way, below a limit. `spent` comes from the ledger."""

    def __init__(self, prices: Prices, limit: float | None) -> None:
        self.prices, self.limit = prices, limit
        self._under_way = Usage()
        self._stretch = 1.0  # the most that a call took beyond its estimate, so far

    def allows(self, spent: Usage, call: Usage) -> bool:
        """Whether one more call keeps within the limit, even were it as far off its estimate as the worst so far."""
        if self.limit is None:
            return True
        upcoming = self._under_way + call
        cost, coming = self.prices.of(spent), self.prices.of(upcoming)
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
        self._under_way += Usage(-call.read, -call.written, -call.calls)

    def learn(self, call: Usage, took: Usage) -> None:
        """What a call took, beside its estimate."""
        estimated, cost = self.prices.of(call), self.prices.of(took)
        if estimated and cost:
            self._stretch = max(self._stretch, cost / estimated)
