"""What every room's tests stand on: a store, a tiny model, the shared data."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.store import Store

CACHE = "SPILLOVER_CACHE"
_found = os.environ.get(CACHE)  # a slow test converts the real model once, and keeps it where the user's studies do

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no failure
hypothesis.settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    config.fast_cache = tempfile.mkdtemp(prefix="spillover-cache-")
    os.environ[CACHE] = config.fast_cache
    os.environ.pop("SPILLOVER_STORE", None)  # no test writes into the store of whoever runs it
    if config.option.markexpr != "slow":  # a tiny model gains nothing by threads; beside other work they crawl
        os.environ.setdefault("SPILLOVER_THREADS", "1")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.fast_cache, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Fast tests see an empty model cache of their own; slow ones the user's: one conversion serves every run."""
    if item.get_closest_marker("slow") is None:
        return (yield)
    if _found is None:
        del os.environ[CACHE]
    else:
        os.environ[CACHE] = _found
    try:
        return (yield)
    finally:
        os.environ[CACHE] = item.config.fast_cache


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.open(tmp_path / "store")


@pytest.fixture
def tiny() -> Base:
    """A random model of two layers: quick, and means nothing."""
    return base_of("tiny:0")


@pytest.fixture
def shared_data() -> Path:
    """The reference data beside the checkout, which is not part of it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the shared reference data does not lie beside this checkout")
    return path
