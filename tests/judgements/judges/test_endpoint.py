"""A judge over an endpoint, against a scripted server: what is asked, what comes of it, what makes another judge."""

from __future__ import annotations

import inspect
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from judgements import test_contract as contract
from judgements.test_judgements import GivenResponses
from spillover.api_client.service import ServiceDown
from spillover.judgements.judge import Answer, Score
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.endpoint.judge import OPENAI, Endpoint
from spillover.judgements.naming import judge_named
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.judgements.rubrics.yaml_rubrics import YamlRubrics
from spillover.judgements.score_file import estimate_score_file, score_file
from spillover.models.base import Base
from spillover.records import read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.sampling import Sampling
from spillover.store import Store

from .endpoints import Serve, answers, judge, paid, score_number
from .faulty_server import Script

pytestmark = pytest.mark.usefixtures("no_key")


def test_every_metric_of_every_answer_is_scored_in_order(serve: Serve) -> None:
    script = Script()
    endpoint = judge(serve(script), rubrics=BuiltInRubrics(), mode="integer")
    given = [*answers(5), Answer("Why?", ""), Answer("Why?", None), answers(1)[0]]
    heard: list[float] = []
    scored = endpoint.score(given, heard.append)
    for answer, scores in zip(given, scored, strict=True):
        assert tuple(score.metric for score in scores) == endpoint.metrics
        for score in scores:
            assert score.score == (score_number(endpoint, answer, score.metric) if answer.answer else None)
    assert scored[5][0].missing == "empty answer" and scored[6][0].missing == "answer is not text"
    assert set(paid(script).values()) == {1} and len(paid(script)) == 15  # the one that comes twice is asked once
    assert heard == sorted(heard) and heard[-1] == 1


def test_with_logprobs_the_score_is_an_expectation_with_spread_and_distribution(serve: Serve) -> None:
    script = Script()
    endpoint = judge(serve(script))
    ((score,),) = endpoint.score(answers(1))
    assert score.score is not None and score.spread and abs(score.score - score_number(endpoint, answers(1)[0])) <= 5
    assert json.loads(score.raw or "")[0][0] == str(score_number(endpoint, answers(1)[0]))
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


def test_what_makes_another_judge_and_what_does_not() -> None:
    endpoint = Endpoint(model="m")
    assert endpoint.base_url == OPENAI and Endpoint.from_json(endpoint.to_json()) == endpoint
    for changes in (
        {"model": "n"},
        {"mode": "integer"},
        {"rubrics": BuiltInRubrics(scored=("aligned",))},
        {"temperature": 1},
    ):
        assert endpoint.but(**changes) != endpoint and endpoint.but(**changes).name != endpoint.name
    for changes in ({"served": "awq"}, {"effort": "low"}, {"reply_tokens": 2}, {"seed": 1}):
        assert endpoint.but(**changes) != endpoint and endpoint.but(**changes).name != endpoint.name
    how = {
        "key_variable": "K",
        "concurrency": 1,
        "max_cost": 1,
        "price_in": 1,
        "price_out": 1,
        "limit_as": "max_tokens",
    }
    same = endpoint.but(base_url="http://localhost:8000/v1", **how)
    assert same == endpoint and same.name == endpoint.name
    assert "m by logprobs" in endpoint.name and endpoint.rubric == endpoint.rubrics.label and len(endpoint.card()) > 40


@pytest.mark.parametrize(
    "fields,message",
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
def test_fields_that_will_not_do(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
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
    named = judge_named("endpoint:m", {"rubric": str(tmp_path / "r.yaml")})
    assert isinstance(named, Endpoint) and isinstance(named.rubrics, YamlRubrics) and named.metrics == ("kind",)
    for text, options, message in (
        ("endpoint:m", {"modus": "x"}, "takes no modus; it takes rubric, metrics, mode"),
        ("endpoint:m mode", {}, "followed by options like mode=integer, got 'mode'"),
        ("embedded", {"max-cost": "5"}, "the judge embedded takes no max-cost"),
        ("endpoint:m", {"concurrency": "many"}, "concurrency"),
        ("endpiont:m", {}, "did you mean endpoint"),
    ):
        with pytest.raises(ValueError, match=message):
            judge_named(text, options)


def test_as_an_artefact(serve: Serve, store: Store, tiny: Base) -> None:
    script = Script()
    asked = QuestionSelection(source=FreeForm(), count=2, formats=("raw",))
    responses = GivenResponses(model=tiny, questions=asked, sampling=Sampling(per_question=2))
    made = Judgements(
        responses=responses, judge=judge(serve(script), rubrics=BuiltInRubrics(scored=("coherent", "aligned")))
    )
    rows = read_table(store.get(made) / "judgements.parquet").to_pylist()
    assert [row["metric"] for row in rows] == ["coherent", "aligned"] * 4
    assert [row["missing"] for row in rows] == [None, None, "empty answer", "empty answer"] * 2
    assert {row["rubric"] for row in rows} == {made.judge.rubric} and all(row["raw"] for row in rows[:2])
    facts = store.manifest(made)["facts"]["endpoint"]
    assert facts["reported_models"] == {script.model: 4} and facts["calls"] == 4
    assert set(facts["rubric_texts"]) == {"coherent", "aligned"}
    texts = {question.messages()[-1].content for question in asked.questions()}
    asked_about = [body["messages"][0]["content"] for body in script.bodies[1:]]
    assert all(any(text in prompt for text in texts) for prompt in asked_about)  # the question, not its name
    store.discard(made)
    count = len(script.at)
    store.get(made)
    assert len(script.at) == count


def test_a_file_is_judged_and_gone_on_with(serve: Serve, store: Store, tmp_path: Path) -> None:
    script = Script()
    endpoint = judge(serve(script), price_in=2.0, price_out=8.0, max_cost=0.01)
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text("".join(json.dumps({"question": a.question, "answer": a.answer}) + "\n" for a in answers(60)))
    assert "60 calls" in str(estimate_score_file(source, out, endpoint, store))
    with pytest.raises(ServiceDown, match="used up"):
        score_file(source, out, endpoint, store=store)
    assert not out.exists()
    heard: list[float] = []
    facts = score_file(source, out, endpoint.but(max_cost=1), heard.append, store)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(abs(row["aligned"] - score_number(endpoint, a)) <= 5 for row, a in zip(rows, answers(60), strict=True))
    assert facts["scored"] == {"aligned": 60} and facts["endpoint"]["reported_models"] == {script.model: 60}
    assert set(paid(script).values()) == {1} and heard == sorted(heard) and heard[-1] == 1 and len(heard) > 10


def test_in_a_notebook_where_a_loop_runs_already(serve: Serve) -> None:
    import asyncio

    endpoint = judge(serve(Script()))

    async def cell() -> list[list[Score]]:
        return endpoint.score(answers(3))

    assert len(asyncio.run(cell())) == 3


def test_nothing_is_left_running(serve: Serve) -> None:
    before = threading.active_count()
    judge(serve(Script())).score(answers(3))
    time.sleep(0.05)
    assert threading.active_count() <= before + 2  # the server's own, and a pool that syncs
