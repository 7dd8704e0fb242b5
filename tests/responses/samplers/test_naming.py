"""Samplers as users name them: who is asked for each model, in any recipe, without Python of one's own."""

from __future__ import annotations

import pytest

from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.samplers import naming
from spillover.responses.samplers.api_sampler import APISampler
from spillover.responses.samplers.local_sampler import LocalSampler
from spillover.responses.samplers.naming import sampled_as, sampler_named
from spillover.responses.samplers.vllm_sampler import VLLMSampler

BASE = base_of("tiny:0")
ASKED = QuestionSelection(source=FreeForm(), count=2)


def test_each_word_is_a_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampler_named("local")(BASE, "float32") == LocalSampler()
    assert sampler_named("vllm")(BASE, "float32") == VLLMSampler(dtype="float32")
    assert sampler_named("auto")(BASE, "float32") == LocalSampler()
    monkeypatch.setattr(naming, "_has_vllm", lambda: True)
    assert sampler_named("auto")(BASE, "bfloat16") == VLLMSampler(dtype="bfloat16")
    monkeypatch.setattr(Base, "has_hooks", True)
    assert sampler_named("auto")(BASE, "bfloat16") == LocalSampler()


def test_a_server_has_names_for_models() -> None:
    named = sampler_named(f"server:{BASE.label()}=seven", "http://node7:8000/v1")(BASE, "float32")
    assert named == APISampler(model="seven") and isinstance(named, APISampler)
    assert (named.base_url, named.api) == ("http://node7:8000/v1", "chat")
    assert sampler_named("server")(BASE, "float32") == APISampler(model=BASE.name)
    assert sampler_named("server")(BASE.but(role="pretrained"), "float32") == APISampler(
        model=BASE.name, api="completions"
    )


@pytest.mark.parametrize(
    ("text", "url", "told"),
    [
        ("ollama", "", "give auto, local, vllm, server"),
        ("vllm:0.32", "", "no sampler"),
        ("server:seven", "", "write MODEL=NAME"),
        ("local", "http://node7", "give --sampler server too"),
    ],
)
def test_what_is_no_sampler_is_told(text: str, url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sampler_named(text, url)


def test_a_choice_reaches_answers_for_which_none_is_given() -> None:
    with sampled_as(sampler_named("server")):
        typed = Responses(model=BASE, questions=ASKED)
        given = Responses(model=BASE, questions=ASKED, sampler=LocalSampler())
    assert typed.sampler == APISampler(model=BASE.name) and given == Responses(model=BASE, questions=ASKED)
    assert typed.summary().endswith(f", by {BASE.name} at http://127.0.0.1:8000/v1")
    assert Responses.from_json(typed.to_json()) == typed
