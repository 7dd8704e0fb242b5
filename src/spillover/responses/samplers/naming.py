"""Samplers as users name them on the command line, for every model of a study that nobody chose another for."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from spillover.models.base import Base, Model
from spillover.models.device import default_device
from spillover.models.precision import DType
from spillover.responses.sampler import Sampler
from spillover.responses.samplers.api_sampler import APISampler
from spillover.responses.samplers.local_sampler import LocalSampler
from spillover.responses.samplers.vllm_sampler import VLLMSampler

SamplerChoice = Callable[[Model, DType], Sampler]  # of a model that is asked in a precision

_AS_TYPED: ContextVar[SamplerChoice | None] = ContextVar("sampler", default=None)


def sampler_named(text: str, base_url: str = "") -> SamplerChoice:
    """How each model is asked, as a user says it: `auto`, `local`, `vllm`, `server` or `server:MODEL=NAME,...`.

    auto: vLLM where it is installed and there is a GPU, except for steered models, which it cannot ask; else our own
    loop. A server knows a model by the NAME given for its label, the base by its own, any other by its fingerprint.
    """
    word, _, names = text.partition(":")
    if word not in ("auto", "local", "vllm", "server") or (names and word != "server"):
        raise ValueError(f"no sampler {text!r}: give auto, local, vllm, server or server:MODEL=NAME,MODEL=NAME")
    if base_url and word != "server":
        raise ValueError(f"--base-url is where a server is, and the sampler is {word}: give --sampler server too")
    if word == "server":
        return _served(names, base_url)

    def choose(model: Model, dtype: DType) -> Sampler:
        in_vllm = word == "vllm" or (word == "auto" and _has_vllm() and not model.has_hooks)
        return VLLMSampler(dtype=dtype) if in_vllm else LocalSampler()

    return choose


def _has_vllm() -> bool:
    return default_device().startswith("cuda") and importlib.util.find_spec("vllm") is not None


def _served(names: str, base_url: str) -> SamplerChoice:
    pairs = [pair.partition("=") for pair in names.split(",") if pair]
    if wrong := [label for label, _, name in pairs if not (label and name)]:
        raise ValueError(f"server:{names}: write MODEL=NAME for each model, {wrong[0]!r} has none")
    served = {label: name for label, _, name in pairs}
    place = {"base_url": base_url} if base_url else {}

    def choose(model: Model, dtype: DType) -> Sampler:
        own = model.name if isinstance(model, Base) else model.fingerprint
        api = "chat" if model.base().role == "instruct" else "completions"
        return APISampler(model=served.get(model.label(), own), api=api, **place)  # type: ignore[arg-type]

    return choose


@contextlib.contextmanager
def sampled_as(choice: SamplerChoice) -> Iterator[None]:
    """While a study is built, answers for which no sampler is given are asked so: an option reaches any recipe."""
    token = _AS_TYPED.set(choice)
    try:
        yield
    finally:
        _AS_TYPED.reset(token)


def sampler_typed(model: Model, dtype: DType) -> Sampler | None:
    """What the user chose for a model, if anything."""
    choice = _AS_TYPED.get()
    return choice and choice(model, dtype)
