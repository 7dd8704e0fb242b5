"""The lens reads a direction as the model itself would: by its own final norm and head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spillover.activations.activations import Activations
from spillover.activations.direction import read_direction
from spillover.activations.directions.mean_shift import MeanShift
from spillover.activations.lens import LensTokens, read_out
from spillover.activations.neutral_texts import NeutralTexts
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.loading import load
from spillover.store import Store


def shift(tiny: Base) -> MeanShift:
    before, after = (Activations(model=model, prompts=NeutralTexts()) for model in (tiny, base_of("tiny:1")))
    return MeanShift(before=before, after=after, layer=0, pooling="mean")


def test_a_tokens_own_unembedding_reads_as_that_token(tiny: Base, store: Store) -> None:
    network = load(tiny, store).network
    head = network.get_output_embeddings().weight.detach()
    token = int(head.norm(dim=1).argmax())
    logits = read_out(network, head[token].numpy())
    normed = network.model.norm(head[token])
    assert logits.numpy() == pytest.approx((head @ normed).detach().numpy(), abs=1e-4)
    assert int(logits.argmax()) == token


def test_the_highest_tokens_are_kept_for_both_signs(tiny: Base, store: Store) -> None:
    direction = shift(tiny)
    lens = LensTokens(direction=direction, top=7)
    for need in (direction.before, direction.after, direction):
        store.get(need)
    store.get(lens)
    rows = lens.value(store).to_pylist()
    assert [row["rank"] for row in rows] == [*range(7), *range(7)] and [row["sign"] for row in rows] == [1] * 7 + [
        -1
    ] * 7
    logits = read_out(load(tiny, store).network, read_direction(direction, store, "unit"))
    assert [row["logit"] for row in rows[:7]] == pytest.approx(logits.topk(7).values.tolist())
    opposite = read_out(load(tiny, store).network, -read_direction(direction, store, "unit"))
    assert rows[7]["logit"] == pytest.approx(float(opposite.max()))
    assert not torch.equal(logits, opposite)


def test_neutral_texts_are_told_apart_by_their_text() -> None:
    prompts = NeutralTexts().prompts()
    assert len(prompts) == 32 == len({prompt.messages for prompt in prompts})
    with pytest.raises(ValueError, match="not those"):
        NeutralTexts(sha256="0" * 64).prompts()
    assert np.all([len(prompt.messages[0].content) < 120 for prompt in prompts])
