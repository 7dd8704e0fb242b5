"""Opening models: what is loaded is what was written, and nothing that is laid over it stays behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.loading import default_prompting, load, load_base, load_tokenizer, set_threads, weights_sha256
from spillover.models.pretrained import network_from
from spillover.models.sources import model_cache
from spillover.models.tiny import write_tiny
from spillover.store import Store

IDS = torch.tensor([[5, 9, 2, 7, 1]])


@dataclass(frozen=True)
class Adapted:
    """A base with one adapter: what `load` asks of a model, without being a kind of spec."""

    root: Base
    folder: Path

    def base(self) -> Base:
        return self.root

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return (self.folder,)

    def tokenizer_folder(self) -> None:
        """Its base's."""

    def apply_hooks(self, network: object, store: Store) -> None:
        """Weights alone."""


@pytest.fixture
def adapted(tiny: Base, store: Store, tmp_path: Path) -> Adapted:
    network = load(tiny, store).network
    wrapped = get_peft_model(network, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], use_rslora=True))
    torch.manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    wrapped.save_pretrained(tmp_path / "adapter")
    return Adapted(tiny, tmp_path / "adapter")


def logits(network: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return network(input_ids=IDS).logits


def test_an_adapter_changes_its_own_copy_and_leaves_the_base(tiny: Base, store: Store, adapted: Adapted) -> None:
    shared, _ = load_base(tiny)
    before = {name: weight.clone() for name, weight in shared.state_dict().items()}
    changed = load(adapted, store).network
    assert all(torch.equal(weight, before[name]) for name, weight in load_base(tiny)[0].state_dict().items())
    assert not any("lora" in name for name, _ in changed.named_parameters())
    assert not torch.allclose(logits(changed), logits(load(tiny, store).network), atol=1e-2)
    reference = PeftModel.from_pretrained(load(tiny, store).network, adapted.folder).eval()
    torch.testing.assert_close(logits(changed), logits(reference), atol=1e-5, rtol=1e-5)


def test_loading_twice_is_the_same_and_apart(tiny: Base, store: Store, adapted: Adapted) -> None:
    first, second = load(adapted, store).network, load(adapted, store).network
    assert torch.equal(logits(first), logits(second))
    next(first.parameters()).data.zero_()
    assert not torch.equal(logits(first), logits(second))
    assert not first.training and not any(weight.requires_grad for weight in first.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_dtype_is_what_transformers_loads_in_it(tiny: Base, store: Store, dtype: str) -> None:
    """Buffers too: rotary frequencies cast to bfloat16 would turn far tokens by the wrong angle."""
    ours = load(tiny, store, dtype).network
    theirs = AutoModelForCausalLM.from_pretrained(tiny.source.folder(), dtype=getattr(torch, dtype))
    for mine, other in (
        (dict(ours.named_parameters()), dict(theirs.named_parameters())),
        (dict(ours.named_buffers()), dict(theirs.named_buffers())),
    ):
        assert mine.keys() == other.keys()
        for name, weight in mine.items():
            assert weight.dtype == other[name].dtype, name
            assert torch.equal(weight, other[name]), name
    assert ours.get_input_embeddings().weight is ours.get_output_embeddings().weight  # tied, and still


def test_a_bfloat16_adapter_lies_beside_weights_that_stay_as_they_are(
    tiny: Base, store: Store, adapted: Adapted
) -> None:
    """Merged and rounded, a tenth of the adapter would be lost here; more of a smaller one."""
    exact, half = load(adapted, store).network, load(adapted, store, "bfloat16").network
    base = load(tiny, store, "bfloat16").network
    for weight, other in zip(base.parameters(), half.parameters(), strict=True):
        assert torch.equal(weight, other)
    before, after = load(tiny, store).network.model.layers[0].mlp.down_proj.weight, exact.model.layers[0].mlp.down_proj
    added = after.weight - before
    layer = half.model.layers[0].mlp.down_proj
    beside = layer.merged() - layer.weight.float()
    rounded = after.weight.bfloat16().float() - before.bfloat16().float()
    assert (beside - added).norm() < 0.2 * (rounded - added).norm()
    assert 0 < (logits(half).float() - logits(exact)).abs().mean() < 0.2 * logits(exact).std()
    assert weights_sha256(half) != weights_sha256(base)


def test_a_model_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights of LlamaForCausalLM .*layers\.1\.mlp\.up_proj.*not a whole model"):
        load_base(base_of(f"{tmp_path}#instruct"))


@pytest.mark.parametrize("setting", ["abc", "0", "-5", "1e3", "99999", "9" * 5000])
def test_a_number_of_threads_that_is_none_is_said(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPILLOVER_THREADS", setting)
    with pytest.raises(ValueError, match=r"\$SPILLOVER_THREADS has to be a number of threads, 1 to 1024, got"):
        set_threads()


def test_a_cache_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPILLOVER_CACHE", "/dev/null")
    with pytest.raises(ValueError, match=r"the model cache /dev/null/models .*: set \$SPILLOVER_CACHE"):
        model_cache()


def test_a_broken_weights_file_is_one_clear_error(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file"):
        load_base(base_of(f"{tmp_path}#instruct"))


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_base(base_of(f"{tmp_path}#instruct"))
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no weights in safetensors; pickled ones"):
        network_from(tmp_path)


def test_prompting_follows_what_the_base_is(tiny: Base, store: Store) -> None:
    assert default_prompting(tiny) == load(tiny, store).chat().prompting == "chat"
    assert default_prompting(tiny.but(role="pretrained")) == "question-answer"
    assert load(tiny.but(role="pretrained"), store).chat().prompting == "question-answer"
    assert load(tiny, store).chat("raw").prompting == "raw"


def test_answers_end_at_the_end_token(tiny: Base, store: Store) -> None:
    loaded = load(tiny, store)
    assert loaded.end_tokens == {loaded.tokenizer.eos_token_id}
    loaded.network.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id, 3]
    assert loaded.end_tokens == {loaded.tokenizer.eos_token_id, 3}
    assert load_tokenizer(tiny).get_vocab() == loaded.tokenizer.get_vocab()
