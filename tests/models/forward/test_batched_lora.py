"""Adapters kept beside the weights say what they say merged; rows of one batch can be different checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from models.forward.test_packed_network import FAMILIES, network_of
from spillover.models.forward.batched_lora import BatchedDelta, RowSlice
from spillover.models.forward.cached_network import CachedNetwork, TransformersNetwork, read_prompts
from spillover.models.forward.packed_network import PackedNetwork
from spillover.models.forward.row_cache import RowCache
from spillover.models.lora_weights import read_lora

PROMPTS = [tuple(range(3, 3 + size)) for size in (1, 2, 16, 17, 33, 60)]
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def adapter(folder: Path, family: str, seed: int, **changes: object) -> Path:
    """An adapter of random numbers over the network of a family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = {"r": 3, "lora_alpha": 5.0, "use_rslora": True, "target_modules": MODULES}
        network = get_peft_model(network_of(family), LoraConfig(task_type="CAUSAL_LM", **settings | changes))
        for name, weight in network.named_parameters():
            if "lora_" in name:
                weight.data = 0.3 * torch.randn(weight.shape)
    network.save_pretrained(folder, save_embedding_layers=False)
    return folder


def logits(
    network: object, way: CachedNetwork, groups: list[int], prompts: list[tuple[int, ...]] = PROMPTS
) -> torch.Tensor:
    """After each prompt, row by row of its group, and a token more: (2, rows, vocabulary)."""
    steps, rows = [], torch.arange(len(prompts))
    with torch.inference_mode():
        cache = RowCache(network, len(prompts), 80)
        cache.groups = groups
        read_prompts(way, cache, prompts)
        for step in range(2):
            cache.position.move(rows, torch.tensor([[len(prompt) - 1 + step] for prompt in prompts]), every=True)
            steps.append(way.next_logits(torch.tensor([[prompt[-1] + step] for prompt in prompts]), cache))
    return torch.stack(steps)


def merged(family: str, *folders: Path) -> torch.Tensor:
    network = network_of(family)
    for folder in folders:
        network = PeftModel.from_pretrained(network, folder).merge_and_unload()
    return logits(network, TransformersNetwork(network), [0] * len(PROMPTS))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_is_what_its_own_checkpoint_says_merged(family: str, tmp_path: Path) -> None:
    first = adapter(tmp_path / "1", family, 1)
    second = adapter(
        tmp_path / "2", family, 2, r=5, use_rslora=False, target_modules=["v_proj", "up_proj", "down_proj"]
    )
    third = adapter(tmp_path / "3", family, 3, layers_to_transform=[1, 3], target_modules=["k_proj", "o_proj"])
    network = network_of(family)
    adapters = [read_lora(folders) for folders in ([first], [], [second], [third], [first, second])]
    together = PackedNetwork(network).with_adapters([weights for weights in adapters if weights is not None])
    assert together is not None
    groups = [0, 0, 1, 2, 3, 4]
    rows = logits(network, together, groups)
    alone = [merged(family, *folders) for folders in ([first], [], [second], [third], [first, second])]
    for row, group in enumerate(groups):
        assert torch.allclose(rows[:, row], alone[group][:, row], atol=5e-4, rtol=1e-3), f"row {row}"
        others = [other for number, other in enumerate(alone) if number != group]
        assert not any(torch.allclose(rows[:, row], other[:, row], atol=5e-2) for other in others)  # told apart


@pytest.mark.parametrize("rank", [3, 4])  # with 3 some products are too small to be batched
def test_a_row_has_the_same_bits_whatever_the_others_are(tmp_path: Path, rank: int) -> None:
    network = network_of("llama")
    adapters = [read_lora([adapter(tmp_path / str(seed), "llama", seed, r=rank)]) for seed in range(3)]
    whole = PackedNetwork(network)
    alone = [logits(network, whole.with_adapters([weights]), [0] * 6) for weights in adapters]
    together = whole.with_adapters(adapters)
    assert (together.checkpoint_deltas.stacks is None) == (rank == 3)
    for groups in ([0, 0, 1, 1, 2, 2], [2, 1, 0, 2, 1, 0], [1] * 6, [0, 1, 1, 1, 1, 2]):
        rows = logits(network, together, groups)
        for row, group in enumerate(groups):
            assert torch.equal(rows[:, row], alone[group][:, row])


def test_models_go_through_one_product_where_they_are_alike_and_even(tmp_path: Path) -> None:
    network = network_of("llama")
    first, second = (read_lora([adapter(tmp_path / str(seed), "llama", seed, r=4)]) for seed in range(2))
    other = read_lora([adapter(tmp_path / "other", "llama", 3, r=5)])
    even = PackedNetwork(network).with_adapters([first, second]).checkpoint_deltas
    assert [type(way) for way in even.for_rows([0] * 8 + [1] * 8)] == [BatchedDelta]
    assert [type(way) for way in even.for_rows([0] * 480 + [1] * 32)] == [BatchedDelta]
    thrice = PackedNetwork(network).with_adapters([first, second, first]).checkpoint_deltas
    assert [type(way) for way in thrice.for_rows([0] * 480 + [1] * 16 + [2] * 16)] == [
        RowSlice
    ] * 3  # slots would stay empty
    assert [
        type(way)
        for way in PackedNetwork(network).with_adapters([first, other]).checkpoint_deltas.for_rows([0] * 8 + [1] * 8)
    ] == [RowSlice] * 2
    assert [
        type(way)
        for way in PackedNetwork(network).with_adapters([{}, first]).checkpoint_deltas.for_rows([0] * 8 + [1] * 16)
    ] == [RowSlice]
    assert PackedNetwork(network).checkpoint_deltas.for_rows([0] * 64) == []


def test_one_beginning_is_read_by_each_checkpoint_for_itself(tmp_path: Path) -> None:
    prompts = [tuple(range(5, 30))] * 4
    network = network_of("llama")
    adapters = [read_lora([adapter(tmp_path / str(seed), "llama", seed)]) for seed in range(2)]
    rows = logits(network, PackedNetwork(network).with_adapters(adapters), [0, 1, 0, 1], prompts)
    assert torch.equal(rows[:, 0], rows[:, 2]) and torch.equal(rows[:, 1], rows[:, 3])
    assert not torch.allclose(rows[:, 0], rows[:, 1], atol=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"bias": "lora_only"},
        {"modules_to_save": ["norm"]},
        {"rank_pattern": {"q_proj": 2}},
    ],
    ids=str,
)
def test_an_adapter_that_is_more_than_two_thin_matrices_is_not_taken_apart(tmp_path: Path, changes: dict) -> None:
    assert read_lora([adapter(tmp_path, "llama with biases", 1, **changes)]) is None


def test_whole_weights_and_unknown_keys_are_not_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    assert read_lora([tmp_path / "whole"]) is None
    folder = adapter(tmp_path / "1", "llama", 1)
    assert read_lora([folder]) is not None
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "LOHA"}))
    assert read_lora([folder]) is None


def test_a_change_of_a_part_that_is_not_known_is_refused(tmp_path: Path) -> None:
    weights = read_lora([adapter(tmp_path, "llama", 1, target_modules=["lm_head", "q_proj"])])
    assert weights is not None and "lm_head" in weights
    assert PackedNetwork(network_of("llama")).with_adapters([weights]) is None
