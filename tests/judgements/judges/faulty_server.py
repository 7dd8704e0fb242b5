"""A scripted OpenAI-compatible server: right replies that follow from the prompt, and every fault we know. For tests.

Run as a program it serves until it is killed: `python faulty_server.py PORT_FILE LOG [SHARE] [SECONDS]`; LOG gets a
line for each right reply, with the prompt's digest.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import random
import re
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

Reply = tuple[int, dict[str, str], bytes]  # status, headers, body
MOST = 2  # faults in a row to one prompt
ALWAYS = {"refuses": "a refusal", "scrawls": "85/100", "is too long": "400", "breaks the server": "500"}


class Script:
    """What the server does: `faults` by name, a share of the calls, never more than `MOST` in a row for a prompt."""

    def __init__(self, share: float = 0.0, faults: tuple[str, ...] = (), seed: int = 0, seconds: float = 0.0) -> None:
        self.share, self.seconds = share, seconds
        self.faults = faults or tuple(FAULTS)
        self.random = random.Random(seed)
        self.right: Counter[str] = Counter()  # right replies that were delivered, by prompt
        self.given: Counter[str] = Counter()  # faults, by name
        self.row: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at: list[float] = []
        self.key: str | None = None  # the only one that is taken
        self.model = "scripted-2026-11-25"
        self.digits = False  # writes 73 as 7, 3
        self.top = 20
        self.logprobs = True
        self.heard: Callable[[str], None] = lambda digest: None
        self.busy = self.most_busy = 0
        self.serves: list[Any] = []  # lists of models, or whole replies, given in turn; the last again and again
        self.listed: list[str] = []  # paths of requests for it

    def fault(self, prompt: str) -> str | None:
        """The fault that this call meets."""
        if self.row[prompt] < MOST and self.random.random() < self.share:
            self.row[prompt] += 1
            return self.random.choice(self.faults)
        self.row[prompt] = 0
        return None


def number(prompt: str) -> int:
    """The score that the server's model gives to a prompt: 0 to 100."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 101


def digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def right(script: Script, body: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    """The reply of a sound server; `text`: what the model writes in place of its number."""
    prompt = body["messages"][0]["content"]
    asked = re.search(r"Reply with the number (\d+)|\{\"score\": (\d+)\}", prompt)
    score = int(next(filter(None, asked.groups()))) if asked else number(prompt)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "refusal": None}}
    if body.get("logprobs") and script.logprobs:
        choice["finish_reason"] = "length"
        choice["message"]["content"] = text or str(score)
        choice["logprobs"] = {
            "content": [{"token": str(score), "logprob": -0.1, "top_logprobs": top(script, score, text)}]
        }
    else:
        choice["message"]["content"] = text or json.dumps({"score": score})
        choice["logprobs"] = None
    usage = {"prompt_tokens": len(prompt) // 4 + 20, "completion_tokens": 1, "total_tokens": len(prompt) // 4 + 21}
    return {"id": "x", "object": "chat.completion", "model": script.model, "choices": [choice], "usage": usage}


def top(script: Script, score: int, text: str | None) -> list[dict[str, Any]]:
    """20 tokens with log-probabilities: three numbers around the score, or words where the model refuses."""
    words = [f" word{n}" for n in range(20)]
    near = [score, max(0, score - 5), min(100, score + 5)]
    tokens = [str(n)[:1] if script.digits else str(n) for n in dict.fromkeys(near)] if text is None else ["I", "Sorry"]
    rest = [*dict.fromkeys(tokens), *words][: script.top]
    logs = [-0.5, -1.6, -2.5, *(-6.0 - n for n in range(17))]
    return [{"token": token, "logprob": log, "bytes": None} for token, log in zip(rest, logs, strict=False)]


def as_json(status: int, content: Any, headers: dict[str, str] | None = None) -> Reply:
    return status, {"content-type": "application/json"} | (headers or {}), json.dumps(content).encode()


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Reply:
    return as_json(status, {"error": {"message": message, "type": "an_error"} | more}, headers)


def changed(good: dict[str, Any], **changes: Any) -> Reply:
    """A right reply with parts of its first choice replaced."""
    return as_json(200, good | {"choices": [good["choices"][0] | changes]})


def top_with(good: dict[str, Any], logprob: Any) -> Reply:
    entries = [{"token": "85", "logprob": logprob, "bytes": None}] * 20
    return changed(good, logprobs={"content": [{"token": "85", "logprob": logprob, "top_logprobs": entries}]})


def odd(good: dict[str, Any], text: str, logprob: Any) -> Reply:
    """What is wrong in the way of the mode that was asked for."""
    return top_with(good, logprob) if good["choices"][0]["logprobs"] else changed(good, message=message(text))


def message(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "refusal": None}


# Each from a right reply; None: the server keeps silent until the client gives up; "reset": it breaks the connection.
FAULTS: dict[str, Callable[[dict[str, Any]], Reply | str | None]] = {
    "429": lambda good: error(429, "slow down"),
    "429 seconds": lambda good: error(429, "slow down", {"retry-after": "0.02"}),
    "429 milliseconds": lambda good: error(429, "slow down", {"retry-after-ms": "20"}),
    "429 date": lambda good: error(429, "slow down", {"retry-after": formatdate(time.time() - 1, usegmt=True)}),
    "500": lambda good: error(500, "oops"),
    "503 HTML": lambda good: (503, {"content-type": "text/html"}, b"<html>busy</html>"),
    "silence": lambda good: None,
    "reset": lambda good: "reset",
    "cut off in the middle": lambda good: "cut",
    "cut JSON": lambda good: (200, {"content-type": "application/json"}, json.dumps(good).encode()[:-40]),
    "HTML": lambda good: (200, {"content-type": "text/html"}, b"<!doctype html><p>Sign in</p>"),
    "nothing": lambda good: (200, {}, b""),
    "a list": lambda good: as_json(200, [good]),
    "an error under 200": lambda good: error(200, "upstream"),
    "no choices": lambda good: as_json(200, good | {"choices": []}),
    "null choices": lambda good: as_json(200, good | {"choices": None}),
    "no message": lambda good: changed(good, message=None, logprobs=None),
    "null logprobs": lambda good: changed(good, logprobs=None, message=message(None)),
    "null content": lambda good: changed(good, logprobs={"content": None}, message=message("")),
    "NaN": lambda good: odd(good, "NaN", float("nan")),
    "above 1": lambda good: odd(good, '{"score": 1e999}', 0.5),
    "text for a number": lambda good: odd(good, '{"score": "85"}', "-0.1"),
    "adds up to 20": lambda good: odd(good, '{"score": 101}', -0.01),
}


@functools.cache
def bomb() -> bytes:
    """A quarter of a megabyte that unpacks to 256 MiB of zeros."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()


BODIES: dict[str, Callable[[dict[str, Any]], Reply | str | None]] = {  # that cannot be unpacked or decoded
    "a bomb": lambda good: (200, {"content-encoding": "gzip"}, bomb()),
    "no gzip": lambda good: (200, {"content-encoding": "gzip"}, json.dumps(good).encode()),
    "no text": lambda good: (200, {}, b"\xff\xfe\x00"),
}
INTEGER_TEXTS = {
    "85/100": "85/100",
    "fenced": "```\n85\n```",
    "bare": "85",
    "out of range": '{"score": 850}',
    "below": '{"score": -1}',
    "half": '{"score": 85.5}',
    "true": '{"score": true}',
    "other name": '{"rating": 85}',
    "cut": '{"score": 8',
    "in a list": "[85]",
    "hundreds of digits": f'{{"score": {"1" * 400}}}',
    "thousands of digits": f'{{"score": {"1" * 5000}}}',
    "nested": "[" * 100_000,
}


class Server:
    """The server in a thread, at `url`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**22)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        self._tasks.discard(task)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        script = self.script
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(re.findall(r"^([\w-]+): *(.*?)\r$", head, re.MULTILINE))
        headers = {name.lower(): value for name, value in headers.items()}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
        if head.startswith("GET "):
            served = script.serves[min(len(script.listed), len(script.serves) - 1)] if script.serves else None
            script.listed.append(head.split()[1])
            listing = as_json(200, {"object": "list", "data": served}) if isinstance(served, list) else served
            status, _, content = listing or error(404, "no such page")
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
            return True
        script.at.append(time.monotonic())
        script.bodies.append(body)
        script.keys.append(headers.get("authorization"))
        script.busy += 1
        script.most_busy = max(script.most_busy, script.busy)
        try:
            if script.seconds:
                await asyncio.sleep(script.seconds)
            answer = self._answer(body, headers.get("authorization"))
            if answer is None:
                await asyncio.sleep(60)
                return False
        finally:
            script.busy -= 1
        if answer == "reset":
            writer.transport.abort()
            return False
        if answer == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{")
            await writer.drain()
            return False
        assert not isinstance(answer, str)
        status, more, content = answer
        lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        return True

    def _answer(self, body: dict[str, Any], key: str | None) -> Reply | str | None:
        script = self.script
        if script.key is not None and key != f"Bearer {script.key}":
            return error(401, f"Incorrect API key provided: {key}")
        prompt = body["messages"][0]["content"]
        good = right(script, body)
        for words, what in ALWAYS.items():
            if words in prompt:
                return self._always(what, body, prompt)
        name = script.fault(prompt)
        if name is not None:
            script.given[name] += 1
            return FAULTS[name](good) if name in FAULTS else changed(good, message=message(INTEGER_TEXTS[name]))
        self._count(prompt)
        return as_json(200, good)

    def _always(self, what: str, body: dict[str, Any], prompt: str) -> Reply:
        if what == "400":
            return error(400, "maximum context length exceeded")
        if what == "500":
            return error(500, "oops")
        self._count(prompt)
        return as_json(200, right(self.script, body, "I'm sorry, I can't." if what == "a refusal" else what))

    def _count(self, prompt: str) -> None:
        self.script.right[prompt] += 1
        self.script.heard(digest(prompt))


@contextlib.contextmanager
def serving(script: Script) -> Iterator[Server]:
    """A server while the block runs."""
    server = Server(script)
    try:
        yield server
    finally:
        server.close()


def main() -> None:
    """Serve until killed."""
    port_file, log, *rest = sys.argv[1:]
    script = Script(share=float(rest[0]) if rest else 0.0, seconds=float(rest[1]) if rest[1:] else 0.0)
    with open(log, "a") as handle:
        script.heard = lambda line: print(line, file=handle, flush=True)
        with serving(script) as server:
            Path(port_file).write_text(str(server.port))
            threading.Event().wait()


if __name__ == "__main__":
    main()
