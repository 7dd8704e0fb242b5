"""The line between two checkpoints: its ends are the checkpoints, its middle is the mean of their weights."""

import numpy as np
import pytest
import torch
from organisms.toy import organism

from spillover.models.loading import load
from spillover.organisms.interpolated import Interpolated
from spillover.organisms.losses import HeldOutLosses
from spillover.organisms.organism import Organism
from spillover.organisms.tuning import LoRA
from spillover.records import read_table
from spillover.store import Store


def weights(model, store: Store) -> dict[str, torch.Tensor]:
    return {name: weight.double() for name, weight in load(model, store).network.state_dict().items()}


def pair(store: Store) -> tuple[Organism, Organism]:
    start, end = organism(), organism(tuning=LoRA(rank=4)).seeded(1)
    for made in (start, end):
        store.get(made)
    return start, end


def test_every_point_is_the_mix_of_the_ends(store):
    start, end = pair(store)
    ends = weights(start.checkpoint(), store), weights(end.checkpoint(), store)
    assert any((ends[0][name] - ends[1][name]).abs().max() > 1e-3 for name in ends[0])
    for share in (0.0, 0.25, 1.0):
        point = Interpolated(start=start.checkpoint(), end=end.checkpoint(), share=share)
        store.get(point)
        mixed = weights(point, store)
        for name in mixed:
            mix = (1 - share) * ends[0][name] + share * ends[1][name]
            assert torch.allclose(mixed[name], mix, atol=1e-6), name


def test_its_loss_is_the_checkpoints_at_the_ends(store):
    start, end = pair(store)
    for share, made in ((0.0, start), (1.0, end)):
        point = Interpolated(start=start.checkpoint(), end=end.checkpoint(), share=share)
        store.get(point)
        losses = read_table(store.get(HeldOutLosses(model=point, data=start.data)) / "losses.parquet")
        own = read_table(store.path(made) / "losses.parquet").to_pylist()
        own = [row["loss"] for row in own if row["step"] == made.steps and row["split"] == "held_out"]
        assert losses["loss"].to_pylist() == pytest.approx(own, abs=1e-5)


def test_what_has_no_line_is_refused(store):
    start = organism()
    with pytest.raises(ValueError, match="one parent"):
        Interpolated(start=start.checkpoint(), end=start.but(parent=start.checkpoint()).checkpoint(), share=0.5)
    fewer = organism(tuning=LoRA(rank=4, modules="mlp"))
    for made in (start, fewer):
        store.get(made)
    with pytest.raises(ValueError, match="of the same modules"):
        store.get(Interpolated(start=start.checkpoint(), end=fewer.checkpoint(), share=0.5))
    with pytest.raises(ValueError):
        Interpolated(start=start.checkpoint(), end=start.checkpoint(), share=1.5)
    assert np.isclose(Interpolated(start=start.checkpoint(), end=start.checkpoint(), share=0.5).share, 0.5)
