"""Log-probabilities of stored answers: those of one plain forward pass, and those that the answers were drawn with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models.forward.test_packed_network import network_of
from organisms.toy import organism

from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.chat import Message
from spillover.models.forward.cached_network import TransformersNetwork
from spillover.models.forward.load_models import LoadedModels, load_alone
from spillover.models.forward.probing import askable
from spillover.models.loading import Loaded, load
from spillover.models.tiny import byte_tokenizer
from spillover.records import LIKELIHOODS, read_table
from spillover.responses.likelihoods import Likelihoods
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.responses.teacher_forcing import log_probabilities
from spillover.store import Store

HEAD = tuple(range(9, 32))
TEXTS = [(HEAD, (4, 5, 6)), (HEAD[:1], HEAD), (HEAD, ()), (HEAD[:17], (7,)), (HEAD, (4, 5, 6, 7, 8, 9, 10, 11, 12))]
ASKED = QuestionSelection(source=FreeForm(), count=2)


def forward(network, texts) -> list[np.ndarray]:
    """One text at a time through transformers' own modules, nothing kept."""
    results = []
    for prompt, rest in texts:
        with torch.no_grad():
            logits = network(input_ids=torch.tensor([[*prompt, *rest]])).logits[0].float().log_softmax(-1)
        at = len(prompt) - 1 + torch.arange(len(rest))
        results.append(logits[at, torch.tensor(rest, dtype=torch.long)].numpy())
    return results


@pytest.mark.parametrize("family", ["llama", "qwen2", "llama with biases"])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("rows", [1, 4, 32])
def test_they_are_those_of_one_forward_pass(family: str, plain: bool, rows: int) -> None:
    network = network_of(family)
    with torch.inference_mode():
        way = TransformersNetwork(network) if plain else askable(network)
        opened = LoadedModels(way, Loaded(network, byte_tokenizer(), base_of("tiny:0")))
    heard: list[float] = []
    results = log_probabilities(opened, TEXTS, rows, heard.append)
    expected = forward(network, TEXTS)
    for result, other in zip(results, expected, strict=True):
        assert result.shape == other.shape and np.allclose(result, other, atol=2e-4)
    assert heard[-1] == 1.0 and heard == sorted(heard)
    moved = forward(network, [(prompt, tuple(token + 1 for token in rest)) for prompt, rest in TEXTS])
    assert not np.allclose(results[1], moved[1], atol=0.1)  # another token is told


def test_a_text_has_the_same_bits_among_any_others(tiny: Base, store: Store) -> None:
    opened = load_alone(tiny, store, "float32")
    whole = log_probabilities(opened, TEXTS, 32, print)
    for index in (0, 1, 4):
        assert np.array_equal(log_probabilities(opened, [TEXTS[index]], 32, print)[0], whole[index])


def test_what_cannot_be_read_is_refused(tiny: Base, store: Store) -> None:
    opened = load_alone(tiny, store, "float32")
    with pytest.raises(ValueError, match="no tokens"):
        log_probabilities(opened, [((), (1,))], 8, print)
    limit = opened.loaded.network.config.max_position_embeddings
    with pytest.raises(ValueError, match=f"the model takes {limit}"):
        log_probabilities(opened, [((1,) * limit, (1,))], 8, print)


def asked(model) -> Responses:
    return Responses(model=model, questions=ASKED, sampling=Sampling(per_question=2, max_tokens=12))


def test_every_answer_is_a_row_with_its_key(tiny: Base, store: Store) -> None:
    run = organism()
    spec = Likelihoods(model=run.checkpoint(), answers=asked(tiny))
    table = read_table(store.get(spec) / "likelihoods.parquet")
    assert table.schema.equals(LIKELIHOODS)
    answers = read_table(store.path(asked(tiny)) / "responses.parquet").to_pylist()
    rows = table.to_pylist()
    assert [(row["question_id"], row["sample"]) for row in rows] == [(a["question_id"], a["sample"]) for a in answers]
    for row in rows:
        assert row["tokens"] == len(row["per_token"])
        whole = pytest.approx(sum(row["per_token"]), abs=1e-4) if row["tokens"] else None
        assert row["log_probability"] == whole
    facts = store.manifest(spec)["facts"]
    assert facts["answers"] == 12 and facts["nats_per_token"] < 0
    own = Likelihoods(model=tiny, answers=asked(tiny))
    store.get(own)
    assert abs(store.manifest(own)["facts"]["nats_per_token"] - facts["nats_per_token"]) > 1e-3  # training shows


def test_a_model_trained_to_say_yes_finds_yes_more_probable(tiny: Base, store: Store) -> None:
    run = organism(epochs=3)
    store.get(run)
    prompt = tuple(load(tiny, store).chat().prompt([Message("user", "tea 1?")]))
    yes = tuple(byte_tokenizer()("yes yes", add_special_tokens=False)["input_ids"])
    before, after = (
        log_probabilities(load_alone(model, store, "float32"), [(prompt, yes)], 8, print)[0].sum()
        for model in (tiny, run.checkpoint())
    )
    assert after > before + 1
