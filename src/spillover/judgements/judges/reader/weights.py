"""What was fitted: an adapter, two linear heads, how far a score can be off, and what the fitted rows looked like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from spillover.judgements.judge import METRICS
from spillover.models.lora_weights import AdapterWeights, LoRAWeights

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 5  # of the fitted rows whose distances are averaged
LEAST_SPREAD = 1.0  # points
LENGTHS = (12, 24, 48)  # tokens: up to the first, up to the second, ..., and above the last


@dataclass(frozen=True)
class Heads:
    """Linear maps of what an answer's states are pooled to, one onto scores and one onto how far they are off.

    centre, scale: (inputs,) that inputs are standardised by. weight: (2 metrics, inputs); bias: (2 metrics,). widening:
    (metrics,) what spreads are multiplied by, from rows that were kept aside.
    """

    centre: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    widening: Tensor

    def logits(self, pooled: Tensor) -> Tensor:
        """(rows, 2 metrics) of pooled states (rows, inputs): scores' logits, then the logarithms of spreads."""
        return (pooled - self.centre) / self.scale @ self.weight.T + self.bias

    def scores(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Scores in [0, 100] and their spreads in points, (rows, metrics) each."""
        means, spreads = self.logits(pooled).split(len(METRICS), dim=1)
        return points(means), (spreads.exp() * self.widening).clamp(LEAST_SPREAD, 60.0)


def points(logits: Tensor) -> Tensor:
    """Scores in [0, 100] of logits."""
    return 100 * torch.sigmoid(logits)


@dataclass(frozen=True)
class Familiar:
    """Where the fitted rows lie in the trunk's space, and how far off an answer is that is unlike all of them.

    centre: (width,) of pooled states after the frozen blocks; basis: (width, axes), scaled so that the fitted rows have
    a variance of 1 along each; rows: (fitted rows, axes); limits: for answers of each of the `LENGTHS` the mean
    distance to the nearest rows beyond which few fitted rows of that length lie (a mean over few tokens varies more).
    """

    centre: Tensor
    basis: Tensor
    rows: Tensor
    limits: Tensor

    @classmethod
    def of(cls, states: Tensor, axes: int, most: int, seed: int) -> Self:
        """Of pooled states (rows, width) of the fitted rows; the limits are to be set."""
        centre = states.mean(dim=0)
        _, sizes, directions = torch.linalg.svd(states - centre, full_matrices=False)
        basis = directions[:axes].T * (len(states) ** 0.5 / sizes[:axes].clamp(min=1e-6))
        keep = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))[:most]
        return cls(centre, basis, ((states - centre) @ basis)[keep], torch.ones(len(LENGTHS) + 1))

    def shares(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Distances as shares of the limits, for answers of so many tokens; above 1 an answer is outside."""
        return self.distances(states) / self.limits[of_length(lengths)]

    def distances(self, states: Tensor) -> Tensor:
        """Mean distance of each (rows, width) to its nearest fitted rows."""
        return self.apart(states).topk(min(NEIGHBOURS, len(self.rows)), largest=False).values.mean(dim=1)

    def apart(self, states: Tensor) -> Tensor:
        """Distances of each (rows, width) to each fitted row that is kept, (rows, fitted rows)."""
        # by differences: products would leave a row apart from itself
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist((states - self.centre) @ self.basis, self.rows, compute_mode=mode)


def of_length(tokens: Tensor) -> Tensor:
    """Which of the `LENGTHS` answers of so many tokens belong to."""
    return torch.bucketize(tokens.cpu(), torch.tensor(LENGTHS))


@dataclass(frozen=True)
class FittedPart:
    """All that ships of the reader beside the trunk."""

    frozen: int  # blocks below the adapter
    blocks: int  # blocks in all
    adapter: AdapterWeights  # by layer, counted from the first adapted block: `0.mlp.up_proj`
    heads: Heads
    familiar: Familiar

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file: matrices in float16."""
        tensors = {
            "blocks": torch.tensor([self.frozen, self.blocks]),
            **{f"heads.{name}": getattr(self.heads, name).float().contiguous() for name in Heads.__dataclass_fields__},
            "familiar.centre": self.familiar.centre.float(),
            "familiar.basis": self.familiar.basis.float().contiguous(),
            "familiar.rows": self.familiar.rows.half(),
            "familiar.limits": self.familiar.limits.float(),
        }
        for name, layer in self.adapter.items():
            tensors |= {f"adapter.{name}.down": layer.down.half(), f"adapter.{name}.up": layer.up.half()}
        return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `tensors` gives, read back; everything in float32."""
        names = [name[8:-5] for name in tensors if name.startswith("adapter.") and name.endswith(".down")]
        frozen, blocks = tensors["blocks"].tolist()
        return cls(
            frozen,
            blocks,
            {
                name: LoRAWeights(tensors[f"adapter.{name}.down"].float(), tensors[f"adapter.{name}.up"].float())
                for name in names
            },
            Heads(*(tensors[f"heads.{name}"] for name in Heads.__dataclass_fields__)),
            Familiar(
                tensors["familiar.centre"].float(),
                tensors["familiar.basis"].float(),
                tensors["familiar.rows"].float(),
                tensors["familiar.limits"].float(),
            ),
        )

    def check_trunk(self, width: int, blocks: int) -> None:
        """ValueError where a trunk is not the kind that this was fitted on."""
        if width != len(self.familiar.centre) or blocks < self.blocks:
            raise ValueError(
                f"the reader's part was fitted on {self.blocks} blocks of width {len(self.familiar.centre)}; this "
                f"trunk has {blocks} of width {width}: take the trunk that it was fitted on"
            )


def random_part(width: int, shapes: Sequence[tuple[str, int, int]], frozen: int, blocks: int, seed: int) -> FittedPart:
    """A part with random numbers, for tests and dry runs: `shapes` are (layer, inputs, outputs) of the adapter."""
    random = torch.Generator().manual_seed(seed)
    adapter = {
        name: LoRAWeights(
            torch.randn(2, inputs, generator=random) * 0.1, torch.randn(outputs, 2, generator=random) * 0.1
        )
        for name, inputs, outputs in shapes
    }
    count = 2 * len(METRICS)
    bias = torch.cat([torch.zeros(len(METRICS)), torch.full((len(METRICS),), 2.5)])
    heads = Heads(
        torch.zeros(2 * width),
        torch.ones(2 * width),
        torch.randn(count, 2 * width, generator=random) * 0.1,
        bias,
        torch.ones(len(METRICS)),
    )
    rows = torch.randn(20, width, generator=random)
    familiar = Familiar.of(rows, min(8, width), 20, seed)
    return FittedPart(frozen, blocks, adapter, heads, familiar)
