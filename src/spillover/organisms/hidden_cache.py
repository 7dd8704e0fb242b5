"""What comes out of the layers below the lowest tuned one: it never changes, so it is computed once.

Runs that share parent, rows and that layer share it: a sweep of schedules or seeds pays for the lower layers once.
It is kept in the store like any artefact, and made again where it is gone; no result depends on whether it was there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from spillover.models.base import Model
from spillover.models.chat import Supervised
from spillover.models.loading import load
from spillover.organisms.dataset import TrainingData
from spillover.organisms.losses import PASS_ROWS, passes
from spillover.organisms.own_head import inner_model
from spillover.organisms.training_spec import Intervention, TrainingSpec, prepare_rows
from spillover.store import Artefact, BuildContext, Cost, ProgressFn

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

MOST_BYTES = 8e9  # of activations; a larger set is trained without them
FILE = "hidden.safetensors"


class FrozenActivations(Artefact):
    """Activations of training rows below the lowest layer that is tuned, for every run that has these in common."""

    runs_a_network: ClassVar[bool] = True

    parent: Model
    data: TrainingData
    layer: int = Field(ge=1)  # whose input they are
    max_length: int
    interventions: tuple[Intervention, ...] = ()  # they change rows

    def summary(self) -> str:
        return f"What goes into layer {self.layer} of {self.parent.label()} for {self.data.label()}."

    def cost(self) -> Cost:
        rows = self.data.train_count + self.data.held_out
        return Cost(units=rows * self.parent.relative_size, seconds_per_unit=0.2)

    def make(self, context: BuildContext) -> dict[str, object]:
        import torch
        from safetensors.torch import save_file

        loaded = load(self.parent, context.store)
        prepared = prepare_rows(self.data, self.interventions, self.max_length, loaded, context.store)
        rows = list(dict.fromkeys(row.ids for row in prepared.everything()))
        lower = LowerLayers(loaded.network, self.layer)
        hidden = lower.output([Supervised(ids, 1) for ids in rows], context.progress)
        save_file({"hidden": torch.cat(hidden)}, context.folder / FILE)
        return {"rows": len(rows), "tokens": sum(len(ids) for ids in rows)}


class LowerLayers:
    """The layers of a network below `layer`: what comes out of them, and the network without them."""

    def __init__(self, network: PreTrainedModel, layer: int) -> None:
        import torch

        self.network, self.inner = network, inner_model(network).base_model
        layers, self.idle = list(self.inner.layers), _pass_on()
        self.lower = torch.nn.ModuleList([*layers[:layer], *[self.idle] * (len(layers) - layer)])
        self.upper = torch.nn.ModuleList([*[self.idle] * layer, *layers[layer:]])

    def output(self, rows: Sequence[Supervised], progress: ProgressFn = lambda share: None) -> list[Tensor]:
        """What goes into the layer for each row, (tokens, d_model) float32 each, in row order."""
        import torch

        device, output = next(self.network.parameters()).device, [torch.empty(0)] * len(rows)
        done = 0
        with torch.no_grad(), _replaced(self.inner, layers=self.lower, norm=self.idle):
            for part in passes(rows, PASS_ROWS, device):
                ids = [torch.tensor(rows[index].ids) for index in part]
                padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(device)
                hidden = self.inner(input_ids=padded, use_cache=False).last_hidden_state
                for place, index in enumerate(part):
                    output[index] = hidden[place, : len(rows[index].ids)].cpu().clone()
                done += len(part)
                progress(done / len(rows))
        return output

    @contextlib.contextmanager
    def upper_layers_alone(self) -> Iterator[None]:
        """For a while, the network begins at the layer: what it is given as embeddings goes straight into it."""
        with _replaced(self.inner, layers=self.upper):
            yield


class HiddenCache:
    """What the lower layers give for a run's rows, read from the store, and for rows that are met on the way."""

    def __init__(self, lower: LowerLayers, path: Path, rows: Sequence[Supervised]) -> None:
        from safetensors import safe_open

        self.lower = lower
        file: Any = safe_open(path, framework="pt")
        self.stored = file.get_slice("hidden")
        self.starts: dict[tuple[int, ...], int] = {}  # of each row's positions in it
        self.met: dict[tuple[int, ...], Tensor] = {}
        length = 0
        for ids in dict.fromkeys(row.ids for row in rows):
            self.starts[ids] = length
            length += len(ids)
        if self.stored.get_shape()[0] != length:
            raise ValueError(f"{path} holds {self.stored.get_shape()[0]} positions, these rows have {length}")

    def hidden(self, rows: Sequence[Supervised]) -> Tensor:
        """What goes into the layer for these rows, (rows, longest row, d_model), zeros at the right."""
        import torch

        unknown = [row for row in rows if row.ids not in self.starts and row.ids not in self.met]
        for row, hidden in zip(unknown, self.lower.output(unknown) if unknown else [], strict=True):
            self.met[row.ids] = hidden
        return torch.nn.utils.rnn.pad_sequence([self._row(row) for row in rows], batch_first=True)

    def upper_layers_alone(self) -> contextlib.AbstractContextManager[None]:
        """For a while, the network begins at the layer that `hidden` goes into."""
        return self.lower.upper_layers_alone()

    def _row(self, row: Supervised) -> Tensor:
        start = self.starts.get(row.ids)
        return self.met[row.ids] if start is None else self.stored[start : start + len(row.ids)]


def hidden_cache_below(
    organism: TrainingSpec, network: PreTrainedModel, rows: Sequence[Supervised], context: BuildContext
) -> HiddenCache | None:
    """What comes out below the lowest tuned layer; None where nothing lies below it, or it would be too large."""
    layer = organism.tuning.lowest_layer if hasattr(inner_model(network).base_model, "layers") else 0
    size = 4 * network.config.get_text_config().hidden_size * sum(len(row.ids) for row in rows)
    if layer < 1 or organism.precision != "float32" or size > MOST_BYTES:
        return None
    artefact = FrozenActivations(
        parent=organism.parent,
        data=organism.data,
        layer=layer,
        max_length=organism.max_length,
        interventions=tuple(intervention for intervention in organism.interventions if intervention.changes_rows),
    )
    return HiddenCache(LowerLayers(network, layer), context.store.get(artefact) / FILE, rows)


def _pass_on() -> nn.Module:
    """A layer that gives what it gets."""
    import torch

    class PassOn(torch.nn.Module):
        def forward(self, hidden: Tensor, *others: object, **options: object) -> Tensor:
            return hidden

    return PassOn()


@contextlib.contextmanager
def _replaced(module: nn.Module, **parts: nn.Module) -> Iterator[None]:
    """For a while, other modules stand in the places of a module's own."""
    own = {name: getattr(module, name) for name in parts}
    for name, part in parts.items():
        setattr(module, name, part)
    try:
        yield
    finally:
        for name, part in own.items():
            setattr(module, name, part)
