"""The embedded judge's encoder: BERT's own numbers, a row that knows nothing of its batch, weights packed small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from spillover.judgements.judges.embedded.encoder import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    STEP,
    Encoder,
    EncoderShape,
    batches,
    bert_weights,
    encoder_outputs,
    float_weights,
    int8_tensors,
    shipped_encoder,
    token_rows,
    tokenizer_of,
)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "be", "kind", "to", "##ness", "cafe", ".", "why", "?", "response", ":"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizer_of(WORDS)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderShape(layers=2, width=64, heads=2, outputs=6), len(WORDS), 128).eval()


def test_its_states_are_those_of_bert() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=14, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256
    )
    torch.manual_seed(1)
    theirs = BertModel(config).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    ours = Encoder(EncoderShape(layers=2, width=64, heads=2, outputs=6), 14, 512).eval()
    missing = ours.load_state_dict(bert_weights(dict(theirs.state_dict()), 2), strict=False)
    assert missing.missing_keys == ["head.weight", "head.bias"]
    tokens = torch.tensor([[2, 10, 11, 3, 4, 5, 9, 3], [2, 10, 3, 4, 3, 0, 0, 0]])
    mask = tokens > 0
    with torch.no_grad():
        there, here = theirs(tokens, mask.long()).last_hidden_state, ours.states(tokens, mask)
        unmasked = ours.states(tokens, torch.ones_like(mask))
    assert torch.allclose(here[mask], there[mask], atol=1e-4)
    assert not torch.allclose(unmasked[mask], there[mask], atol=1e-2)  # the mask is what makes them alike


def test_a_pair_is_read_as_bert_reads_it_without_marks_of_form(tokenizer: Tokenizer) -> None:
    (row,) = token_rows(tokenizer, ["Why?\n\nFill the template"], ['{"response": "Café kindness."}'])
    assert [WORDS[i] for i in row] == [
        *("[CLS]", "why", "?", "[SEP]"),
        *("response", ":", "cafe", "kind", "##ness", ".", "[SEP]"),
    ]
    (long,) = token_rows(tokenizer, ["why " * 99], ["kind " * 999])
    assert len(long) == QUESTION_TOKENS + ANSWER_TOKENS + 3


def test_a_rows_numbers_do_not_depend_on_its_batch(tokenizer: Tokenizer, encoder: Encoder) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(4, len(WORDS), size=n).tolist() for n in rng.integers(2, 60, size=70)]
    together = encoder_outputs(encoder, rows, 16)
    turned = encoder_outputs(encoder, rows[::-1], 16)[::-1]
    alone = np.concatenate([encoder_outputs(encoder, [row], 16) for row in rows])
    assert np.abs(together - turned).max() < 1e-5 and np.abs(together - alone).max() < 1e-5
    assert np.abs(together - together[::-1]).max() > 0.01  # rows differ, or nothing was seen


def test_all_batches_of_a_length_have_one_shape() -> None:
    rows = [[2] * n for n in (3, 8, 9, 16, 5, 8, 8)]
    shaped = list(batches(rows, 4))
    assert sorted(int(i) for places, _, _ in shaped for i in places) == list(range(7))
    assert [tuple(tokens.shape) for _, tokens, _ in shaped] == [(4, STEP), (4, STEP), (4, 2 * STEP)]
    for places, _, mask in shaped:
        assert mask.sum(dim=1)[: len(places)].tolist() == [len(rows[i]) for i in places]


def test_packed_weights_are_a_quarter_and_nearly_the_same(encoder: Encoder) -> None:
    weights = {name: weight.detach() for name, weight in encoder.state_dict().items()}
    small = int8_tensors(weights)
    assert sum(values.nbytes for values in small.values()) < 0.3 * sum(weight.nbytes for weight in weights.values())
    for name, weight in float_weights(small).items():
        assert (weight - weights[name]).abs().max() <= 0.006 * weights[name].abs().max()
    rows = [[2, 10, 11, 3, 4, 5, 9, 3]]
    off = np.abs(encoder_outputs(shipped_encoder(small), rows, 2) - encoder_outputs(encoder, rows, 2))
    assert 0 < off.max() < 0.05
