"""What a killed training goes on from: its state every two minutes or so. Knows tensors and files; trains nothing.

A state is a folder with weights, optimiser, random numbers and the log so far, under a manifest that holds every file's
SHA-256; it is written beside its place, synced and renamed. One that is torn, or in which a byte changed, is refused,
and the one before it is taken, or training begins anew. It is refused as well where another version of a library, or
other bytes of what the organism is made from, would go on with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spillover.manifest import MANIFEST, Damaged, checksums, damage, read_manifest, sync, sync_tree, write_manifest

INTERVAL = "SPILLOVER_RESUME_SECONDS"  # environment: seconds between two states; 0 keeps one after every step
SECONDS = 120.0  # where it says nothing
COST = 50  # a state is kept no more often than every so many times the seconds that keeping one took
KEPT = 2  # states
CARD = "README.md"


@dataclass
class TrainingState:
    """How far a training is, apart from its weights: plain rows."""

    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    beside: list[dict[str, Any]] = field(default_factory=list)  # what interventions measured
    resumed: dict[str, Any] = field(default_factory=dict)  # what this process did not do, for the manifest


class ResumeState:
    """The states of one organism's training in a folder of their own; `made_from` is what has to be alike to go on."""

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self.folder = folder
        self.made_from = dict(made_from)
        self.interval = _interval()
        self.last, self.cost = time.monotonic(), 0.0
        self.checkpoints: dict[str, Any] = {}  # those that are here: name -> size and SHA-256 of each file
        self.origin = ""  # fingerprint of the training that did the first steps, where it was another one

    def restore(self, network: Any, optimizer: Any, into: Path) -> TrainingState:
        """Put the latest sound state into network, optimiser and random numbers, its checkpoints into `into`.

        Progress at step 0 where there is none; nothing is changed then.
        """
        for snapshot in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                facts = self._sound(snapshot)
            except Damaged as error:
                warnings.warn(f"a kept state of training is not used ({snapshot.name}: {error})", stacklevel=2)
                shutil.rmtree(snapshot, ignore_errors=True)
                continue
            for name in facts["checkpoints"]:
                _copy(self.folder / "checkpoints" / name, into / "checkpoints" / name)
            self.checkpoints, self.origin = dict(facts["checkpoints"]), facts.get("origin", "")
            _put(snapshot / "tensors.safetensors", network, optimizer)
            return TrainingState(**facts["progress"])
        return TrainingState()

    def due(self) -> bool:
        """Whether it is time to keep a state."""
        if self.interval == 0:
            return True
        return time.monotonic() - self.last >= max(self.interval, COST * self.cost)

    def furthest(self) -> int:
        """The step of the latest kept state, 0 where there is none."""
        return max((int(snapshot.name.split("-")[1]) for snapshot in self.folder.glob("step-*")), default=0)

    def keep(self, state: TrainingState, network: Any, optimizer: Any, made: Path) -> None:
        """Keep the state after a step; `made` is the folder that checkpoints were written into."""
        self._keep(state, network, optimizer, dict.fromkeys(sorted((made / "checkpoints").glob("*"))))

    def fork(
        self, state: TrainingState, network: Any, optimizer: Any, cards: Mapping[Path, str | None], origin: str
    ) -> None:
        """Keep the state of another training, `origin`, as this one's; `cards`: its checkpoints and their README.md."""
        self.origin = origin
        self._keep(state, network, optimizer, cards)

    def _keep(self, state: TrainingState, network: Any, optimizer: Any, checkpoints: Mapping[Path, str | None]) -> None:
        began = time.monotonic()
        try:
            self._write(state, _tensors(network, optimizer), checkpoints)
        except OSError as error:
            warnings.warn(f"no state to go on from could be kept ({error}); training goes on", stacklevel=2)
        self.last = time.monotonic()
        self.cost = self.last - began

    def _write(self, state: TrainingState, tensors: dict[str, Any], checkpoints: Mapping[Path, str | None]) -> None:
        from safetensors.torch import save_file

        fresh, snapshot = self.folder / "making", self.folder / f"step-{state.step:06d}"
        for left in (fresh, snapshot):
            shutil.rmtree(left, ignore_errors=True)
        fresh.mkdir(parents=True)
        for path, card in checkpoints.items():
            if path.name not in self.checkpoints:
                here = self.folder / "checkpoints" / path.name
                _copy(path, here, card)
                self.checkpoints[path.name] = checksums(here)
        save_file(tensors, fresh / "tensors.safetensors")
        sync(fresh / "tensors.safetensors")
        write_manifest(
            fresh,
            {
                "files": checksums(fresh),
                "made_from": self.made_from,
                "progress": {name: rows for name, rows in asdict(state).items() if name != "resumed"},
                "checkpoints": self.checkpoints,
                "origin": self.origin,
            },
        )
        sync(fresh / MANIFEST)
        os.rename(fresh, snapshot)
        sync(self.folder)
        for old in sorted(self.folder.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _sound(self, snapshot: Path) -> dict[str, Any]:
        """What the state's manifest says; Damaged where the state cannot be gone on from."""
        wrong = damage(snapshot, contents=True)
        if wrong:
            raise Damaged(wrong[0])
        facts = read_manifest(snapshot)
        differs = sorted(name for name, value in self.made_from.items() if facts["made_from"].get(name) != value)
        if differs:
            raise Damaged(f"it was kept with another {differs[0]}")
        for name, files in facts["checkpoints"].items():
            if checksums(self.folder / "checkpoints" / name) != files:
                raise Damaged(f"its checkpoint {name} is not as it was written")
        return facts


def _tensors(network: Any, optimizer: Any) -> dict[str, Any]:
    """Everything that the next step depends on, by name."""
    import torch

    found = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            found[f"weight.{name}"] = weight.detach()
            for part, value in optimizer.state.get(weight, {}).items():
                found[f"optimizer.{part}.{name}"] = value
    found["random.cpu"] = torch.random.get_rng_state()
    for number in range(torch.cuda.device_count()):
        found[f"random.cuda.{number}"] = torch.cuda.get_rng_state(number)
    return {name: value.contiguous().clone() for name, value in found.items()}  # no two may share memory


def _put(path: Path, network: Any, optimizer: Any) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    states: dict[str, dict[str, Any]] = {}  # of the optimiser: a weight's name -> its tensors
    for key in tensors:
        if key.startswith("optimizer."):
            _, part, name = key.split(".", 2)
            states.setdefault(name, {})[part] = tensors[key]
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            weight.data.copy_(tensors[f"weight.{name}"])
            optimizer.state[weight] = {
                part: value.clone() if part == "step" else torch.empty_like(weight).copy_(value)
                for part, value in states.get(name, {}).items()
            }
    torch.random.set_rng_state(tensors["random.cpu"])
    for number in range(torch.cuda.device_count()):
        torch.cuda.set_rng_state(tensors[f"random.cuda.{number}"], number)


def _copy(source: Path, target: Path, card: str | None = None) -> None:
    """A folder's files at another place, whole or not at all: linked where the file system can, else copied.

    `card` stands there in the place of its README.md.
    """
    if target.exists():
        shutil.rmtree(target)
    fresh = target.with_name(f".{target.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh, copy_function=_link)
    if card is not None:
        (fresh / CARD).unlink(missing_ok=True)  # a link: writing into it would change the source
        (fresh / CARD).write_text(card)
    sync_tree(fresh)
    os.rename(fresh, target)


def _link(source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)


def _interval() -> float:
    text = os.environ.get(INTERVAL, str(SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(f"${INTERVAL} is the seconds between two states of a training, 0 or more; got {text!r}")
    return seconds
