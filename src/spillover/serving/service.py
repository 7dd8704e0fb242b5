"""One call of an OpenAI-compatible service over HTTP, and what each way for it to fail means. Knows no question."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from spillover.serving.pace import retry_after

CHAT, COMPLETIONS = "/chat/completions", "/completions"
TRANSIENT = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529))
NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")


class ServiceDown(ValueError):
    """Going on would be in vain: what came is kept."""


class RetryableError(Exception):
    """A fault that may pass. `wait`: seconds the service asks for; `paid`: it may have counted the call."""

    def __init__(self, reason: str, wait: float | None = None, paid: bool = False, denied: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.paid, self.denied = reason, wait, paid, denied


class RejectedRequest(Exception):
    """The service does not take this request, and would not take it a second time."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the service refuses the request ({status})")
        self.said = said


def service_url(url: str) -> str:
    """The address of a service as calls are put behind it; ValueError where it is none, or holds what it should not."""
    url = url.strip().rstrip("/")
    for path in (CHAT, COMPLETIONS):
        url = url.removesuffix(path).rstrip("/")
    if not url.startswith(("http://", "https://")) or not url.split("://", 1)[1]:
        raise ValueError("expected a URL such as https://host/v1")
    if "@" in url or "?" in url or "#" in url:
        raise ValueError("a URL holds no key, user or query here: keys come from the environment")
    return url


@dataclass(frozen=True)
class ServiceAddress:
    """Where a service is, the environment variable that holds its key, and how long a call may take (seconds)."""

    url: str
    key_variable: str
    timeout: float
    path: str = CHAT

    def key(self) -> str | None:
        """The key, from the environment alone; None where there is none."""
        key = os.environ.get(self.key_variable, "").strip()
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError(f"${self.key_variable} holds characters that no key has: set it anew")
        return key or None


class Service:
    """A connection to one service; an async context."""

    def __init__(self, place: ServiceAddress, connections: int) -> None:
        self.place = place
        self._connections = connections
        self._key = place.key()

    async def __aenter__(self) -> Self:
        import httpx2

        headers = {"content-type": "application/json", "user-agent": "spillover"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=self.place.timeout,
            verify=self.place.url.startswith("https:"),  # without TLS its certificates are not read, which takes long
            limits=httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def post(self, body: dict[str, Any]) -> Any:
        """The reply to a request, decoded; Again, Refused or Stopped where there is none."""
        import httpx2

        try:
            async with asyncio.timeout(self.place.timeout):  # of the whole: a server that drips bytes would never end
                response = await self._client.post(self.place.url + self.place.path, content=json.dumps(body).encode())
        except (TimeoutError, httpx2.TimeoutException):
            raise RetryableError("no reply in time", paid=True) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise ServiceDown(f"{self.place.url} is no URL of a service: expected one like https://host/v1") from None
        except httpx2.RequestError as error:  # refused, reset, cut off
            raise RetryableError(f"no connection ({type(error).__name__})") from None
        return self._read(response)

    def _read(self, response: Any) -> Any:
        status, text = response.status_code, response.text
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if status != 200:
            self._raise(status, found, text, retry_after(response.headers))
        if found is None:
            page = text.lstrip()[:1] == "<"
            raise RetryableError("a web page in place of a reply" if page else "a reply cut off", paid=not page)
        if isinstance(found, dict) and found.get("error"):
            raise RetryableError("an error under status 200")
        return found

    def _raise(self, status: int, found: Any, text: str, wait: float | None) -> None:
        error = found.get("error") if isinstance(found, dict) else None
        error = error if isinstance(error, dict) else {}
        said = self._scrubbed(str(error.get("message") or text))
        if status in (401, 403):  # what it says may hold parts of the key: it is not repeated
            raise RetryableError(f"the key is refused ({status})", denied=True)
        if status == 402 or error.get("code") in NO_QUOTA or error.get("type") in NO_QUOTA:
            raise ServiceDown(f"the service at {self.place.url} asks to be paid ({status}: {said})")
        if status == 404 or 300 <= status < 400:
            at = self.place.url + self.place.path
            raise ServiceDown(f"{at} does not answer for this model ({status}: {said}): look at base-url and model")
        if status in TRANSIENT or status >= 500:
            raise RetryableError(f"status {status}", wait)
        raise RejectedRequest(status, said)

    def _scrubbed(self, text: str) -> str:
        text = " ".join(text.split())
        return (text.replace(self._key, "***") if self._key else text)[:300] or "nothing said"
