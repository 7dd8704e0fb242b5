"""A judge over an endpoint: what was paid is kept, the budget too, and the estimate comes close."""

from __future__ import annotations

import pytest

from spillover.api_client.service import ServiceDown
from spillover.judgements.judge import Batch
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.judgements.judges.endpoint.ledger import Ledger
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.store import Store

from .endpoints import Serve, answers, judge, paid, score_in
from .faulty_server import Script

pytestmark = pytest.mark.usefixtures("no_key")


def test_what_is_in_the_ledger_is_not_asked_again(serve: Serve, store: Store) -> None:
    script = Script()
    endpoint = judge(serve(script))
    first = score_in(endpoint, store, answers(10))
    asked = len(script.at)
    assert score_in(endpoint, store, answers(10)) == first and len(script.at) == asked  # not even on trial
    assert score_in(endpoint, store, answers(12))[:10] == first and len(paid(script)) == 12
    elsewhere = endpoint.but(base_url=serve(script).url, concurrency=2, max_cost=9, price_in=1, price_out=1)
    assert elsewhere == endpoint and score_in(elsewhere, store, answers(12))[:10] == first and len(paid(script)) == 12
    other = endpoint.but(seed=1)
    assert other != endpoint and other.ledger(store) != endpoint.ledger(store)
    assert [path for path, wrong in store.verify()] == [] and list(store.manifests()) == []


def test_stopped_by_the_user_and_gone_on(serve: Serve, store: Store) -> None:
    script = Script()

    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    endpoint = judge(serve(script), concurrency=4)
    with pytest.raises(KeyboardInterrupt):
        score_in(endpoint, store, answers(20), stop)
    assert len(Ledger.peek(endpoint.ledger(store))) >= 10
    score_in(endpoint, store, answers(20))
    assert len(paid(script)) == 20 and sum(paid(script).values()) <= 24


def cost_of(script: Script, endpoint: Endpoint) -> float:
    """What the server counted, in the judge's prices."""
    counted = [len(body["messages"][0]["content"]) // 4 + 20 for body in script.bodies]
    return sum(counted) * (endpoint.price_in or 0) / 1e6 + len(counted) * (endpoint.price_out or 0) / 1e6


def test_the_budget_is_kept_and_what_was_done_too(serve: Serve, store: Store) -> None:
    script = Script()
    endpoint = judge(serve(script), price_in=2.0, price_out=8.0, max_cost=0.01)
    with pytest.raises(ServiceDown, match=r"the budget of 0.01 is used up: .* judgements are left; .*max-cost"):
        score_in(endpoint, store, answers(60))
    done = len(Ledger.peek(endpoint.ledger(store)))
    assert 8 <= done < 60 and 0.008 < cost_of(script, endpoint) <= 0.01
    before = len(script.at)
    with pytest.raises(ServiceDown, match="used up"):  # it counts what was spent before: in all
        score_in(endpoint, store, answers(60))
    assert cost_of(script, endpoint) <= 0.01 and len(script.at) - before <= 1
    scored = score_in(endpoint.but(max_cost=1.0), store, answers(60))
    assert all(scores[0].score is not None for scores in scored) and set(paid(script).values()) == {1}


def test_replies_that_cannot_be_read_are_paid_from_the_budget(serve: Serve) -> None:
    script = Script(share=1.0, faults=("null logprobs",))
    endpoint = judge(serve(script), price_in=2.0, price_out=8.0, max_cost=0.01, concurrency=1)
    with pytest.raises(ServiceDown, match="used up"):
        endpoint.score(answers(60))
    assert cost_of(script, endpoint) <= 0.01


def test_the_estimate_comes_close_and_makes_nothing(serve: Serve, store: Store) -> None:
    script = Script()
    endpoint = judge(serve(script), rubrics=BuiltInRubrics(), price_in=2.0, price_out=8.0, max_cost=5, concurrency=4)
    estimate = endpoint.estimate([Batch(answers(10)), Batch(answers(20))], store)
    assert (
        estimate.startswith(f"60 calls to {endpoint.base_url}; about ")
        and "at most 5 in all" in estimate
        and not script.at
    )
    assert not (store.root / "ledgers").exists()
    score_in(endpoint, store, answers(20))
    tokens = int(estimate.split("about ")[1].split()[0].replace(",", ""))
    counted = sum(len(body["messages"][0]["content"]) // 4 + 20 for body in script.bodies)
    assert abs(tokens / counted - 1) < 0.1
    again = endpoint.estimate([Batch(answers(30))], store)
    assert again.startswith("30 calls") and "60 more are in the ledger already" in again
    assert "cost not known" in endpoint.but(price_in=None, max_cost=None).estimate([Batch(answers(1))], None)
    slow = endpoint.but(requests_per_minute=2, tokens_per_minute=None)
    assert "about 30 min" in slow.estimate([Batch(answers(20))], None)
