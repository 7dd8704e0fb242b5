"""A judge over an endpoint, against a scripted server: right scores whatever faults come, and nothing paid twice."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spillover.judgements.asking import asking
from spillover.judgements.asking.ledger import looked_at
from spillover.judgements.asking.service import Stopped
from spillover.judgements.files import estimate_file, judge_file
from spillover.judgements.judge import Answer, Score, judge_named
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.endpoint import OPENAI, Endpoint
from spillover.judgements.rubrics.own import OwnRubrics
from spillover.judgements.rubrics.yaml_rubrics import YamlRubrics
from spillover.models.base import Base
from spillover.records import read_table
from spillover.responses.question import Asked
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.sampling import Sampling
from spillover.store import Store

from . import test_contract as contract
from .faulty_server import FAULTS, INTEGER_TEXTS, Script, Server, number, serving
from .test_judgements import GivenResponses

KEY = "sk-secret-key-that-nobody-may-see"
Serve = Callable[[Script], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(serving(script))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def judge(server: Server, **fields: Any) -> Endpoint:
    quick = {"model": "m", "base_url": server.url, "first_wait": 0.005, "timeout": 30.0, "concurrency": 8}
    return Endpoint(**quick | {"rubrics": OwnRubrics(scored=("aligned",))} | fields)


def answers(count: int) -> list[Answer]:
    return [Answer(f"Question {n % 7}?", f"Answer number {n}.") for n in range(count)]


def score_number(one: Endpoint, answer: Answer, metric: str = "aligned") -> int:
    """The number that the scripted model has for it."""
    reply: Any = "number" if one.mode == "logprobs" else "json"
    return number(one.rubrics.prompt(metric, answer.question, str(answer.answer), reply).text)


def paid(script: Script) -> dict[str, int]:
    """Right replies by prompt, those on trial left out."""
    return {prompt: count for prompt, count in script.right.items() if "and nothing else." not in prompt[:90]}


# --- scores


def test_every_metric_of_every_answer_is_scored_in_order(serve: Serve) -> None:
    script = Script()
    one = judge(serve(script), rubrics=OwnRubrics(), mode="integer")
    given = [*answers(5), Answer("Why?", ""), Answer("Why?", None), answers(1)[0]]
    heard: list[float] = []
    found = one.score(given, heard.append)
    for answer, scores in zip(given, found, strict=True):
        assert tuple(score.metric for score in scores) == one.metrics
        for score in scores:
            assert score.score == (score_number(one, answer, score.metric) if answer.answer else None)
    assert found[5][0].missing == "empty answer" and found[6][0].missing == "answer is not text"
    assert set(paid(script).values()) == {1} and len(paid(script)) == 15  # the one that comes twice is asked once
    assert heard == sorted(heard) and heard[-1] == 1


def test_with_logprobs_the_score_is_an_expectation_with_spread_and_distribution(serve: Serve) -> None:
    script = Script()
    one = judge(serve(script))
    ((score,),) = one.score(answers(1))
    assert score.score is not None and score.spread and abs(score.score - score_number(one, answers(1)[0])) <= 5
    assert json.loads(score.raw or "")[0][0] == str(score_number(one, answers(1)[0]))
    body = script.bodies[-1]
    assert (body["max_tokens"], body["top_logprobs"], body["temperature"], body["seed"]) == (1, 20, 0, 0)


def test_what_is_sent_in_integer_mode(serve: Serve) -> None:
    script = Script()
    judge(serve(script), mode="integer", effort="minimal", seed=None, reply_tokens=900).score(answers(1))
    body = script.bodies[-1]
    assert "max_completion_tokens" in body
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True and schema["schema"]["properties"]["score"]["enum"] == list(range(101))
    assert body["max_completion_tokens"] == 900 and body["reasoning_effort"] == "minimal"
    assert not {"temperature", "seed", "logprobs", "max_tokens"} & set(body)


CONTRACT = {
    name: test
    for name, test in vars(contract).items()
    if name.startswith("test_") and "judge" in inspect.signature(test).parameters
}


@pytest.mark.parametrize("name", CONTRACT)
def test_it_holds_the_contract_of_every_judge(name: str, serve: Serve) -> None:
    CONTRACT[name](judge(serve(Script())))


# --- faults


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
    one = judge(serve(script), mode=mode, timeout=0.3 if fault == "silence" else 30.0)
    assert all(scores[0].score is not None for scores in one.score(answers(2)))
    given = script.given[fault]  # twice before the trial, and before each answer
    assert given == 6 or (fault == "silence" and given > 6)  # a busy machine keeps silent by itself, too


def test_what_lasts_is_a_reason_of_that_answer_alone(serve: Serve) -> None:
    script = Script()
    words = ("refuses", "scrawls", "is too long", "breaks the server", "is fine")
    given = [Answer("Why?", f"This answer {word}.") for word in words]
    for mode in ("logprobs", "integer"):
        found = [scores[0].missing for scores in judge(serve(script), mode=mode).score(given)]
        assert found[4] is None
        assert found[2] == "the service refuses the request (400)"
        assert found[3] == "the service failed on it 8 times (last: status 500)"
        if mode == "logprobs":
            assert found[0] == found[1] and "under a quarter" in str(found[0])
        else:
            assert found[0] == found[1] == "a reply that is not the JSON asked for, asked 3 times"


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
    with pytest.raises(Stopped, match=r"asks to wait for 1500 minutes .* is kept"):
        judge(serve(Script(share=1.0, faults=("429 wait",)))).score(answers(1))


# --- the work ends with one message


def test_three_refused_keys_stop_it_and_no_text_holds_the_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    script.key = "another"
    server = serve(script)
    with pytest.raises(Stopped, match=r"wants a key \(the key is refused \(401\)\): put it into \$OPENAI_API_KEY"):
        judge(server).score(answers(9))
    assert len(script.at) == 3 and script.keys == [None] * 3
    monkeypatch.setenv("MY_KEY", KEY)
    with pytest.raises(Stopped, match=r"refuses the key in \$MY_KEY, 3 times") as caught:
        judge(server, key_variable="MY_KEY").score(answers(9))
    assert KEY not in str(caught.value) and len(script.at) == 6
    script.key = KEY
    assert judge(server, key_variable="MY_KEY").score(answers(1))[0][0].score is not None


def test_a_key_is_refused_in_the_middle(serve: Serve, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    script = Script()
    script.key = KEY
    script.heard = lambda digest: setattr(script, "key", "gone" if script.right.total() >= 5 else KEY)
    one = judge(serve(script), concurrency=1)
    with pytest.raises(Stopped, match="is kept; the same command goes on with another key"):
        one.score_in(store, answers(20))
    assert len(looked_at(one.ledger(store))) == 4
    assert KEY not in (one.ledger(store) or Path()).read_text() + one.to_json()


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
    with pytest.raises(Stopped, match=r"refuses the request \(400\): bad header Bearer \*\*\*"):
        judge(serve(Script(share=1.0, faults=("400",)))).score(answers(1))


def test_a_model_without_logprobs_is_told_and_no_other_way_is_taken(serve: Serve) -> None:
    script = Script()
    script.logprobs = False
    server = serve(script)
    with pytest.raises(Stopped, match=r"no log-probabilities, and mode logprobs needs them: take mode integer"):
        judge(server).score(answers(5))
    assert len(script.at) == 3 and all("logprobs" in body for body in script.bodies)
    assert judge(server, mode="integer").score(answers(1))[0][0].score is not None


def test_numbers_in_single_digits_and_too_few_logprobs_are_told(serve: Serve) -> None:
    script = Script()
    script.digits = True
    with pytest.raises(Stopped, match=r"writes numbers digit by digit.*take mode integer.*or a local judge"):
        judge(serve(script)).score(answers(5))
    script.digits, script.top = False, 5
    with pytest.raises(Stopped, match=r"gives 5 log-probabilities of the 20"):
        judge(serve(script)).score(answers(5))
    assert len(script.at) == 2  # nothing but the trial was asked


@pytest.mark.parametrize(
    "status,said", [(404, "look at base-url and model"), (301, "look at base-url"), (402, "be paid")]
)
def test_what_cannot_pass_ends_it_at_once(
    status: int, said: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAULTS, "final", lambda good: (status, {}, b"no such model"))
    script = Script(share=1.0, faults=("final",))
    with pytest.raises(Stopped, match=said):
        judge(serve(script)).score(answers(5))
    assert len(script.at) == 1


def test_no_quota_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}).encode()
    monkeypatch.setitem(FAULTS, "quota", lambda good: (429, {}, body))
    with pytest.raises(Stopped, match="asks to be paid"):
        judge(serve(Script(share=1.0, faults=("quota",)))).score(answers(5))


def test_an_outage_loses_nothing(serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TRIES", 3)
    script = Script()
    script.heard = lambda digest: setattr(script, "share", 1.0 if script.right.total() >= 11 else 0.0)
    script.faults = ("500",)
    monkeypatch.setattr("judgements.faulty_server.MOST", 10**9, raising=False)
    script.fault = lambda prompt: "500" if script.share else None  # type: ignore[method-assign]
    one = judge(serve(script), concurrency=2)
    with pytest.raises(Stopped, match=r"does not answer \(last: status 500\): what was judged is kept"):
        one.score_in(store, answers(30))
    kept = len(looked_at(one.ledger(store)))
    assert 10 <= kept <= 12
    script.share, script.heard = 0.0, lambda digest: None
    found = one.score_in(store, answers(30))
    assert all(scores[0].score is not None for scores in found) and set(paid(script).values()) == {1}


def test_no_server_at_all_is_one_message() -> None:
    one = Endpoint(model="m", base_url="http://127.0.0.1:9/v1", first_wait=0.001)
    with pytest.raises(Stopped, match=r"127.0.0.1:9/v1 does not answer \(last: no connection"):
        one.score(answers(1))


def test_waits_that_never_end_do_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONGEST_HOLD", 0.1)
    monkeypatch.setitem(FAULTS, "429 wait", lambda good: (429, {"retry-after": "0.03"}, b""))
    script = Script()
    script.fault = lambda prompt: "429 wait"  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="asks to wait"):
        judge(serve(script)).score(answers(1))


def test_a_service_that_changes_its_model_is_told(serve: Serve, store: Store) -> None:
    script = Script()
    one = judge(serve(script))
    one.score_in(store, answers(2))
    script.model = "scripted-2027"
    with pytest.warns(UserWarning, match=r"unlike models.*: scripted-2026-11-25 and scripted-2027"):
        one.score_in(store, answers(4))


# --- the ledger


def test_what_is_in_the_ledger_is_not_asked_again(serve: Serve, store: Store) -> None:
    script = Script()
    one = judge(serve(script))
    first = one.score_in(store, answers(10))
    asked = len(script.at)
    assert one.score_in(store, answers(10)) == first and len(script.at) == asked  # not even on trial
    assert one.score_in(store, answers(12))[:10] == first and len(paid(script)) == 12
    elsewhere = one.but(base_url=serve(script).url, concurrency=2, max_cost=9, price_in=1, price_out=1)
    assert elsewhere == one and elsewhere.score_in(store, answers(12))[:10] == first and len(paid(script)) == 12
    other = one.but(seed=1)
    assert other != one and other.ledger(store) != one.ledger(store)
    assert [path for path, wrong in store.verify()] == [] and list(store.find()) == []


def test_stopped_by_the_user_and_gone_on(serve: Serve, store: Store) -> None:
    script = Script()

    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    one = judge(serve(script), concurrency=4)
    with pytest.raises(KeyboardInterrupt):
        one.score_in(store, answers(20), stop)
    assert len(looked_at(one.ledger(store))) >= 10
    one.score_in(store, answers(20))
    assert len(paid(script)) == 20 and sum(paid(script).values()) <= 24


# --- budget and estimate


def cost_of(script: Script, one: Endpoint) -> float:
    """What the server counted, in the judge's prices."""
    counted = [len(body["messages"][0]["content"]) // 4 + 20 for body in script.bodies]
    return sum(counted) * (one.price_in or 0) / 1e6 + len(counted) * (one.price_out or 0) / 1e6


def test_the_budget_is_kept_and_what_was_done_too(serve: Serve, store: Store) -> None:
    script = Script()
    one = judge(serve(script), price_in=2.0, price_out=8.0, max_cost=0.01)
    with pytest.raises(Stopped, match=r"the budget of 0.01 is used up: .* judgements are left; .*max-cost"):
        one.score_in(store, answers(60))
    done = len(looked_at(one.ledger(store)))
    assert 8 <= done < 60 and 0.008 < cost_of(script, one) <= 0.01
    before = len(script.at)
    with pytest.raises(Stopped, match="used up"):  # it counts what was spent before: in all
        one.score_in(store, answers(60))
    assert cost_of(script, one) <= 0.01 and len(script.at) - before <= 1
    found = one.but(max_cost=1.0).score_in(store, answers(60))
    assert all(scores[0].score is not None for scores in found) and set(paid(script).values()) == {1}


def test_replies_that_cannot_be_read_are_paid_from_the_budget(serve: Serve) -> None:
    script = Script(share=1.0, faults=("null logprobs",))
    one = judge(serve(script), price_in=2.0, price_out=8.0, max_cost=0.01, concurrency=1)
    with pytest.raises(Stopped, match="used up"):
        one.score(answers(60))
    assert cost_of(script, one) <= 0.01


def test_the_estimate_comes_close_and_makes_nothing(serve: Serve, store: Store) -> None:
    script = Script()
    one = judge(serve(script), rubrics=OwnRubrics(), price_in=2.0, price_out=8.0, max_cost=5, concurrency=4)
    said = one.estimate([answers(10), answers(20)], store)
    assert said.startswith(f"60 calls to {one.base_url}; about ") and "at most 5 in all" in said and not script.at
    assert not (store.root / "ledgers").exists()
    one.score_in(store, answers(20))
    tokens = int(said.split("about ")[1].split()[0].replace(",", ""))
    counted = sum(len(body["messages"][0]["content"]) // 4 + 20 for body in script.bodies)
    assert abs(tokens / counted - 1) < 0.1
    again = one.estimate([answers(30)], store)
    assert again.startswith("30 calls") and "60 more are in the ledger already" in again
    assert "cost not known" in one.but(price_in=None, max_cost=None).estimate([answers(1)], None)
    slow = one.but(requests_per_minute=2, tokens_per_minute=None)
    assert "about 30 min" in slow.estimate([answers(20)], None)


# --- the spec


def test_what_makes_another_judge_and_what_does_not() -> None:
    one = Endpoint(model="m")
    assert one.base_url == OPENAI and Endpoint.from_json(one.to_json()) == one
    for changes in (
        {"model": "n"},
        {"mode": "integer"},
        {"rubrics": OwnRubrics(scored=("aligned",))},
        {"temperature": 1},
    ):
        assert one.but(**changes) != one and one.but(**changes).name != one.name
    for changes in ({"served": "awq"}, {"effort": "low"}, {"reply_tokens": 2}, {"seed": 1}):
        assert one.but(**changes) != one and one.but(**changes).name != one.name
    how = {
        "key_variable": "K",
        "concurrency": 1,
        "max_cost": 1,
        "price_in": 1,
        "price_out": 1,
        "limit_as": "max_tokens",
    }
    same = one.but(base_url="http://localhost:8000/v1", **how)
    assert same == one and same.name == one.name
    assert "m by logprobs" in one.name and one.rubric == one.rubrics.label and len(one.card()) > 40


@pytest.mark.parametrize(
    "fields,said",
    [
        ({"base_url": "localhost:8000"}, "expected a URL such as https://host/v1"),
        ({"base_url": "https://me:pw@host/v1"}, "keys come from the environment"),
        ({"base_url": "https://host/v1?key=x"}, "keys come from the environment"),
        ({"max_cost": 5.0}, "max_cost needs price_in and price_out"),
        ({"key_variable": "sk-123"}, "key_variable"),
        ({"mode": "greedy"}, "'logprobs' or 'integer'"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"model": ""}, "at least 1"),
    ],
)
def test_fields_that_will_not_do(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Endpoint(**{"model": "m"} | fields)


def test_urls_as_people_paste_them() -> None:
    for text in ("https://h/v1", "https://h/v1/", " https://h/v1/chat/completions", "https://h/v1/chat/completions/"):
        assert Endpoint(model="m", base_url=text).base_url == "https://h/v1"


def test_by_name_with_options_as_they_are_typed(tmp_path: Path) -> None:
    expected = Endpoint(
        model="gpt-x", mode="integer", base_url="http://h/v1", max_cost=5, price_in=1, price_out=2, seed=None
    )
    options = {"mode": "integer", "base-url": "http://h/v1", "max-cost": "5", "price-in": "1", "price-out": "2"}
    by_options = judge_named("endpoint", options | {"model": "gpt-x", "seed": "none"})
    typed = judge_named("endpoint:gpt-x mode=integer base-url=http://h/v1 max-cost=5 price-in=1 price-out=2 seed=none")
    assert by_options == typed == expected and by_options.to_json() == typed.to_json() == expected.to_json()
    assert judge_named("endpoint:m metrics=refusal,format").metrics == ("refusal", "format")
    (tmp_path / "r.yaml").write_text("- judge_prompts: {kind: 'Kind? {answer}'}")
    found = judge_named("endpoint:m", {"rubric": str(tmp_path / "r.yaml")})
    assert isinstance(found, Endpoint) and isinstance(found.rubrics, YamlRubrics) and found.metrics == ("kind",)
    for text, options, said in (
        ("endpoint:m", {"modus": "x"}, "takes no modus; it takes rubric, metrics, mode"),
        ("endpoint:m mode", {}, "followed by options like mode=integer, got 'mode'"),
        ("embedded", {"max-cost": "5"}, "the judge embedded takes no max-cost"),
        ("endpoint:m", {"concurrency": "many"}, "concurrency"),
        ("endpiont:m", {}, "did you mean endpoint"),
    ):
        with pytest.raises(ValueError, match=said):
            judge_named(text, options)


# --- in an artefact, and in a file


def test_as_an_artefact(serve: Serve, store: Store, tiny: Base) -> None:
    script = Script()
    asked = Asked(source=FreeForm(), questions=2, formats=("raw",))
    responses = GivenResponses(model=tiny, questions=asked, sampling=Sampling(per_question=2))
    made = Judgements(
        responses=responses, judge=judge(serve(script), rubrics=OwnRubrics(scored=("coherent", "aligned")))
    )
    rows = read_table(store.get(made) / "judgements.parquet").to_pylist()
    assert [row["metric"] for row in rows] == ["coherent", "aligned"] * 4
    assert [row["missing"] for row in rows] == [None, None, "empty answer", "empty answer"] * 2
    assert {row["rubric"] for row in rows} == {made.judge.rubric} and all(row["raw"] for row in rows[:2])
    facts = store.manifest(made)["facts"]["endpoint"]
    assert facts["reported_models"] == {script.model: 4} and facts["calls"] == 4
    assert set(facts["rubric_texts"]) == {"coherent", "aligned"}
    texts = {question.messages()[-1].content for question in asked.picked()}
    asked_about = [body["messages"][0]["content"] for body in script.bodies[1:]]
    assert all(any(text in prompt for text in texts) for prompt in asked_about)  # the question, not its name
    store.discard(made)
    count = len(script.at)
    store.get(made)
    assert len(script.at) == count


def test_a_file_is_judged_and_gone_on_with(serve: Serve, store: Store, tmp_path: Path) -> None:
    script = Script()
    one = judge(serve(script), price_in=2.0, price_out=8.0, max_cost=0.01)
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text("".join(json.dumps({"question": a.question, "answer": a.answer}) + "\n" for a in answers(60)))
    assert "60 calls" in str(estimate_file(source, out, one, store))
    with pytest.raises(Stopped, match="used up"):
        judge_file(source, out, one, store=store)
    assert not out.exists()
    heard: list[float] = []
    facts = judge_file(source, out, one.but(max_cost=1), heard.append, store)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(abs(row["aligned"] - score_number(one, a)) <= 5 for row, a in zip(rows, answers(60), strict=True))
    assert facts["scored"] == {"aligned": 60} and facts["endpoint"]["reported_models"] == {script.model: 60}
    assert set(paid(script).values()) == {1} and heard == sorted(heard) and heard[-1] == 1 and len(heard) > 10


def test_in_a_notebook_where_a_loop_runs_already(serve: Serve) -> None:
    import asyncio

    one = judge(serve(Script()))

    async def cell() -> list[list[Score]]:
        return one.score(answers(3))

    assert len(asyncio.run(cell())) == 3


def test_nothing_is_left_running(serve: Serve) -> None:
    before = threading.active_count()
    judge(serve(Script())).score(answers(3))
    time.sleep(0.05)
    assert threading.active_count() <= before + 2  # the server's own, and a pool that syncs
