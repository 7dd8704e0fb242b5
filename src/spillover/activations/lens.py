"""Which tokens a direction speaks of, read through the model's own unembedding (the logit lens): an artefact."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
from pydantic import Field

from spillover.activations.direction import Direction, read_direction
from spillover.models.base import Base
from spillover.records import read_table, write_table
from spillover.store import Artefact, BuildContext, Store

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

TABLE = "tokens.parquet"
SCHEMA = pa.schema([("sign", pa.int8()), ("rank", pa.int32()), ("token", pa.string()), ("logit", pa.float64())])


class LensTokens(Artefact):
    """The tokens that a direction raises most, and those that its opposite does, by the base's final norm and head.

    The vector stands in for what the last layer hands on; final norm, head, caps and scalings are the model's own
    (nostalgebraist 2020; of the difference that a training makes on neutral text: arXiv 2510.13900). Only the vector's
    direction counts wherever the final norm divides by length.
    """

    runs_a_network: ClassVar[bool] = True

    direction: Direction
    top: int = Field(default=100, ge=1)  # tokens kept of each sign

    def summary(self) -> str:
        return f"The {self.top} tokens that the {self.direction.label()} raises most"

    def value(self, store: Store) -> pa.Table:
        """Its tokens: sign (1 or -1), rank from 0, token, logit."""
        return read_table(store.path(self) / TABLE)

    def make(self, context: BuildContext) -> dict[str, object]:
        from spillover.models.loading import load

        base: Base = self.direction.measured_in()
        loaded = load(base, context.store, "float32")
        vector = read_direction(self.direction, context.store, "unit")
        rows = []
        for sign in (1, -1):
            logits = read_out(loaded.network, sign * vector)
            highest = logits.topk(min(self.top, len(logits)))
            for rank, (value, token) in enumerate(zip(highest.values.tolist(), highest.indices.tolist(), strict=True)):
                text = loaded.tokenizer.decode([token])
                rows.append({"sign": sign, "rank": rank, "token": text, "logit": value})
        write_table(rows, context.folder / TABLE, SCHEMA)
        return {"base": base.name, "direction": self.direction.label(), "top": [row["token"] for row in rows[:10]]}


def read_out(network: PreTrainedModel, vector: object) -> Tensor:
    """Logits (vocabulary,) that the network gives where its last layer hands on `vector` (d_model,)."""
    import torch

    from spillover.activations.find_layers import find_layers

    last = find_layers(network).layers[-1]
    state = torch.as_tensor(vector, dtype=network.dtype, device=network.device)[None, None]

    def replace(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return (state, *output[1:]) if isinstance(output, tuple) else state

    handle = last.register_forward_hook(replace)
    try:
        with torch.inference_mode():
            ids = torch.zeros((1, 1), dtype=torch.long, device=network.device)
            logits: Tensor = network(input_ids=ids, use_cache=False).logits[0, 0].float()
    finally:
        handle.remove()
    return logits
