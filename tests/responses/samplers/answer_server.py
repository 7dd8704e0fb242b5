"""A scripted OpenAI-compatible server that answers: chat and plain completions, and the faults that a test asks for.

Run as a program it serves until it is killed: `python answer_server.py PORT_FILE LOG SECONDS`; LOG gets a line for each
answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STALL = 2.0  # seconds that a stalling server keeps silent
Fault = Callable[[dict[str, Any]], tuple[int, bytes, dict[str, str]] | None]  # None: the connection is cut


class Script:
    """What the server does: `faults` meet a prompt's first calls, in turn; then it answers."""

    def __init__(self, *faults: str, seconds: float = 0.0, **changes: Any) -> None:
        self.faults, self.seconds, self.changes = faults, seconds, changes
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.calls: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.draws = True  # another answer for another seed
        self.heard: Callable[[str], None] = lambda line: None
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()


def prompt_of(body: dict[str, Any]) -> str:
    return str(body.get("prompt") or body["messages"][-1]["content"])


def answer(script: Script, body: dict[str, Any]) -> str:
    """The text that the model has for a request."""
    key = f"{prompt_of(body)}|{body.get('seed') if script.draws else ''}"
    return "I would say " + hashlib.sha256(key.encode()).hexdigest()[:12]


def right(script: Script, body: dict[str, Any], path: str) -> dict[str, Any]:
    """The reply of a sound server."""
    text = answer(script, body)
    content = (
        {"text": f" {text}"}
        if path.endswith("/v1/completions")
        else {"message": {"role": "assistant", "content": text}}
    )
    choice = {"index": 0, "finish_reason": "stop"} | content | script.changes
    usage = {"prompt_tokens": len(prompt_of(body)) // 4, "completion_tokens": 12}
    return {"id": "x", "model": "scripted-1", "choices": [choice], "usage": usage}


def _error(status: int, **headers: str) -> Fault:
    return lambda good: (status, json.dumps({"error": {"message": "no"}}).encode(), headers)


FAULTS: dict[str, Fault] = {
    "429": _error(429, **{"retry-after": "0.02"}),
    "500": _error(500),
    "400": _error(400),
    "401": _error(401),
    "cut": lambda good: None,
    "stall": lambda good: time.sleep(STALL) or (200, json.dumps(good).encode(), {}),
    "half": lambda good: (200, json.dumps(good).encode()[:-30], {}),
    "HTML": lambda good: (200, b"<html>sign in</html>", {}),
    "no choices": lambda good: (200, json.dumps(good | {"choices": []}).encode(), {}),
    "a list": lambda good: (200, json.dumps([good]).encode(), {}),
    "no finish": lambda good: (200, json.dumps(good | {"choices": [{"text": "x", "message": {}}]}).encode(), {}),
    "a number": lambda good: (
        200,
        json.dumps(good | {"choices": [{"text": 3, "message": {"content": 3}, "finish_reason": "stop"}]}).encode(),
        {},
    ),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_POST(self) -> None:
        script = self.script
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = f"{prompt_of(body)}|{body.get('seed')}"
        with script.lock:
            script.bodies.append(body)
            script.paths.append(self.path)
            script.keys.append(self.headers.get("authorization"))
            turn, script.calls[key] = script.calls[key], script.calls[key] + 1
            script.busy += 1
            script.most_busy = max(script.most_busy, script.busy)
        time.sleep(script.seconds)
        good = right(script, body, self.path)
        fault = script.faults[min(turn, len(script.faults) - 1)] if script.faults else None
        always = fault is not None and fault.endswith("!")
        met = fault is not None and (always or turn < len(script.faults))
        reply = FAULTS[str(fault).rstrip("!")](good) if met else (200, json.dumps(good).encode(), {})
        with script.lock:
            script.busy -= 1
            if not met:
                script.right[key] += 1
                script.heard(key)
        if reply is None:
            self.connection.close()
            self.close_connection = True
            return
        status, content, headers = reply
        with contextlib.suppress(ConnectionError):  # whoever asked has given up
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Silence."""


@contextlib.contextmanager
def serving(script: Script) -> Iterator[str]:
    """The address of a server that follows the script."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    port_file, log, seconds = sys.argv[1:]
    script = Script(seconds=float(seconds))
    handle = open(log, "a", buffering=1)  # noqa: SIM115
    script.heard = lambda line: print(hashlib.sha256(line.encode()).hexdigest()[:16], file=handle, flush=True)
    with serving(script) as url:
        Path(port_file).write_text(url)
        time.sleep(600)
