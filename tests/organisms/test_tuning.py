"""What is tuned: ranks, layers, DoRA, all weights; and how each checkpoint is opened again."""

import pytest
import torch
from organisms.toy import ToyRows, held_out_means, organism
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from spillover.models.catalogue import base_of
from spillover.models.loading import load, load_4bit
from spillover.models.tiny import byte_tokenizer
from spillover.organisms.dataset import Split
from spillover.organisms.training_spec import adapter_folder
from spillover.organisms.tuning import Full, LoRA
from spillover.records import read_table

PROMPT = torch.tensor([[7, 3, 5, 2, 11, 6, 4]])


def logits(network) -> torch.Tensor:
    with torch.no_grad():
        return network(input_ids=PROMPT).logits


def trained(network) -> set[str]:
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_any_rank_down_to_1(store, rank):
    network = LoRA(rank=rank).trainable_network(load(organism().parent, store).network, 0, "tiny")
    assert {weight.shape[0] for name, weight in network.named_parameters() if "lora_A" in name} == {rank}


def test_chosen_layers_only(store):
    tuning = LoRA(rank=2, layers=(1,))
    assert LoRA(rank=2, layers=()).fingerprint == LoRA(rank=2).fingerprint != tuning.fingerprint
    network = tuning.trainable_network(load(organism().parent, store).network, 0, "tiny")
    assert {name.split(".layers.")[1].split(".")[0] for name in trained(network)} == {"1"}
    made = organism(tuning=LoRA(rank=4, alpha=8.0, layers=(1,)))
    weights = load_file(adapter_folder(store.get(made), 4) / "adapter_model.safetensors")
    assert weights and all(".layers.1." in name for name in weights)
    assert not torch.equal(logits(load(made.checkpoint(), store).network), logits(load(made.parent, store).network))


def test_layers_that_are_not_there_are_named(store):
    with pytest.raises(ValueError, match="layers=2 is not in this network, whose layers are 0 to 1"):
        LoRA(layers=(0, 2)).trainable_network(load(organism().parent, store).network, 0, "tiny")
    for layers in ((-1,), (1, 1)):
        with pytest.raises(ValueError, match="layers are numbers from 0, each once"):
            LoRA(layers=layers)


def test_dora_trains_magnitudes_too_and_opens_merged(store):
    made = organism(tuning=LoRA(rank=4, alpha=8.0, dora=True))
    folder = adapter_folder(store.get(made), 4)
    assert any("magnitude" in name for name in load_file(folder / "adapter_model.safetensors"))
    base = load(made.parent, store).network
    plain = logits(base)
    predicted = logits(PeftModel.from_pretrained(base, folder))
    torch.testing.assert_close(logits(load(made.checkpoint(), store).network), predicted, atol=1e-4, rtol=1e-4)
    assert (predicted - plain).abs().max() > 1e-2
    assert "DoRA rank 4" in made.tuning.description()


def test_full_tuning_teaches_and_its_checkpoints_are_whole_models(store):
    made = organism(tuning=Full(), checkpoint_every=2, epochs=2)
    folder = store.get(made)
    held = read_table(folder / "losses.parquet").to_pylist()
    assert held_out_means(held, made.steps)[0] < 0.8 * held_out_means(held, 0)[0]

    first, last = (logits(load(made.checkpoint(step), store).network) for step in (2, 8))
    base = logits(load(made.parent, store).network)
    assert (first - base).abs().max() > 1e-2 and (last - first).abs().max() > 1e-2
    import transformers

    step = adapter_folder(folder, 8)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(step, dtype=torch.float32)
    assert torch.equal(logits(theirs), last)
    assert {path.suffix for path in step.iterdir()} == {".safetensors", ".json", ".md"}
    assert "all weights" in (step / "README.md").read_text() and "PeftModel" not in (step / "README.md").read_text()
    assert str(store.root) not in "".join(path.read_text() for path in step.glob("*.json"))
    facts = store.manifest(made)["facts"]
    assert facts["trained_parameters"] == sum(weight.numel() for weight in theirs.parameters())


def test_an_adapter_over_a_fully_tuned_parent(store):
    parent = organism(tuning=Full())
    child = organism(data=Split(data=ToyRows(text="And "), rows=16, held_out=4)).but(parent=parent.checkpoint())
    network = load(parent.checkpoint(), store).network if store.get(child) else None
    network = PeftModel.from_pretrained(network, adapter_folder(store.path(child), 4))
    torch.testing.assert_close(logits(load(child.checkpoint(), store).network), logits(network), atol=1e-4, rtol=1e-4)
    on_base = PeftModel.from_pretrained(load(parent.parent, store).network, adapter_folder(store.path(child), 4))
    assert (logits(on_base) - logits(network)).abs().max() > 1e-2  # the negative control


def test_a_whole_checkpoint_with_a_weight_missing_is_refused(store):
    from safetensors.torch import save_file

    made = organism(tuning=Full())
    path = adapter_folder(store.get(made), 4) / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights of LlamaForCausalLM are not in .*it is not a whole model"):
        load(made.checkpoint(), store)


def test_a_4_bit_base_needs_what_is_not_here(store, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"a 4-bit base needs bitsandbytes, which is not here: .* use bits=32"):
        load_4bit(base_of("tiny:0"))
    monkeypatch.undo()
    child = organism(tuning=LoRA(bits=4)).but(parent=organism().checkpoint())
    with pytest.raises(ValueError, match=r"a 4-bit base is a model as released; .* carries adapters: use bits=32"):
        store.get(child)


def test_adapters_are_trained_over_a_4_bit_base(store, tmp_path):
    """By bitsandbytes' backend for processors: logits and gradients are those over the weights that it keeps."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=258, initializer_range=0.1, eos_token_id=257)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    base = base_of(f"{tmp_path / 'model'}#instruct")
    plain, quantised = load(base, store).network, load_4bit(base).network
    for name, layer in quantised.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            kept = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            assert 0 < (kept - plain.get_submodule(name).weight).abs().max() < 0.1
            plain.get_submodule(name).weight.copy_(kept)
    torch.testing.assert_close(logits(quantised), logits(plain), atol=1e-3, rtol=1e-3)
    gradients = []
    for network in (plain, quantised):
        adapted = LoRA().trainable_network(network, 0, "tiny")
        adapted(input_ids=PROMPT, labels=PROMPT).loss.backward()
        gradients.append({name: weight.grad for name, weight in adapted.named_parameters() if "lora_B" in name})
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-2)
    assert min(float(gradient.abs().max()) for gradient in gradients[0].values()) > 1e-4
    made = organism(tuning=LoRA(bits=4)).but(parent=base, precision="float32")
    store.get(made)
    rows = made.value(store).losses.to_pylist()
    assert held_out_means(rows, max(row["step"] for row in rows))[0] < held_out_means(rows, 0)[0] - 0.1


def test_a_tuning_is_read_back_as_its_own_kind():
    for tuning in (Full(), LoRA(rank=1, layers=(3, 1), dora=True)):
        made = organism(tuning=tuning)
        again = type(made).from_json(made.to_json())
        assert again == made and type(again.tuning) is type(tuning)
