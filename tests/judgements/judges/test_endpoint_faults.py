"""A judge over an endpoint: right scores whatever faults come, nothing paid twice, and one message where it ends."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from spillover.api_client import client, service
from spillover.api_client.service import ServiceDown
from spillover.judgements.judge import Answer
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.judgements.judges.endpoint.ledger import Ledger
from spillover.store import Store

from .endpoints import KEY, Serve, answers, judge, paid, score_in
from .faulty_server import BODIES, FAULTS, INTEGER_TEXTS, Script, bomb

pytestmark = pytest.mark.usefixtures("no_key")


@pytest.mark.parametrize("mode", ["logprobs", "integer"])
def test_faults_change_no_score_and_nothing_is_paid_twice(mode: Any, serve: Serve) -> None:
    faults = (*FAULTS, *(INTEGER_TEXTS if mode == "integer" else ()))
    faults = tuple(fault for fault in faults if fault != "silence")  # takes its time: below, and in the slow test
    sound, faulty = Script(), Script(share=0.3, faults=faults, seed=3)
    given = answers(60)
    expected = judge(serve(sound), mode=mode).score(given)
    assert judge(serve(faulty), mode=mode, concurrency=32).score(given) == expected
    assert all(scores[0].score is not None for scores in expected)
    assert set(paid(faulty).values()) == {1} and len(paid(faulty)) == 60
    assert sum(faulty.given.values()) > 12


@pytest.mark.parametrize("fault", [*FAULTS, *INTEGER_TEXTS])
def test_each_fault_is_overcome(fault: str, serve: Serve) -> None:
    mode: Any = "integer" if fault in INTEGER_TEXTS else "logprobs"
    script = Script(share=1.0, faults=(fault,))
    endpoint = judge(serve(script), mode=mode, timeout=0.3 if fault == "silence" else 30.0)
    assert all(scores[0].score is not None for scores in endpoint.score(answers(2)))
    given = script.given[fault]  # twice before the trial, and before each answer
    assert given == 6 or (fault == "silence" and given > 6)  # a busy machine keeps silent by itself, too


@pytest.mark.parametrize("body", BODIES)
def test_a_body_is_read_up_to_a_bound(body: str, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_BYTES", 1 << 20)
    monkeypatch.setitem(FAULTS, body, BODIES[body])
    bomb()
    script = Script(share=1.0, faults=(body,))
    tracemalloc.start()
    try:
        scored = judge(serve(script)).score(answers(2))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(scores[0].score is not None for scores in scored) and script.given[body] == 6
    assert most < 160 << 20  # a piece as sent may unpack to 64 MiB at once


def test_what_lasts_is_a_reason_of_that_answer_alone(serve: Serve) -> None:
    script = Script()
    words = ("refuses", "scrawls", "is too long", "breaks the server", "is fine")
    given = [Answer("Why?", f"This answer {word}.") for word in words]
    for mode in ("logprobs", "integer"):
        reasons = [scores[0].missing for scores in judge(serve(script), mode=mode).score(given)]
        assert reasons[4] is None
        assert reasons[2] == "the service refuses the request (400)"
        assert reasons[3] == "the service failed on it 8 times (last: status 500)"
        if mode == "logprobs":
            assert reasons[0] == reasons[1] and "under a quarter" in str(reasons[0])
        else:
            assert reasons[0] == reasons[1] == "a reply that is not the JSON asked for, asked 3 times"


def test_no_more_at_once_than_allowed(serve: Serve) -> None:
    script = Script(seconds=0.01)
    judge(serve(script), concurrency=3).score(answers(15))
    assert script.most_busy == 3


def test_a_wait_that_the_service_asks_for_holds_all(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(share=1.0, faults=("429 wait",))
    monkeypatch.setitem(FAULTS, "429 wait", lambda good: (429, {"retry-after": "0.2"}, b""))
    judge(serve(script), concurrency=1).score(answers(1))
    gaps = [later - sooner for sooner, later in zip(script.at, script.at[1:], strict=False)]
    assert [gap >= 0.19 for gap in gaps] == [True, True, False, True, True]  # after each 429, and only then
    monkeypatch.setitem(FAULTS, "429 wait", lambda good: (429, {"retry-after": "90000"}, b""))
    with pytest.raises(ServiceDown, match=r"asks to wait for 1500 minutes .* is kept"):
        judge(serve(Script(share=1.0, faults=("429 wait",)))).score(answers(1))


def test_three_refused_keys_stop_it_and_no_text_holds_the_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    script.key = "another"
    server = serve(script)
    with pytest.raises(ServiceDown, match=r"wants a key \(the key is refused \(401\)\): put it into \$OPENAI_API_KEY"):
        judge(server).score(answers(9))
    assert len(script.at) == 3 and script.keys == [None] * 3
    monkeypatch.setenv("MY_KEY", KEY)
    with pytest.raises(ServiceDown, match=r"refuses the key in \$MY_KEY, 3 times") as caught:
        judge(server, key_variable="MY_KEY").score(answers(9))
    assert KEY not in str(caught.value) and len(script.at) == 6
    script.key = KEY
    assert judge(server, key_variable="MY_KEY").score(answers(1))[0][0].score is not None


def test_a_key_is_refused_in_the_middle(serve: Serve, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    script = Script()
    script.key = KEY
    script.heard = lambda digest: setattr(script, "key", "gone" if script.right.total() >= 5 else KEY)
    endpoint = judge(serve(script), concurrency=1)
    with pytest.raises(ServiceDown, match="is kept; the same command goes on with another key"):
        score_in(endpoint, store, answers(20))
    assert len(Ledger.peek(endpoint.ledger(store))) == 4
    assert KEY not in (endpoint.ledger(store) or Path()).read_text() + endpoint.to_json()


@pytest.mark.parametrize("key", ["sk-ünï", "sk two words", "sk\x01"])
def test_a_key_that_is_none_is_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match=r"\$OPENAI_API_KEY holds characters") as caught:
        Endpoint(model="m", base_url="http://127.0.0.1:9/v1").score(answers(1))
    assert key not in str(caught.value)


def test_what_a_server_says_is_scrubbed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    body = json.dumps({"error": {"message": f"bad header Bearer {KEY}"}}).encode()
    monkeypatch.setitem(FAULTS, "400", lambda good: (400, {}, body))
    with pytest.raises(ServiceDown, match=r"refuses the request \(400\): bad header Bearer \*\*\*"):
        judge(serve(Script(share=1.0, faults=("400",)))).score(answers(1))


def test_a_model_without_logprobs_is_told_and_no_other_way_is_taken(serve: Serve) -> None:
    script = Script()
    script.logprobs = False
    server = serve(script)
    with pytest.raises(ServiceDown, match=r"no log-probabilities, and mode logprobs needs them: take mode integer"):
        judge(server).score(answers(5))
    assert len(script.at) == 3 and all("logprobs" in body for body in script.bodies)
    assert judge(server, mode="integer").score(answers(1))[0][0].score is not None


def test_numbers_in_single_digits_and_too_few_logprobs_are_told(serve: Serve) -> None:
    script = Script()
    script.digits = True
    with pytest.raises(ServiceDown, match=r"writes numbers digit by digit.*take mode integer.*or a local judge"):
        judge(serve(script)).score(answers(5))
    script.digits, script.top = False, 5
    with pytest.raises(ServiceDown, match=r"gives 5 log-probabilities of the 20"):
        judge(serve(script)).score(answers(5))
    assert len(script.at) == 2  # nothing but the trial was asked


@pytest.mark.parametrize(
    "status,message", [(404, "look at base-url and model"), (301, "look at base-url"), (402, "be paid")]
)
def test_what_cannot_pass_ends_it_at_once(
    status: int, message: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAULTS, "final", lambda good: (status, {}, b"no such model"))
    script = Script(share=1.0, faults=("final",))
    with pytest.raises(ServiceDown, match=message):
        judge(serve(script)).score(answers(5))
    assert len(script.at) == 1


def test_no_quota_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}).encode()
    monkeypatch.setitem(FAULTS, "quota", lambda good: (429, {}, body))
    with pytest.raises(ServiceDown, match="asks to be paid"):
        judge(serve(Script(share=1.0, faults=("quota",)))).score(answers(5))


def test_an_outage_loses_nothing(serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TRIES", 3)
    script = Script()
    script.heard = lambda digest: setattr(script, "share", 1.0 if script.right.total() >= 11 else 0.0)
    script.faults = ("500",)
    monkeypatch.setattr("judgements.judges.faulty_server.MOST", 10**9, raising=False)
    script.fault = lambda prompt: "500" if script.share else None  # type: ignore[method-assign]
    endpoint = judge(serve(script), concurrency=2)
    with pytest.raises(ServiceDown, match=r"does not answer \(last: status 500\): what came is kept"):
        score_in(endpoint, store, answers(30))
    kept = len(Ledger.peek(endpoint.ledger(store)))
    assert 10 <= kept <= 12
    script.share, script.heard = 0.0, lambda digest: None
    scored = score_in(endpoint, store, answers(30))
    assert all(scores[0].score is not None for scores in scored) and set(paid(script).values()) == {1}


def test_no_server_at_all_is_one_message() -> None:
    endpoint = Endpoint(model="m", base_url="http://127.0.0.1:9/v1", first_wait=0.001)
    with pytest.raises(ServiceDown, match=r"127.0.0.1:9/v1 does not answer \(last: no connection"):
        endpoint.score(answers(1))


def test_waits_that_never_end_do_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_HOLD", 0.1)
    monkeypatch.setitem(FAULTS, "429 wait", lambda good: (429, {"retry-after": "0.03"}, b""))
    script = Script()
    script.fault = lambda prompt: "429 wait"  # type: ignore[method-assign]
    with pytest.raises(ServiceDown, match="asks to wait"):
        judge(serve(script)).score(answers(1))


def test_a_service_that_changes_its_model_is_told(serve: Serve, store: Store) -> None:
    script = Script()
    endpoint = judge(serve(script))
    score_in(endpoint, store, answers(2))
    script.model = "scripted-2027"
    with pytest.warns(UserWarning, match=r"unlike models.*: scripted-2026-11-25 and scripted-2027"):
        score_in(endpoint, store, answers(4))
