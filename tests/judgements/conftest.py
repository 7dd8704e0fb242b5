"""What judges are tried on: a scripted server that a test starts, no key of whoever runs it, a loaded random model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from spillover.models.catalogue import base_of
from spillover.models.loading import Loaded, load

from .judges.faulty_server import Script, Server, serving


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(serving(script))


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(base_of("tiny:0"), None)  # type: ignore[arg-type]
