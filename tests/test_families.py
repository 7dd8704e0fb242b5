"""Every stage works for every family of `models.families`, whichever way its networks are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from judgements.judges.test_number_tree import enumerated
from models.families import FAMILIES, SIZE, network_of
from organisms.toy import ToyRows, held_out_means, organism
from transformers import GenerationConfig

from spillover.activations.capture import ActivationSelection, TokenizedText, capture
from spillover.activations.find_layers import find_layers
from spillover.activations.sites import PARALLEL, one_stream
from spillover.judgements.judges.local_model.number_probabilities import number_masses
from spillover.judgements.judges.local_model.number_tree import number_tree
from spillover.models.catalogue import base_of
from spillover.models.forward import probing, row_cache
from spillover.models.forward.cached_network import TransformersNetwork
from spillover.models.forward.generating_network import GeneratingNetwork
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.packed_network import PackedNetwork
from spillover.models.forward.probing import askable, askable_at, own_logits, probe_error
from spillover.models.loading import Loaded, load
from spillover.models.tiny import byte_tokenizer
from spillover.organisms.dataset import Split, supervise
from spillover.organisms.lora_targets import lora_targets
from spillover.organisms.losses import sequence_losses
from spillover.organisms.tuning import LoRA
from spillover.records import read_json
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms
from spillover.responses.teacher_forcing import log_probabilities
from spillover.store import Store

TEXTS = ("at", "Why?", "Why not, then?", "Tell me why", "Tell me of the sea. " * 2, "One", "So? " * 9, "And then, why?")
TOKENS = 10
OWN = {  # asked through their own forward: states in the place of keys, or positions that come from a mask
    *("gpt_neo", "falcon with alibi", "bloom", "mamba", "mamba2", "falcon_mamba", "qwen3_next", "qwen3_5", "lfm2"),
    *("jamba", "bamba", "falcon_h1", "llama4", "rwkv", "xlstm", "recurrent_gemma", "zamba", "zamba2"),
    "nemotron_h",
    *("gemma3n", "gemma4"),  # layers that look at the keys of others
}


def loaded_of(family: str) -> Loaded:
    return Loaded(network_of(family).requires_grad_(False), byte_tokenizer(), base_of("tiny:0"))


def prompts_of(loaded: Loaded) -> list[tuple[int, ...]]:
    return [tuple(loaded.tokenizer(text)["input_ids"]) for text in TEXTS]


def answers(loaded: Loaded, prompts: list[tuple[int, ...]], temperature: float = 0.0, rows: int = 128) -> list[Any]:
    drafts = [Draft(prompt, uniforms(0, str(prompt), 0, TOKENS)) for prompt in prompts]
    rules = Rules(TOKENS, temperature, 1.0, frozenset(), (), str)
    write_answers(LoadedModels(askable(loaded.network), loaded), drafts, rules, rows, lambda share: None)
    return [draft.tokens for draft in drafts]


def generated(loaded: Loaded, prompt: tuple[int, ...]) -> list[int]:
    ids = torch.tensor([prompt])
    config = GenerationConfig(max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
    loaded.network.generation_config = GenerationConfig()
    written = loaded.network.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return written[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_asked_as_its_own_forward_says(family: str) -> None:
    loaded = loaded_of(family)
    prompts = prompts_of(loaded)
    greedy = answers(loaded, prompts)
    assert greedy == [generated(loaded, prompt) for prompt in prompts]
    assert len({tuple(answer) for answer in greedy}) > 2
    drawn = answers(loaded, prompts, 1.0)
    assert drawn != greedy and drawn == answers(loaded, prompts, 1.0, rows=8)
    assert drawn[::3] == answers(loaded, prompts[::3], 1.0)

    texts = [(prompt, tuple(answer)) for prompt, answer in zip(prompts, drawn, strict=True)]
    opened = LoadedModels(askable(loaded.network), loaded)
    for (prompt, answer), ours in zip(texts, log_probabilities(opened, texts, 8, lambda share: None), strict=True):
        with torch.inference_mode():
            logits = loaded.network(torch.tensor([prompt + answer]), use_cache=False).logits[0].log_softmax(-1)
        own = logits[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0]
        np.testing.assert_allclose(ours, own, rtol=1e-3, atol=1e-3)

    tree = number_tree(loaded.tokenizer, "")
    for prompt, masses in zip(prompts[:2], number_masses(loaded, tree, prompts[:2]), strict=True):
        expected = enumerated(loaded, tree, prompt)
        assert np.abs(masses - expected).sum() < 0.002 * expected.sum()
    assert isinstance(opened.network, GeneratingNetwork) == (family in OWN)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_those_of_the_networks_own_forward(family: str) -> None:
    """Prompts that begin alike, and one apart: the last token after the first layer and after the final norm."""
    network = network_of(family)
    decoder = find_layers(network)
    texts = [TokenizedText((*range(5, 25), *range(30, 30 + more)), 20 + more) for more in (1, 4, 9)]
    texts.append(TokenizedText((7, 8, 9), 3))
    captured = np.zeros((5, len(texts), decoder.width), np.float32)

    def put(rows: list[int], block: np.ndarray) -> None:
        captured[:, rows] = block

    capture(decoder, texts, ActivationSelection(sites=("resid_post", "final_norm"), poolings=("last",)), put)
    first = 0 if family in ("mamba", "mamba2", "falcon_mamba", "rwkv") else 1  # embeddings are left out
    for row, text in enumerate(texts):
        with torch.inference_mode():
            own = network(input_ids=torch.tensor([text.ids]), output_hidden_states=True, use_cache=False).hidden_states
        np.testing.assert_allclose(captured[0, row], one_stream(own[first])[0, -1], atol=1e-3)
        last = -2 if own[-1].ndim == PARALLEL else -1  # parallel streams are given as they leave the last layer
        np.testing.assert_allclose(captured[last, row], one_stream(own[-1])[0, -1], atol=1e-3)
    assert decoder.keeps_keys or family in OWN


def test_a_way_that_gives_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose packed weights, or whose masks, are read wrongly is asked in the next way, rightly."""
    loaded = loaded_of("llama")
    monkeypatch.setattr(probing, "_agreed", {})
    expected = [generated(loaded, prompt) for prompt in prompts_of(loaded)]
    assert isinstance(askable(loaded.network), PackedNetwork)
    probing._agreed.clear()
    whole = PackedNetwork._normed
    monkeypatch.setattr(PackedNetwork, "_normed", lambda *given: 1.01 * whole(*given))
    assert probe_error(PackedNetwork(loaded.network), loaded.network, own_logits(loaded.network)) > 1e-3
    assert not isinstance(askable(loaded.network), PackedNetwork)
    assert answers(loaded, prompts_of(loaded)) == expected


LONG = tuple(range(3, 63))
WINDOW = {"sliding_window": 40, "attention_window_size": 40, "attention_chunk_size": 40, "window_size": 40}


@pytest.mark.parametrize(
    "family", ["mistral", "gemma2", "gemma3", "gpt_oss", "cohere2", "gpt_neo", "llama4", "recurrent_gemma", "gemma4"]
)
def test_prompts_longer_than_a_window_are_read_as_the_networks_own_forward_reads_them(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that the probe does not reach."""
    name, own = FAMILIES[family]
    known = getattr(transformers, name)(**SIZE | own).to_dict()
    monkeypatch.setitem(FAMILIES, family, (name, own | {key: 40 for key in WINDOW if known.get(key)}))
    loaded = loaded_of(family)
    assert answers(loaded, [LONG, LONG[:7]]) == [generated(loaded, LONG), generated(loaded, LONG[:7])]


def test_a_way_that_forgets_the_window_is_not_taken_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "cohere2", ("Cohere2Config", FAMILIES["cohere2"][1] | {"sliding_window": 40}))
    monkeypatch.setattr(probing, "_agreed", {})
    monkeypatch.setattr(row_cache, "_attention_windows", lambda config: dict.fromkeys(set(config.layer_types)))
    loaded = loaded_of("cohere2")
    way = askable(loaded.network)
    assert isinstance(way, TransformersNetwork) and askable_at(way, loaded.network, LONG[:30]) is way
    assert isinstance(askable_at(way, loaded.network, LONG), GeneratingNetwork)
    assert answers(loaded, [LONG]) == [generated(loaded, LONG)]


FUSED = {  # queries, keys and values in one product, or none of them
    *("phi3", "gpt2", "gpt_neox", "falcon", "falcon with alibi", "bloom", "mpt", "codegen", "gpt_bigcode"),
    *("mamba", "mamba2", "falcon_mamba"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_sit_on_the_blocks_linear_layers(family: str) -> None:
    """Attention and MLP are all there is, the narrower variants are parts of them, and no head or tower is hit."""
    network = network_of(family)
    names = {variant: hit(network, variant) for variant in ("all", "attention", "mlp", "attention-kv", "mlp-down")}
    assert names["attention"] and names["attention"] | names["mlp"] == names["all"]
    assert not names["attention"] & names["mlp"]
    assert names["attention-kv"] < names["attention"] and bool(names["attention-kv"]) == (family not in FUSED)
    assert names["mlp-down"] < names["mlp"] or family in ("mamba", "mamba2", "falcon_mamba")
    assert not [name for name in names["all"] if "vision" in name or "lm_head" in name or "router" in name]


def hit(network: Any, variant: str) -> set[str]:
    try:
        return {target.name for target in lora_targets(network, variant).chosen}
    except ValueError:
        return set()


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "phi3", "mixtral", "gemma2", "granite", "mistral3", "lfm2", "opt", "zamba"]
)
def test_a_family_is_trained_and_its_checkpoint_is_what_was_trained(family: str, tmp_path: Path) -> None:
    """Saved, loaded and trained for two steps; the loss falls, and the merged checkpoint has the loss of the last."""
    network = network_of(family)
    network.generation_config = GenerationConfig()
    network.save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    store = Store.open(tmp_path / "store")
    base = base_of(f"{tmp_path / 'model'}#instruct")
    trained = organism(data=Split(data=ToyRows(), rows=8, held_out=4)).but(parent=base)
    losses = trained.value(store).losses.to_pylist() if store.get(trained) else []
    before, after = held_out_means(losses, 0)[1], held_out_means(losses, 2)[1]
    assert after < before - 0.1
    loaded = load(trained.checkpoint(), store)
    rows = supervise(loaded, trained.data.held_out_rows(), 512)
    merged = sequence_losses(loaded.network, rows, "float32")
    np.testing.assert_allclose(merged, [row["loss"] for row in losses if row["step"] == 2], atol=1e-4)
    tuned = read_json(store.path(trained) / "manifest.json")["facts"]["tuned"]
    assert tuned["parameters"] == lora_targets(network, "all").facts(4)["parameters"]


def test_names_and_patterns_are_hit_and_what_is_not_there_is_named() -> None:
    network = network_of("mistral3")
    assert {target.path for target in lora_targets(network, ("q_proj", "mlp.up_proj")).chosen} == {
        "self_attn.q_proj",
        "mlp.up_proj",
    }
    chosen = lora_targets(network, r"layers\.[02]\..*v_proj$").chosen
    assert {(target.path, target.layer) for target in chosen} == {("self_attn.v_proj", 0), ("self_attn.v_proj", 2)}
    assert {target.layer for target in lora_targets(network, "mlp", (1, 3)).chosen} == {1, 3}
    with pytest.raises(ValueError, match=r"no c_attn in its blocks; its blocks have mlp.down_proj, .*self_attn.v_proj"):
        lora_targets(network, ("c_attn",))
    with pytest.raises(ValueError, match=r"makes keys and values in one product .*qkv_proj"):
        lora_targets(network_of("phi3"), "attention-kv")
    with pytest.raises(ValueError, match="modules is one of all, attention"):
        LoRA(modules="everything")
    with pytest.raises(ValueError, match="knows neither dropout nor DoRA"):
        LoRA(dropout=0.1).trainable_network(network_of("mixtral"), 0, "none")


def test_a_network_whose_tokens_see_those_that_follow_is_refused() -> None:
    sizes = {name: size for name, size in SIZE.items() if name != "num_key_value_heads"}
    network = transformers.AutoModelForCausalLM.from_config(transformers.BertConfig(**sizes)).eval()
    with pytest.raises(ValueError, match=r"BertLMHeadModel gives other logits .* only causal networks"):
        askable(network)
