"""A language model behind any OpenAI-compatible endpoint as judge: what makes it another judge, and how it is asked.

Two ways to get a number. `logprobs`: the expectation over number tokens among the 20 likeliest first tokens, as
published for GPT-4o. `integer`: one whole number in JSON by a schema, for models that give no log-probabilities.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from spillover.api_client.client import ApiLimits
from spillover.api_client.service import KeyVariable, ServiceAddress, ServiceURL
from spillover.judgements.judge import Answer, Batch, Judge, Score, Scoring
from spillover.judgements.judges.endpoint.costs import SECONDS_PER_CALL, Budget, Prices, estimated_work
from spillover.judgements.judges.endpoint.judge_client import JudgeClient
from spillover.judgements.judges.endpoint.ledger import Ledger
from spillover.judgements.judges.endpoint.replies import LEAST_MASS, TOP, Mode
from spillover.judgements.judges.endpoint.requests import Requests
from spillover.judgements.naming import name_and_options, with_options
from spillover.judgements.rubric import Rubrics
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.spec import encode, location_field
from spillover.store import ProgressFn, Store

OPENAI = "https://api.openai.com/v1"


class Endpoint(Judge):
    """A language model behind an OpenAI-compatible endpoint, asked for a number from 0 to 100."""

    # What makes it another judge
    model: str = Field(min_length=1, description="the model's name at the endpoint; one with a date stays what it is")
    mode: Mode = Field(
        default="logprobs", description="logprobs: expectation over number tokens; integer: by JSON schema"
    )
    rubrics: Rubrics = Field(default_factory=BuiltInRubrics)
    temperature: float | None = Field(default=None, ge=0, le=2, description="None: 0 with logprobs, else the service's")
    seed: int | None = Field(default=0, description="sent with each call; None: none is sent")
    effort: str | None = Field(default=None, description="reasoning_effort, where the model knows it")
    reply_tokens: int | None = Field(default=None, ge=1, description="longest reply; None: 1 with logprobs, else 256")
    served: str = Field(default="", description="how the model is served, where that makes it another: awq, provider x")

    # Where it is and how it is asked. None of it makes another judge: the address of one model changes from day to day
    # (a node, a port), and scores that are paid for are not to be lost by that. What makes it another is in `served`.
    base_url: ServiceURL = location_field(OPENAI)
    key_variable: KeyVariable = location_field("OPENAI_API_KEY")
    concurrency: int = location_field(8, ge=1, le=1000)
    requests_per_minute: float | None = location_field(None, gt=0)
    tokens_per_minute: float | None = location_field(None, gt=0)
    limit_as: Literal["max_tokens", "max_completion_tokens"] | None = location_field(None)  # its name of reply_tokens
    timeout: float = location_field(60.0, gt=0)  # seconds, of one call
    first_wait: float = location_field(1.0, gt=0)  # seconds, after a first fault; doubled after each more
    moved: bool = location_field(False)  # the service names another path, and the model is the same
    price_in: float | None = location_field(None, ge=0)  # of a million tokens
    price_out: float | None = location_field(None, ge=0)
    max_cost: float | None = location_field(None, gt=0)  # of all that this judge's ledger in a store may have cost

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise ValueError("max_cost needs price_in and price_out, of a million tokens read and written")
        return self

    @classmethod
    def typed(cls, text: str) -> Self:
        """`MODEL`, or `MODEL mode=integer base-url=http://localhost:8000/v1 max-cost=5`: the model, then options."""
        model, options = name_and_options(text, "endpoint:MODEL")
        judge = with_options(cls(model=model), options)
        assert isinstance(judge, cls)
        return judge

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What its rubrics score."""
        return self.rubrics.metrics

    @property
    def name(self) -> str:
        served = f" ({self.served})" if self.served else ""
        return f"endpoint/{self.version}.{self.fingerprint[:8]} {self.model}{served} by {self.mode}"

    @property
    def rubric(self) -> str:
        return self.rubrics.label

    def summary(self) -> str:
        return f"{self.model} behind an endpoint, asked for numbers ({self.mode}) by {self.rubrics.label}."

    def card(self) -> str:
        how = (
            f"the expectation over whole numbers among its {TOP} likeliest first tokens, missing where they hold less "
            f"than {LEAST_MASS:.0%} of the probability"
            if self.mode == "logprobs"
            else "one whole number in JSON; it says nothing of how sure the judge is"
        )
        return (
            f"The judge is a language model, {self.model}, asked over a network by the rubrics {self.rubrics.label}. A "
            f"score is {how}. Its agreement with people or with other judges is not known until it is measured. The "
            f"same name can stand for another model tomorrow or elsewhere; the manifest lists what the service said it "
            f"was. Answers were fenced in, so that none could change the rubric's text; what an answer says can still "
            f"sway a model that reads it."
        )

    def seconds_per_answer(self) -> float:
        paced = 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        return len(self.metrics) * max(SECONDS_PER_CALL / self.concurrency, paced)

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        """Asked anew at every call: nothing is kept. With a store, `at_work` keeps what was paid."""
        with self.at_work(None) as scoring:
            return scoring.score(answers, progress)

    @contextlib.contextmanager
    def at_work(self, store: Store | None) -> Iterator[Scoring]:
        about = {"judge": encode(self, identity=True), "rubrics": self.rubrics.texts()}
        with Ledger.open(self.ledger(store), about) as ledger:
            yield JudgeClient(self._requests(), self._limits(), self._budget(), ledger, self.moved)

    def estimate(self, batches: Iterable[Batch], store: Store | None) -> str:
        ledger = Ledger.peek(self.ledger(store))
        return estimated_work(batches, self._requests(), self._limits(), self._budget(), ledger)

    def price(self, answers: Sequence[Answer]) -> float | None:
        requests, prices = self._requests(), self._budget().prices
        costs = [prices.cost(requests.call(request).usage) for request in requests.about(answers)]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))

    def ledger(self, store: Store | None) -> Path | None:
        """Where a store keeps what this judge said: beside the artefacts, not among them."""
        return None if store is None else store.root / "ledgers" / f"{self.kind}-{self.fingerprint}.jsonl"

    def _requests(self) -> Requests:
        temperature = 0.0 if self.temperature is None and self.mode == "logprobs" else self.temperature
        limit = self.limit_as or ("max_tokens" if self.mode == "logprobs" else "max_completion_tokens")
        settings = {
            "temperature": temperature,
            "seed": self.seed,
            "reasoning_effort": self.effort,
            limit: self.reply_tokens or (1 if self.mode == "logprobs" else 256),
        }
        given = {name: value for name, value in settings.items() if value is not None}
        return Requests(self.fingerprint, self.rubrics, self.model, self.mode, given)

    def _limits(self) -> ApiLimits:
        address = ServiceAddress(self.base_url, self.key_variable, self.timeout)
        return ApiLimits(address, self.concurrency, self.requests_per_minute, self.tokens_per_minute, self.first_wait)

    def _budget(self) -> Budget:
        return Budget(Prices(self.price_in, self.price_out), self.max_cost)
