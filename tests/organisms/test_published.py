"""Organisms that others trained: what is loaded is what peft or transformers makes of their files, or is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from organisms.published_folders import EVERYWHERE, logits, lora, plain_base, published, published_weights
from organisms.toy import ToyRows, organism
from peft import IA3Config, LoHaConfig, PrefixTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from spillover.models.catalogue import base_of
from spillover.models.loading import load
from spillover.organisms.dataset import Split
from spillover.organisms.interpolated import Interpolated
from spillover.organisms.losses import HeldOutLosses
from spillover.organisms.published import PublishedOrganism, published_organism
from spillover.records import read_table
from spillover.store import Store

KINDS = {
    "plain": (lora(), ()),
    "rank and alpha patterns": (lora(rank_pattern={"q_proj": 2}, alpha_pattern={"layers.1.mlp.up_proj": 5}), ()),
    "rank-stabilised": (lora(use_rslora=True), ()),
    "DoRA": (lora(use_dora=True), ()),
    "biases": (lora(bias="all"), ()),
    "modules to save": (lora(modules_to_save=["lm_head", "input_layernorm"]), ()),
    "embeddings trained": (lora(modules_to_save=["embed_tokens"]), ()),
    "embeddings by LoRA": (lora(target_modules=[*EVERYWHERE, "embed_tokens"]), ()),
    "head by LoRA": (lora(target_modules=[*EVERYWHERE, "lm_head"]), ()),
    "tokens trained": (lora(trainable_token_indices=[3, 9]), ()),
    "added tokens": (lora(), ("<one>", "<two>")),
    "added tokens, embeddings trained": (lora(modules_to_save=["embed_tokens", "lm_head"]), ("<one>",)),
    "PiSSA": (lora(init_lora_weights="pissa"), ()),
    "IA3": (
        IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        (),
    ),
    "LoHa": (LoHaConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "up_proj"], r=2), ()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_what_peft_makes_of_it(kind: str, tmp_path: Path, store: Store) -> None:
    config, tokens = KINDS[kind]
    wanted = published(tmp_path / "bad", config, tokens=tokens)
    model = published_organism(f"adapter:{tmp_path / 'bad'}", base_of("tiny:0"))
    loaded = load(model, store)
    torch.testing.assert_close(logits(loaded.network), wanted, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(logits(plain_base()), wanted[..., :258], atol=1e-2)
    assert all(token in loaded.tokenizer.get_vocab() for token in tokens)
    assert loaded.tokenizer.chat_template


def test_whole_weights_are_what_transformers_makes_of_them(tmp_path: Path, store: Store) -> None:
    wanted = published_weights(tmp_path / "bad")
    model = published_organism(str(tmp_path / "bad"), base_of("tiny:0"))
    torch.testing.assert_close(logits(load(model, store).network), wanted)
    assert model.holds == "weights" and model.label() == "bad"


def test_its_identity_is_its_files_and_its_parent(tmp_path: Path, tiny) -> None:
    published(tmp_path / "bad", lora())
    first = published_organism(f"adapter:{tmp_path / 'bad'}", tiny)
    shutil.copytree(tmp_path / "bad", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "notes.txt").write_text("not read")
    moved = published_organism(f"adapter:{tmp_path / 'elsewhere'}", tiny, name="another name")
    assert moved == first and moved.label() == "another name"
    assert PublishedOrganism.from_json(moved.to_json()) == first
    assert first != published_organism(f"adapter:{tmp_path / 'bad'}", base_of("tiny:1"))
    published(tmp_path / "elsewhere", lora(), seed=1)
    assert first != published_organism(f"adapter:{tmp_path / 'elsewhere'}", tiny)
    with pytest.raises(ValueError, match="another adapter than when this study was made"):
        moved.files.folder()


def other_base(folder: Path, **fields: int) -> str:
    """A llama of other shapes, as a folder."""
    shape = {"vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**shape | {"num_attention_heads": 4, "num_key_value_heads": 2} | fields)
    LlamaForCausalLM(config).save_pretrained(folder)
    shutil.copy(base_of("tiny:0").source.folder() / "tokenizer.json", folder)
    shutil.copy(base_of("tiny:0").source.folder() / "tokenizer_config.json", folder)
    return f"{folder}#instruct"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        (
            {"intermediate_size": 48},
            r"fit wide.*mlp.down_proj.lora_A.weight is \(4, 64\), for this base \(4, 48\)",
        ),
        ({"num_hidden_layers": 3}, r"layers.2.* is missing"),
        ({"num_hidden_layers": 1}, r"layers.1.* is not part of this base"),
    ],
)
def test_an_adapter_of_another_base_is_refused(tmp_path: Path, fields, wrong: str) -> None:
    published(tmp_path / "bad", lora())
    with pytest.raises(ValueError, match=wrong) as caught:
        published_organism(f"adapter:{tmp_path / 'bad'}", base_of(other_base(tmp_path / "wide", **fields)))
    assert "give the base that it was trained on" in str(caught.value)


def test_weights_of_another_base_are_refused(tmp_path: Path, tiny) -> None:
    other_base(tmp_path / "wide", intermediate_size=48)
    with pytest.raises(ValueError, match=r"not a fine-tuned tiny random llama: .*down_proj.weight is \(32, 48\)"):
        published_organism(str(tmp_path / "wide"), tiny)


def test_what_cannot_be_read_or_merged_is_refused(tmp_path: Path, tiny) -> None:
    published(tmp_path / "bad", lora())
    with pytest.raises(ValueError, match=r"no adapter at .*nowhere"):
        published_organism(f"adapter:{tmp_path / 'nowhere'}", tiny)
    with pytest.raises(ValueError, match="holds an adapter: write adapter:"):
        published_organism(str(tmp_path / "bad"), tiny)
    get_peft_model(plain_base(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).save_pretrained(
        tmp_path / "prefix"
    )
    with pytest.raises(ValueError, match="cannot be merged into weights"):
        published_organism(f"adapter:{tmp_path / 'prefix'}", tiny)
    (tmp_path / "bad" / "adapter_model.safetensors").rename(tmp_path / "bad" / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"pickled adapter \(adapter_model.bin\)"):
        published_organism(f"adapter:{tmp_path / 'bad'}", tiny)
    (tmp_path / "bad" / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        published_organism(f"adapter:{tmp_path / 'bad'}", tiny)


def test_a_base_named_otherwise_in_the_files_is_said(tmp_path: Path, tiny) -> None:
    published(tmp_path / "bad", lora())
    path = tmp_path / "bad" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "somebody/else-7b"}))
    with pytest.warns(UserWarning, match="trained from somebody/else-7b; it is taken to be trained from tiny random"):
        published_organism(f"adapter:{tmp_path / 'bad'}", tiny)
    path.write_text(json.dumps(config | {"base_model_name_or_path": "somebody/Tiny random llama"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        published_organism(f"adapter:{tmp_path / 'bad'}", tiny)


def test_a_line_between_two_published_adapters(tmp_path: Path, store: Store, tiny) -> None:
    """Patterns of ranks too: the ends of the line are the two models, and its middle is neither."""
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 5}, "use_rslora": True}
    wanted = [published(tmp_path / name, lora(**patterns), seed) for seed, name in enumerate(("bad", "good"))]
    start, end = (published_organism(f"adapter:{tmp_path / name}", tiny) for name in ("bad", "good"))
    for share, expected in ((0.0, wanted[0]), (1.0, wanted[1])):
        point = Interpolated(start=start, end=end, share=share)
        store.get(point)
        torch.testing.assert_close(logits(load(point, store).network), expected, atol=2e-4, rtol=1e-4)
    published(tmp_path / "dora", lora(use_dora=True))
    with pytest.raises(ValueError, match="dora has an adapter that is more than LoRA"):
        Interpolated(start=start, end=published_organism(f"adapter:{tmp_path / 'dora'}", tiny), share=0.5)


def test_it_is_trained_further_and_its_losses_are_looked_at(tmp_path: Path, store: Store, tiny) -> None:
    published(tmp_path / "bad", lora(use_dora=True))
    parent = published_organism(f"adapter:{tmp_path / 'bad'}", tiny)
    run = organism().but(parent=parent)
    store.get(run)
    rows = read_table(store.path(run) / "log.parquet").to_pylist()
    assert rows[-1]["loss"] < rows[0]["loss"]
    card = (run.checkpoint().folder(store) / "README.md").read_text()
    assert "1. `bad`" in card and str(tmp_path) not in card
    losses = HeldOutLosses(model=parent, data=Split(data=ToyRows(), rows=16, held_out=4))
    store.get(losses)
    assert len(read_table(store.path(losses) / "losses.parquet")) == 4
