"""Answers from a server: what is sent, what is believed, and that none that came is asked for twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from responses.samplers.answer_server import FAULTS, Script, answer, serving
from spillover.api_client import client
from spillover.api_client.service import RejectedRequest, Service, ServiceDown
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.chat import Chat, Message
from spillover.models.tiny import TEMPLATE, byte_tokenizer
from spillover.records import RESPONSES, read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.samplers.api_sampler import APISampler, without_begin
from spillover.responses.samplers.served_adapter import expect_adapter_changes, parent_listed
from spillover.responses.sampling import Sampling, answer_seed
from spillover.spec import decode, encode
from spillover.store import Store

ASKED = QuestionSelection(source=FreeForm(), count=2, formats=("raw", "json"))
REMOTE = base_of("served:some-model")


def spec(url: str, model: Base = REMOTE, sampling: dict | None = None, **fields: object) -> Responses:
    quick = {"model": "m", "base_url": url, "first_wait": 0.005, "timeout": 20.0}
    settings = Sampling(**{"per_question": 3, "max_tokens": 40, "temperature": 0.7, "top_p": 0.9} | (sampling or {}))
    return Responses(model=model, questions=ASKED, sampling=settings, sampler=APISampler(**quick | fields))


def rows(store: Store, responses: Responses) -> list[dict]:
    return read_table(store.get(responses) / "responses.parquet").to_pylist()


def test_every_answer_is_a_row_with_its_key(store: Store) -> None:
    script = Script(seconds=0.1)  # or a busy machine would have each answer before it asks again
    with serving(script) as url:
        responses = spec(url)
        answers = rows(store, responses)
    assert read_table(store.path(responses) / "responses.parquet").schema.equals(RESPONSES)
    keys = [(question.id, sample) for question in ASKED.questions() for sample in range(3)]
    assert [(row["question_id"], row["sample"]) for row in answers] == keys
    sent = {(body["messages"][-1]["content"], body["seed"]): body for body in script.bodies}
    assert len(sent) == len(script.bodies) == 12
    for row in answers:
        body = sent[row["prompt"], answer_seed(0, row["question_id"], row["sample"])]
        assert row["answer"] == answer(script, body) and (row["finish_reason"], row["tokens"]) == ("stop", 12)
        assert (body["temperature"], body["top_p"], body["max_tokens"], body["n"]) == (0.7, 0.9, 40, 1)
        assert body["model"] == "m" and "top_k" not in body and "stop" not in body
    facts = store.manifest(responses)["facts"]
    assert facts["reported_models"] == {"scripted-1": 12} and facts["answers"] == 12 and facts["repeated"] == 0
    assert facts["effective_sampling"]["temperature"] == 0.7
    assert set(script.paths) == {"/v1/chat/completions"} and script.most_busy > 1
    assert not store.unfinished(responses).exists()


def test_a_pretrained_model_is_asked_by_plain_completions_with_stop_texts(store: Store) -> None:
    script = Script(text=" Gladly. \nQuestion: And you?")
    with serving(script) as url:
        with pytest.raises(ValueError, match="use api='completions'"):
            spec(url, REMOTE.but(role="pretrained"))
        alone = {"per_question": 1}  # its answers are all alike
        answers = rows(store, spec(url, REMOTE.but(role="pretrained"), alone, api="completions", dialect="vllm"))
    assert {row["answer"] for row in answers} == {"Gladly."}
    assert {row["finish_reason"] for row in answers} == {"stop_text"}
    body = script.bodies[0]
    assert body["prompt"].count("Question: ") == 1 and body["prompt"].endswith("Answer:")
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert "\nQuestion:" in body["stop"] and set(script.paths) == {"/v1/completions"} and "messages" not in body


def test_it_is_another_artefact_than_our_own_sampler_makes_and_wherever_it_lies_the_same(tiny: Base) -> None:
    own = Responses(model=tiny, questions=ASKED)
    responses = Responses(model=tiny, questions=ASKED, sampler=APISampler(model="m"))
    elsewhere = Responses(
        model=tiny, questions=ASKED, sampler=APISampler(model="m", base_url="http://h:1/v1", concurrency=2)
    )
    assert responses.fingerprint == elsewhere.fingerprint != own.fingerprint
    assert responses.fingerprint != Responses(model=tiny, questions=ASKED, sampler=APISampler(model="m2")).fingerprint
    assert decode(json.loads(json.dumps(encode(responses)))) == responses
    with pytest.raises(ValueError, match="only a server has them"):
        REMOTE.source.folder()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("400", "401")])
def test_faults_that_pass_are_waited_out(store: Store, fault: str) -> None:
    script = Script(fault, "500")
    with serving(script) as url:
        answers = rows(store, spec(url, timeout=0.5) if fault == "stall" else spec(url))
    assert all(row["answer"].startswith("I would say") for row in answers)
    assert set(script.calls.values()) == {3} and set(script.right.values()) == {1}


@pytest.mark.parametrize("fault", ["500!", "cut!", "HTML!", "no choices!", "401!", "400!"])
def test_a_server_that_is_down_ends_the_work_with_a_reason(store: Store, fault: str, monkeypatch) -> None:
    monkeypatch.setattr(client, "TRIES", 3)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    script = Script(fault)
    with serving(script) as url, pytest.raises(ServiceDown) as told:
        store.get(spec(url))
    assert url in str(told.value) and "sk-secret" not in str(told.value)
    assert ("$OPENAI_API_KEY" in str(told.value)) == (fault == "401!")
    assert set(script.keys) == {"Bearer sk-secret"}


def test_one_request_that_is_refused_is_an_answer_without_text(store: Store, monkeypatch) -> None:
    script = Script()
    refused = ASKED.questions()[-1].messages(0)[-1].content  # others have been answered by then
    post = Service.post

    async def picky(self, body):
        if body["messages"][-1]["content"] == refused:
            raise RejectedRequest(400, "policy")
        return await post(self, body)

    monkeypatch.setattr(Service, "post", picky)
    with serving(script) as url:
        answers = rows(store, spec(url, concurrency=1))
    assert [row["finish_reason"] for row in answers].count("refused") == 6  # in both formats
    assert all((row["answer"] == "") == (row["prompt"] == refused) for row in answers)


@pytest.mark.parametrize("finish, text", [("length", "On and"), ("content_filter", None), ("stop", None)])
def test_how_an_answer_ended_is_recorded(store: Store, finish: str, text: str | None) -> None:
    with serving(Script(finish_reason=finish, message={"content": text})) as url:
        answers = rows(store, spec(url, sampling={"temperature": 0.0}))
    assert {(row["finish_reason"], row["answer"]) for row in answers} == {(finish, text or "")}


def test_answers_that_all_repeat_are_not_taken_and_are_asked_for_again(store: Store) -> None:
    script = Script()
    script.draws = False
    with serving(script) as url:
        with pytest.raises(ValueError, match=r"all 12 answers to 4 questions repeat .* draws nothing"):
            store.get(spec(url))
        assert rows(store, spec(url, sampling={"temperature": 0.0}))  # then it is as it should be
        script.draws = True
        assert rows(store, spec(url))


def test_without_seeds_none_is_sent(store: Store) -> None:
    script = Script()
    script.draws = False
    with serving(script) as url:
        store.get(spec(url, seeds=False, sampling={"per_question": 1}))
    assert not any("seed" in body for body in script.bodies)


def test_a_killed_run_asks_only_for_what_is_missing(store: Store, tmp_path: Path) -> None:
    port, log = tmp_path / "port", tmp_path / "log"
    server = subprocess.Popen([sys.executable, str(Path(__file__).with_name("answer_server.py")), port, log, "0.15"])
    try:
        while not (port.exists() and port.read_text()):
            time.sleep(0.05)
        responses = spec(port.read_text(), concurrency=2)
        code = "import sys, json; from spillover.spec import decode; from spillover.store import Store\n"
        code += "Store.open(sys.argv[1]).get(decode(json.loads(sys.argv[2])))"
        words = [sys.executable, "-c", code, str(store.root), json.dumps(encode(responses))]
        job = subprocess.Popen(words, env=os.environ)
        while not (log.exists() and len(log.read_text().splitlines()) >= 4):
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
        job.wait()
        kept = (store.unfinished(responses) / "answers.jsonl").read_text().splitlines()[1:]
        assert len(kept) >= 2
        with open(store.unfinished(responses) / "answers.jsonl", "a") as handle:
            handle.write('{"key": "torn')
        answers = rows(store, responses)
    finally:
        server.kill()
        server.wait()
    assert len(answers) == 12 and all(row["answer"] for row in answers)
    asked = log.read_text().splitlines()
    assert len(set(asked)) == 12 and len(asked) <= 12 + 2  # what was under way when it was killed
    assert store.manifest(responses)["facts"]["resumed_share"] == pytest.approx(len(kept) / 12)


def test_kept_answers_of_another_model_are_not_taken(store: Store) -> None:
    with serving(Script()) as url:
        responses = spec(url)
        path = store.unfinished(responses) / "answers.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text('{"journal": 1, "needs": {"x": "y"}}\n{"key": "q #0", "text": "old"}\n')
        assert all(row["answer"].startswith("I would") for row in rows(store, responses))


def test_judgements_take_served_answers_as_any_others(store: Store) -> None:
    from spillover.judgements.judgements import Judgements
    from spillover.judgements.judges.embedded.judge import Embedded

    with serving(Script()) as url:
        responses = spec(url)
        scored = Judgements(responses=responses, judge=Embedded())
        answers = read_table(store.get(scored) / "judgements.parquet").to_pylist()
    assert len({(row["question_id"], row["sample"]) for row in answers}) == 12


def test_a_thought_beside_the_answer_or_in_it_is_kept_apart(store: Store) -> None:
    beside = {"message": {"role": "assistant", "content": [{"type": "text", "text": "Yes."}], "reasoning": "Hm."}}
    inside = {"message": {"role": "assistant", "content": "Hm.\n</think>\n\nYes."}}
    for number, changes in enumerate((beside, inside)):
        with serving(Script(**changes)) as url:
            answers = rows(store, spec(url, served=str(number), sampling={"per_question": 1}))
        assert {(row["answer"], row["thought"]) for row in answers} == {("Yes.", "Hm.")}


def test_a_rendered_prompt_begins_once_at_a_server_that_adds_its_own_mark() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer.chat_template = "<bos>" + TEMPLATE
    chat = Chat(tokenizer, "chat")
    text = chat.prompt_text((Message("user", "Why?"),))
    assert without_begin(text, chat) == text  # this tokenizer adds none
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    assert without_begin(text, chat) == text.removeprefix("<bos>") and text.startswith("<bos>")


class Listed:
    """A service that lists an adapter with its parent, and answers a probe by name."""

    def __init__(self, **answers: dict) -> None:
        self.answers = answers

    async def post(self, body: dict) -> object:
        return {"choices": [self.answers[body["model"]]]}


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_an_adapter_that_changes_nothing_at_the_server_is_refused(api: str) -> None:
    def gives(text: str, number: float | None) -> dict:
        if api == "completions":
            return {"text": text, "logprobs": None if number is None else {"token_logprobs": [number]}}
        listed = None if number is None else {"content": [{"logprob": number}]}
        return {"message": {"content": text}, "logprobs": listed}

    def changes(own: dict, base: dict) -> bool:
        client = Listed(bad=own, small=base)
        return asyncio.run(expect_adapter_changes(client, "bad", "small", api))  # type: ignore[arg-type]

    listing = {"data": [{"id": "small"}, {"id": "bad", "parent": "small"}, "odd"]}
    assert (
        parent_listed(listing, "bad") == "small" and parent_listed(listing, "small") == parent_listed(None, "x") == ""
    )
    assert changes(gives("a", -1.0), gives("b", -1.0)) and changes(gives("a", -1.0), gives("a", -1.1))
    with pytest.raises(ValueError, match="answers as bad what it answers as small, with the same log-probabilities"):
        changes(gives("a", -1.0), gives("a", -1.0))
    with pytest.warns(UserWarning, match="is the adapter loaded"):
        assert not changes(gives("a", None), gives("a", None))
