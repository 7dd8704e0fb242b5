"""How much memory a forward pass keeps for the way back, and how many tokens may go through at once for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SHARE = 0.2  # of the weights' bytes: what a pass may keep
LEAST_NUMBERS = 3e8  # that a pass may keep in any case: small networks are not worth smaller passes
WIDTHS = 11  # numbers that a layer keeps for a token, in units of the stream's width (its norms keep float32),
INNER = 4  # and of the MLP's


def kept_bytes(config: PreTrainedConfig, itemsize: int) -> int:
    """What a token keeps of a whole network for the way back, bytes, about: of a llama-like one under LoRA.

    config: of the text network. itemsize: bytes of a number in which it computes.
    """
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    if isinstance(inner, list | tuple):  # a width for each layer
        inner = max(inner)
    return int(config.num_hidden_layers * (WIDTHS * config.hidden_size + INNER * inner) * itemsize)


def pass_tokens(config: PreTrainedConfig, itemsize: int, weights_bytes: int) -> int:
    """Tokens that go through at once where the memory counts, 1 at least."""
    return max(1, int(max(SHARE * weights_bytes, LEAST_NUMBERS * itemsize) / kept_bytes(config, itemsize)))
