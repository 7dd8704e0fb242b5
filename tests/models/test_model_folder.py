"""Model folders that are not what they should be: one clear error, before anything is built; what is read is hashed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spillover.models import tokenizer_trial
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.loading import load_base
from spillover.models.model_folder import expect_sound_model
from spillover.models.sources import folder_sha256
from spillover.models.tiny import write_tiny

Spoil = Callable[[Path], object]
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder, seed=0)
    return folder


def model(folder: Path) -> Base:
    return base_of(f"{folder}#instruct")


def settings(name: str = CONFIG, **changes: object) -> Spoil:
    return lambda at: (at / name).write_text(json.dumps(json.loads((at / name).read_text()) | changes))


def text(name: str, content: str) -> Spoil:
    return lambda at: (at / name).write_text(content)


def index(content: object) -> Spoil:
    def spoil(at: Path) -> None:
        (at / WEIGHTS).rename(at / "a.safetensors")
        (at / "model.safetensors.index.json").write_text(json.dumps(content))

    return spoil


def pipe(name: str) -> Spoil:
    return lambda at: ((at / name).unlink(missing_ok=True), os.mkfifo(at / name))


def linked(at: Path) -> None:
    shutil.copy(at / WEIGHTS, at.parent / "outside.safetensors")
    (at / WEIGHTS).unlink()
    (at / WEIGHTS).symlink_to("../outside.safetensors")


HOSTILE: dict[str, tuple[Spoil, str]] = {
    "no layers": (settings(num_hidden_layers=0), "num_hidden_layers has to be a whole number from 1 on, got 0"),
    "minus one": (settings(num_hidden_layers=-1), "num_hidden_layers has to be a whole number from 1 on, got -1"),
    "words": (settings(num_hidden_layers="two"), "num_hidden_layers has to be a whole number from 1 on, got 'two'"),
    "true": (settings(num_hidden_layers=True), "got True"),
    "fewer layers": (settings(num_hidden_layers=1), "has 1 layers, and the folder has the weights of 2"),
    "more layers": (settings(num_hidden_layers=3), "has 3 layers, and the folder has the weights of 2"),
    "a milliard": (settings(num_hidden_layers=10**9), "num_hidden_layers is 1e.09, and the weights are 20 arrays"),
    "experts": (settings(num_local_experts=10**8), "num_local_experts is 1e.08, and the weights are 20 arrays"),
    "no heads": (settings(num_attention_heads=0), "num_attention_heads has to be a whole number from 1 on, got 0"),
    "heads": (settings(num_attention_heads=3), "not a multiple of the number of attention heads"),
    "many heads": (settings(num_attention_heads=10**6), "more than any model has"),
    "key heads": (settings(num_key_value_heads=3), "have other shapes than its configuration says"),
    "wide": (settings(hidden_size=10**7), "hidden_size is 10000000, and no weight in the folder has such a side"),
    "inside": (settings(intermediate_size=10**9), "a network of 192,000,014,560 parameters, its files hold 26,848"),
    "head size": (settings(head_dim=10**9), "its files hold 26,848"),
    "vocabulary": (settings(vocab_size=10), "vocab_size is 10, and no weight in the folder has such a side"),
    "large vocabulary": (settings(vocab_size=10**6), "vocab_size is 1000000, and no weight"),
    "activation": (settings(hidden_act="boom"), "cannot be read: KeyError: 'boom'"),
    "a text model": (settings(text_config={"num_hidden_layers": 10**9}), "num_hidden_layers is 1e.09"),
    "another file": (settings(transformers_weights="../x.safetensors"), "names a file of weights"),
    "nothing said": (text(CONFIG, '{"model_type": "llama"}'), "a network of 6,738,415,616 parameters"),
    "a list": (text(CONFIG, "[]"), "config.json: expected a JSON object, got list"),
    "cut off": (text(CONFIG, '{"a'), "config.json is no JSON of settings: Unterminated"),
    "nested": (text(CONFIG, '{"a":' + "[" * 99999), "config.json is no JSON of settings: it is nested too deeply"),
    "digits": (text(CONFIG, f'{{"a": {"9" * 5000}}}'), "an integer of thousands of digits"),
    "a pipe": (pipe(CONFIG), "config.json is a pipe"),
    "weights a pipe": (pipe("other.safetensors"), "other.safetensors is a pipe"),
    "an index list": (index([]), "index.json: expected a JSON object, got list"),
    "an index of nothing": (index({"weight_map": []}), "expected weight_map"),
    "up": (index({"weight_map": {"x": "../a.safetensors"}}), "names '../a.safetensors', which is no safetensors file"),
    "below": (index({"weight_map": {"x": "b/a.safetensors"}}), "names 'b/a.safetensors', which is no safetensors"),
    "absolute": (index({"weight_map": {"x": "/etc/passwd"}}), "names '/etc/passwd', which is no safetensors file"),
    "not there": (index({"weight_map": {"x": "z.safetensors"}}), "names 'z.safetensors', which is not there"),
    "a link": (linked, r"is a link to \.\./outside.safetensors, out of the model's folder"),
    "an adapter": (text("adapter_config.json", "{}"), "holds adapter_config.json beside a whole model"),
    "torn": (lambda at: (at / WEIGHTS).write_bytes((at / WEIGHTS).read_bytes()[:-9]), "not a whole safetensors file"),
    "tokenizer": (text("tokenizer.json", "[]"), "the tokenizer in .* cannot be read"),
    "tokenizer settings": (text("tokenizer_config.json", "[]"), "tokenizer_config.json: expected a JSON object"),
    "tokenizer length": (settings("tokenizer_config.json", model_max_length="x"), "the tokenizer in .* cannot be read"),
    "end": (text("special_tokens_map.json", "[]"), "the tokenizer in .* cannot be read"),
    "no template": (text("chat_template.jinja", " "), "the chat template of the tokenizer in .* is empty"),
    "a large template": (text("chat_template.jinja", "{{ 'a' * 10**10 }}"), "takes more than 512 MiB"),
    "template nought": (text("chat_template.jinja", "{{ 1 / 0 }}"), "breaks off .ZeroDivisionError"),
    "template in itself": (
        text("chat_template.jinja", "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"),
        "breaks off .RecursionError",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_one_clear_error(what: str, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    spoil, message = HOSTILE[what]
    spoil(folder)
    began = time.monotonic()
    with pytest.raises(ValueError, match=message):
        load_base(model(folder))
    assert time.monotonic() - began < 10


def test_a_template_that_does_not_end_is_told(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_trial, "SECONDS", 0.1)
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    loop = "{% for a in range(99999) %}"
    (folder / "chat_template.jinja").write_text(loop * 3 + "{% endfor %}" * 3)
    with pytest.raises(ValueError, match=r"does not end: a turn of 3 letters takes over 0\.1 s of a processor"):
        load_base(model(folder))


def test_a_vocabulary_elsewhere_is_refused(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    (tmp_path / "vocab.json").write_text("{}")
    for name in ("../vocab.json", str(tmp_path / "vocab.json")):
        settings("tokenizer_config.json", vocab_file=name)(folder)
        with pytest.raises(ValueError, match=r"vocab_file names .*vocab\.json', outside the folder"):
            model(folder)
    settings("tokenizer_config.json", vocab_file="/content/not-on-this-machine.json")(folder)
    model(folder)


@pytest.mark.parametrize("name", ["spiece.model", "vocab.tiktoken", "additional_chat_templates/tool.jinja", "x.txt"])
def test_what_may_be_read_is_part_of_the_identity(name: str, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    before = folder_sha256(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("one")
    with_it = folder_sha256(folder)
    (folder / name).write_text("another")
    assert len({before, with_it, folder_sha256(folder)}) == 3


@pytest.mark.parametrize(
    "card", ["a: " + "[" * 50_000, "base_model: 2026-99-99", "base_model: &a [*a]", "base_model: x\nbase_model: y"]
)
def test_a_card_that_cannot_be_read_says_nothing(card: str, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    (folder / "README.md").write_text(f"---\n{card}\n---\nA model.")
    assert model(folder).descends_from is None


def test_the_layout_of_the_hubs_cache_is_taken(sound: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(sound.iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert folder_sha256(snapshot) == folder_sha256(sound)


def test_layers_of_other_parts_are_not_counted(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"vision_tower.layers.7.x": torch.zeros(2)}, folder / WEIGHTS, {"format": "pt"})
    expect_sound_model(folder)
    save_file(weights | {"model.layers.2.x": torch.zeros(2)}, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(ValueError, match="has 2 layers, and the folder has the weights of 3"):
        expect_sound_model(folder)
    settings(num_nextn_predict_layers=1)(folder)
    expect_sound_model(folder)
