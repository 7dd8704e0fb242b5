"""What a stopped training goes on from: its own state of the last two minutes, or that of one that begins alike.

A state is a folder with weights, optimiser, random numbers and the log so far, under a manifest that holds every file's
SHA-256; it is written under another name, synced and renamed. One that is torn, or in which a byte changed, is refused,
and the one before it is taken, or training begins anew. It is refused as well where another version of a library, or
other bytes of what the organism is made from, would go on with it.

Two organisms that differ in schedule and checkpoints alone are the same training until their learning rates part. The
first of them to be trained keeps its state at that step as the *other's* unfinished training, which then goes on from
it as from its own after a kill: to the same bytes as if it had been trained alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spillover.manifest import MANIFEST, Damaged, checksums, damage, read_manifest, sync, sync_tree, write_manifest
from spillover.organisms.schedules.standard import Constant
from spillover.organisms.training_spec import TrainingSpec, adapter_folder
from spillover.store import Artefact, Store

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

INTERVAL = "SPILLOVER_RESUME_SECONDS"  # environment: seconds between two states; 0 keeps one after every step
SECONDS = 120.0  # where it says nothing
PATIENCE = 50  # a state is kept no more often than every so many times the seconds that keeping one took
STATES = 2  # that are kept, the latest
CARD = "README.md"


@dataclass
class TrainingState:
    """How far a training is, apart from its weights: plain rows."""

    step: int = 0
    log: list[dict[str, object]] = field(default_factory=list)
    losses: list[dict[str, object]] = field(default_factory=list)
    measured: list[dict[str, object]] = field(default_factory=list)  # by interventions
    resumed: dict[str, object] = field(default_factory=dict)  # what this process did not do, for the manifest


class ResumeState:
    """The states of one organism's training in a folder of their own; `made_from` is what has to be alike to go on."""

    def __init__(self, folder: Path, made_from: Mapping[str, object]) -> None:
        self.folder = folder
        self.made_from = dict(made_from)
        self.interval = _interval()
        self.last, self.seconds = time.monotonic(), 0.0  # when a state was last kept, and how long that took
        self.checkpoints: dict[str, object] = {}  # those that are here: name -> size and SHA-256 of each file
        self.origin = ""  # fingerprint of the training that did the first steps, where it was another one

    def restore(self, network: nn.Module, optimizer: Optimizer, into: Path) -> TrainingState:
        """Put the latest sound state into network, optimiser and random numbers, its checkpoints into `into`.

        A state at step 0 where there is none; nothing is changed then.
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
            _restore_tensors(snapshot / "tensors.safetensors", network, optimizer)
            return TrainingState(**facts["progress"])
        return TrainingState()

    def due(self) -> bool:
        """Whether it is time to keep a state."""
        if self.interval == 0:
            return True
        return time.monotonic() - self.last >= max(self.interval, PATIENCE * self.seconds)

    def furthest(self) -> int:
        """The step of the latest kept state, 0 where there is none."""
        return max((int(snapshot.name.split("-")[1]) for snapshot in self.folder.glob("step-*")), default=0)

    def keep(
        self, state: TrainingState, network: nn.Module, optimizer: Optimizer, checkpoints: Mapping[Path, str | None]
    ) -> None:
        """Keep the state after a step; `checkpoints` are the folders written so far, each with a README.md in the
        place of its own where it is to have another.
        """
        began = time.monotonic()
        try:
            self._write(state, _tensors(network, optimizer), checkpoints)
        except OSError as error:
            warnings.warn(f"no state to go on from could be kept ({error}); training goes on", stacklevel=2)
        self.last = time.monotonic()
        self.seconds = self.last - began

    def _write(self, state: TrainingState, tensors: dict[str, Tensor], checkpoints: Mapping[Path, str | None]) -> None:
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
        for old in sorted(self.folder.glob("step-*"))[:-STATES]:
            shutil.rmtree(old, ignore_errors=True)

    def _sound(self, snapshot: Path) -> dict[str, Any]:
        """What the state's manifest says; Damaged where the state cannot be gone on from."""
        wrong = damage(snapshot, contents=True, artefact=False)
        if wrong:
            raise Damaged(wrong[0])
        facts = read_manifest(snapshot, artefact=False)
        differs = sorted(name for name, value in self.made_from.items() if facts["made_from"].get(name) != value)
        if differs:
            raise Damaged(f"it was kept with another {differs[0]}")
        for name, files in facts["checkpoints"].items():
            if checksums(self.folder / "checkpoints" / name) != files:
                raise Damaged(f"its checkpoint {name} is not as it was written")
        return facts


@lru_cache(maxsize=4096)
def _alike(organism: TrainingSpec) -> str:
    """Equal for organisms that differ in schedule and checkpoints alone."""
    return organism.but(schedule=Constant(peak=1.0), checkpoint_every=None, checkpoint_steps=()).fingerprint


@lru_cache(maxsize=4096)
def _rates(organism: TrainingSpec) -> np.ndarray:
    return organism.schedule.rates(organism.steps)


def shared_steps(first: TrainingSpec, other: TrainingSpec) -> int:
    """How many steps of `other` the training of `first` does too, 0 to steps - 1; 0 for unlike organisms.

    Not beyond a checkpoint of `other` that `first` does not keep.
    """
    if first == other or _alike(first) != _alike(other):
        return 0
    parted = np.flatnonzero(_rates(first) != _rates(other))
    alike = int(parted[0]) if len(parted) else other.steps
    lacking = [step for step in other.saved_steps if step not in first.saved_steps]
    return min(alike, other.steps - 1, *(step - 1 for step in lacking))


def same_training(first: TrainingSpec, other: TrainingSpec) -> bool:
    """Whether two organisms are one training under two names: equal, or apart in schedules that give equal rates."""
    return _alike(first) == _alike(other) and np.array_equal(_rates(first), _rates(other))


def steps_saved(organisms: Sequence[TrainingSpec]) -> dict[str, int]:
    """Of organisms trained in this order, by fingerprint: the steps that an earlier one does for it, where any."""
    groups: dict[str, list[TrainingSpec]] = {}
    saved = {}
    for organism in organisms:
        earlier = groups.setdefault(_alike(organism), [])
        if shared := max((shared_steps(other, organism) for other in earlier), default=0):
            saved[organism.fingerprint] = shared
        earlier.append(organism)
    return saved


class SharedPrefixes:
    """The states that a training keeps for those ahead of it in the study that begin like it."""

    def __init__(
        self, organism: TrainingSpec, upcoming: Sequence[Artefact], store: Store, made_from: Mapping[str, object]
    ) -> None:
        self.organism, self.store, self.made_from = organism, store, made_from
        self.due: dict[int, list[TrainingSpec]] = {}
        for other in upcoming:
            if isinstance(other, TrainingSpec) and (step := shared_steps(organism, other)):
                self.due.setdefault(step, []).append(other)

    def keep(
        self, state: TrainingState, network: nn.Module, optimizer: Optimizer, made: Path, parents: Sequence[str]
    ) -> None:
        """Keep the state after this step for every training that parts here; `made` holds the checkpoints so far.

        One that another process works on, or that is further by itself, is left alone.
        """
        for other in self.due.get(state.step, ()):
            with self.store.lock_if_free(other) as free:
                if not free or self.store.path(other).exists():
                    continue
                made_from = {**self.made_from, "needs": self.store.digests(other)}
                resume = ResumeState(self.store.unfinished(other), made_from)
                if resume.furthest() >= state.step:
                    continue
                resume.origin = self.organism.fingerprint
                cards = {
                    adapter_folder(made, step): other.checkpoint_card(step, parents)
                    for step in other.saved_steps
                    if step <= state.step
                }
                losses = [row for row in state.losses if row["step"] in (0, *other.saved_steps)]
                resume.keep(replace(state, losses=losses), network, optimizer, cards)


def _tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Everything that the next step depends on, by name."""
    import torch

    tensors = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            tensors[f"weight.{name}"] = weight.detach()
            for part, value in optimizer.state.get(weight, {}).items():
                tensors[f"optimizer.{part}.{name}"] = value
    tensors["random.cpu"] = torch.random.get_rng_state()
    for number in range(torch.cuda.device_count()):
        tensors[f"random.cuda.{number}"] = torch.cuda.get_rng_state(number)
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}  # no two may share memory


def _restore_tensors(path: Path, network: nn.Module, optimizer: Optimizer) -> None:
    """Put what `_tensors` gave into network, optimiser and random numbers."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    states: dict[str, dict[str, Tensor]] = {}  # of the optimiser: a weight's name -> its tensors
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
