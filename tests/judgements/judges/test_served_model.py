"""What a service says it serves is kept beside what it said; another model under the same name is an error."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from spillover.api_client.served import served_model
from spillover.api_client.service import ServiceDown
from spillover.judgements.judge import unlike_models
from spillover.judgements.judges.endpoint.ledger import Ledger
from spillover.store import Store

from .endpoints import KEY, Serve, answers, judge, score_in
from .faulty_server import Script, error

pytestmark = pytest.mark.usefixtures("no_key")
FIRST = {"id": "m", "root": "/models/first", "parent": None, "created": 1}
OTHER = {"id": "m", "root": "/models/other", "parent": None, "created": 2}
TUNED = {"id": "m", "root": "/adapters/a", "parent": "base"}


def script(*served: object) -> Script:
    scripted = Script()
    scripted.serves = [list(entries) if isinstance(entries, tuple) else entries for entries in served]
    return scripted


@pytest.mark.parametrize("count", [2, 4], ids=["all is in the ledger", "more is to be asked"])
def test_another_model_under_the_same_name_is_an_error_that_names_both(count: int, serve: Serve, store: Store) -> None:
    first = judge(serve(script((FIRST,))))
    scored = score_in(first, store, answers(2))
    assert Ledger.peek(first.ledger(store)).notes["served"] == {"id": "m", "root": "/models/first"}
    assert score_in(first, store, answers(2)) == scored  # made at another moment, it is the same
    other = first.but(base_url=serve(script((OTHER,))).url)
    assert other == first
    with pytest.raises(ServiceDown, match=r"m from /models/other; the scores .* m from /models/first.*moved=true"):
        score_in(other, store, answers(count))
    assert score_in(other.but(moved=True), store, answers(4))[:2] == scored
    assert score_in(other, store, answers(5))[:2] == scored  # said once
    told_apart = other.but(served="other")
    assert told_apart.ledger(store) != first.ledger(store) and score_in(told_apart, store, answers(2))


def test_the_base_below_an_adapter_counts_too(serve: Serve, store: Store) -> None:
    endpoint = judge(serve(script((TUNED, {"id": "base", "root": "/models/first"}))))
    score_in(endpoint, store, answers(1))
    other = endpoint.but(base_url=serve(script((TUNED, {"id": "base", "root": "/models/other"}))).url)
    with pytest.raises(ServiceDown, match=r"over base from /models/other\).*over base from /models/first\)"):
        score_in(other, store, answers(2))


def test_a_service_that_is_away_takes_no_paid_score_away(serve: Serve, store: Store) -> None:
    endpoint = judge(serve(script((FIRST,))))
    scored = score_in(endpoint, store, answers(2))
    assert score_in(endpoint.but(base_url="http://127.0.0.1:9/v1"), store, answers(2)) == scored
    silent = endpoint.but(base_url=serve(script(None)).url)
    with pytest.warns(UserWarning, match=r"does not say what it serves as m now; the scores .* of m from /models/fi"):
        score_in(silent, store, answers(3))


@pytest.mark.parametrize(
    "served",
    [
        None,
        [],
        [{"id": "another"}],
        [None, 7, {"id": 7}],
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"data": [{"id": "m"'),
        (200, {}, b"\xff\xfe"),
        (200, {}, b'{"data": {"id": "m"}}'),
        (200, {}, b"9" * 5000),
        (302, {"location": "http://127.0.0.1:9/"}, b""),
        error(401, "no"),
    ],
    ids=str,
)
def test_a_list_of_models_that_says_nothing_changes_nothing(served: object, serve: Serve, store: Store) -> None:
    scripted = Script()
    scripted.serves = [served]
    endpoint = judge(serve(scripted))
    assert all(scores[0].score is not None for scores in score_in(endpoint, store, answers(2)))
    assert Ledger.peek(endpoint.ledger(store)).notes == {} and 1 <= len(scripted.listed) <= 3


def test_a_fault_of_the_list_passes(serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = judge(serve(script(error(503, "busy"), (FIRST,))))
    score_in(endpoint, store, answers(1))
    text = endpoint.ledger(store).read_text()  # type: ignore[union-attr]
    assert json.loads(text.splitlines()[2])["row"] == {"id": "m", "root": "/models/first"} and KEY not in text


def test_names_are_kept_within_bounds() -> None:
    hostile = {"id": "m", "root": "\x1b[2J" + "x" * 10**6, "parent": 3}
    told = served_model({"data": [hostile]}, "m")
    assert told is not None and set(told) == {"id", "root"} and len(told["root"]) == 300


def test_an_unlike_name_in_replies_is_told(serve: Serve, store: Store) -> None:
    endpoint = judge(serve(Script()))
    with endpoint.at_work(store) as scoring:
        scoring.score(answers(3))
        told = "asked for m, the service says that scores are of scripted-2026-11-25 (3)"
        assert unlike_models(scoring.facts()) == unlike_models({"dear": scoring.facts()}) == [told]
    same = Script()
    same.model = "m"
    with judge(serve(same)).at_work(None) as scoring:
        scoring.score(answers(1))
        assert unlike_models(scoring.facts()) == []


def test_the_script_that_serves_vllm_passes_on_a_name_and_options(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[3] / "scripts" / "vllm_server.sh"
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "some model").mkdir()

    def served(*words: str) -> list[str]:
        command = ["sh", str(script), "serve", str(tmp_path / "venv"), str(tmp_path / "some model"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def value(words: list[str], name: str) -> str:
        return words[words.index(name) + 1]

    assert value(served(), "--served-model-name") == "some model" and value(served(), "--port") == "8000"
    assert value(served("8123"), "--port") == "8123"
    words = served("8123", "judge-a", "--enable-lora", "--lora-modules", "tuned=a folder")
    assert value(words, "--served-model-name") == "judge-a" and value(words, "--lora-modules") == "tuned=a folder"
    words = served("judge-a", "--max-num-seqs", "8")
    assert (value(words, "--port"), value(words, "--served-model-name")) == ("8000", "judge-a")
    assert words[-2:] == ["--max-num-seqs", "8"] and served("--enable-lora")[-1] == "--enable-lora"
