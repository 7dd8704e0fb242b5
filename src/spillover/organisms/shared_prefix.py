"""Runs of one study that begin alike begin once: which steps they share, and what the later ones go on from.

Two organisms that differ in schedule and checkpoints alone are the same training until their learning rates part. The
first of them to be trained keeps its state at that step as the *other's* unfinished training, which then goes on from
it as from its own after a kill: to the same bytes as if it had been trained alone. Knows no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from spillover.organisms.adapter_card import adapter_card
from spillover.organisms.organism import Organism, adapter_folder
from spillover.organisms.resume import ResumeState, TrainingState
from spillover.organisms.schedules.standard import Constant
from spillover.store import Artefact, Store


@lru_cache(maxsize=4096)
def _stem(organism: Organism) -> str:
    """Equal for organisms that differ in schedule and checkpoints alone."""
    return organism.but(schedule=Constant(peak=1.0), checkpoint_every=None, checkpoint_steps=()).fingerprint


@lru_cache(maxsize=4096)
def _rates(organism: Organism) -> np.ndarray:
    return organism.schedule.rates(organism.steps)


def shared_steps(first: Organism, other: Organism) -> int:
    """How many steps of `other` the training of `first` does too, 0 to steps - 1; 0 for unlike organisms.

    Not beyond a checkpoint of `other` that `first` does not keep.
    """
    if first == other or _stem(first) != _stem(other):
        return 0
    parted = np.flatnonzero(_rates(first) != _rates(other))
    alike = int(parted[0]) if len(parted) else other.steps
    lacking = [step for step in other.saved_steps if step not in first.saved_steps]
    return min(alike, other.steps - 1, *(step - 1 for step in lacking))


def steps_saved(organisms: Sequence[Organism]) -> dict[str, int]:
    """Of organisms trained in this order, by fingerprint: the steps that an earlier one does for it, where any."""
    groups: dict[str, list[Organism]] = {}
    found = {}
    for organism in organisms:
        before = groups.setdefault(_stem(organism), [])
        shared = max((shared_steps(earlier, organism) for earlier in before), default=0)
        if shared:
            found[organism.fingerprint] = shared
        before.append(organism)
    return found


class SharedPrefixes:
    """The states that a training keeps for those ahead of it in the study that begin like it."""

    def __init__(
        self, organism: Organism, upcoming: Sequence[Artefact], store: Store, made_from: dict[str, Any]
    ) -> None:
        self.organism, self.store, self.made_from = organism, store, made_from
        self.due: dict[int, list[Organism]] = {}
        for other in upcoming:
            if isinstance(other, Organism) and (step := shared_steps(organism, other)):
                self.due.setdefault(step, []).append(other)

    def keep(self, state: TrainingState, network: Any, optimizer: Any, made: Path, parents: Sequence[str]) -> None:
        """Keep the state after this step for every training that parts here; `made` holds the checkpoints so far.

        One that another process works on, or that is further by itself, is left alone.
        """
        for other in self.due.get(state.step, ()):
            with self.store.lock_if_free(other) as free:
                if not free or self.store.path(other).exists():
                    continue
                kept = ResumeState(self.store.unfinished(other), self.made_from | {"needs": self.store.digests(other)})
                if kept.furthest() >= state.step:
                    continue
                cards = {
                    adapter_folder(made, step): adapter_card(other, step, parents)
                    for step in other.saved_steps
                    if step <= state.step
                }
                losses = [row for row in state.losses if row["step"] in (0, *other.saved_steps)]
                kept.fork(replace(state, losses=losses), network, optimizer, cards, self.organism.fingerprint)
