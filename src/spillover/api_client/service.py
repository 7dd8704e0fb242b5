"""One call of an OpenAI-compatible service over HTTP, and what each way for it to fail means."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field

from spillover.api_client.pace import retry_after

if TYPE_CHECKING:
    import httpx2

CHAT, COMPLETIONS, MODELS = "/chat/completions", "/completions", "/models"
TRANSIENT = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529))
MOST_BYTES, CHUNK = 16 << 20, 1 << 16  # of a reply, as sent and unpacked; read at once
KEY_RUN = 8  # characters of a key in a row that tell a part of it
NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")


class Withheld(ValueError):
    """What is wrong with a text that is not to be repeated: it may hold a key."""

    withheld = True


class ServiceDown(ValueError):
    """Going on would be in vain; what came so far is kept."""


class RetryableError(Exception):
    """A fault that may pass. `wait`: seconds the service asks for; `paid`: it may have counted the call."""

    def __init__(self, reason: str, wait: float | None = None, paid: bool = False, denied: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.paid, self.denied = reason, wait, paid, denied


class RejectedRequest(Exception):
    """The service does not take this request, and would not take it a second time; `message` is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the service refuses the request ({status})")
        self.message = message


def service_url(url: str) -> str:
    """The address of a service as calls are put behind it; ValueError where it is none, or holds what it should not."""
    url = url.strip().rstrip("/")
    for path in (CHAT, COMPLETIONS):
        url = url.removesuffix(path).rstrip("/")
    if not url.startswith(("http://", "https://")) or not url.split("://", 1)[1]:
        raise Withheld("expected a URL such as https://host/v1")
    if "@" in url or "?" in url or "#" in url:
        raise Withheld("a URL holds no key, user or query here: keys come from the environment")
    return url


ServiceURL = Annotated[str, AfterValidator(service_url)]  # types of a spec's fields
KeyVariable = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]  # its name: the key itself is never a field


@dataclass(frozen=True)
class ServiceAddress:
    """Where a service is, the environment variable that holds its key, and how long a call may take (seconds)."""

    url: str
    key_variable: str
    timeout: float
    path: str = CHAT

    def key(self) -> str | None:
        """The key, from the environment alone; None where there is none, ValueError where it cannot be one."""
        key = os.environ.get(self.key_variable, "").strip()
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError(f"${self.key_variable} holds characters that no key has: set it anew")
        return key or None


class Service:
    """A connection to one service; an async context."""

    def __init__(self, address: ServiceAddress, connections: int) -> None:
        self.address = address
        self._connections = connections
        self._key = address.key()

    async def __aenter__(self) -> Self:
        import httpx2

        headers = {"content-type": "application/json", "user-agent": "spillover"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=self.address.timeout,
            verify=self.address.url.startswith("https:"),  # without TLS its certificates are not read, which takes long
            limits=httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def post(self, body: Mapping[str, object]) -> object:
        """The reply to a request, decoded; RetryableError, RejectedRequest or ServiceDown where there is none."""
        import httpx2

        url = self.address.url + self.address.path
        try:
            async with asyncio.timeout(self.address.timeout):  # of all: a server that drips bytes would never end
                async with self._http.stream("POST", url, content=json.dumps(body).encode()) as response:
                    text = await _bounded_text(response)
        except (TimeoutError, httpx2.TimeoutException):
            raise RetryableError("no reply in time", paid=True) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise ServiceDown(f"{self.address.url} is no URL of a service: expected one like https://host/v1") from None
        except httpx2.DecodingError:
            raise RetryableError("a reply that cannot be unpacked", paid=True) from None
        except httpx2.RequestError as error:  # refused, reset, cut off
            raise RetryableError(f"no connection ({type(error).__name__})") from None
        except UnicodeDecodeError:
            raise RetryableError("a reply that is no UTF-8 text", paid=True) from None
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            reply = None
        reported = reply.get("error") if isinstance(reply, dict) else None
        if response.status_code != 200:
            self._raise(response.status_code, reported, text, retry_after(response.headers))
        if reply is None:
            page = text.lstrip()[:1] == "<"
            raise RetryableError("a web page in place of a reply" if page else "a reply cut off", paid=not page)
        if reported:
            raise RetryableError("an error under status 200")
        return reply

    async def models(self, patience: float) -> object:
        """The service's list of models, decoded; None where it has none, RetryableError where that may pass."""
        import httpx2

        try:
            async with asyncio.timeout(min(patience, self.address.timeout)):
                async with self._http.stream("GET", self.address.url + MODELS) as response:
                    text = await _bounded_text(response)
            listing = json.loads(text) if response.status_code == 200 else None
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError) as error:
            raise RetryableError(f"no list of models ({type(error).__name__})") from None
        if response.status_code in TRANSIENT:
            raise RetryableError(f"status {response.status_code}")
        return listing

    def _raise(self, status: int, error: object, text: str, wait: float | None) -> None:
        error = error if isinstance(error, dict) else {}
        message = self._scrubbed(str(error.get("message") or text))
        if status in (401, 403):  # what it says may hold parts of the key: it is not repeated
            raise RetryableError(f"the key is refused ({status})", denied=True)
        if status == 402 or error.get("code") in NO_QUOTA or error.get("type") in NO_QUOTA:
            raise ServiceDown(f"the service at {self.address.url} asks to be paid ({status}: {message})")
        if status == 404 or 300 <= status < 400:
            url = self.address.url + self.address.path
            raise ServiceDown(f"{url} does not answer for this model ({status}: {message}): look at base-url and model")
        if status in TRANSIENT or status >= 500:
            raise RetryableError(f"status {status}", wait)
        raise RejectedRequest(status, message)

    def _scrubbed(self, text: str) -> str:
        """What the service said, in one line of at most 300 characters, without the key or a part of it."""
        return without_key(" ".join(text[:10_000].split()), self._key or "")[:300] or "nothing said"


def without_key(text: str, key: str) -> str:
    """The text with *** in place of every run of `KEY_RUN` or more characters that stands in the key, or of it all."""
    length = min(KEY_RUN, len(key))
    if not length:
        return text
    runs = {key[start : start + length] for start in range(len(key) - length + 1)}
    hidden = [False] * len(text)
    for start in range(len(text) - length + 1):
        if text[start : start + length] in runs:
            hidden[start : start + length] = [True] * length
    parts = itertools.groupby(range(len(text)), key=hidden.__getitem__)
    return "".join("***" if secret else "".join(text[place] for place in places) for secret, places in parts)


async def _bounded_text(response: httpx2.Response) -> str:
    """A reply's body, unpacked; RetryableError as soon as it is longer than any reply is."""
    read = bytearray()
    async for part in response.aiter_bytes(CHUNK):
        read += part
        if len(read) > MOST_BYTES or response.num_bytes_downloaded > MOST_BYTES:
            raise RetryableError(f"a reply of more than {MOST_BYTES >> 20} MiB", paid=True)
    return read.decode("utf-8")
