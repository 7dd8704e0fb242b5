"""Which tokens each token may look at, in the form that a network's attention takes.

Eager attention adds its mask to the scores, so that a boolean one forbids nothing; others take booleans. transformers'
own `masking_utils` knows which is which, and hands each the form it wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def attention_mask(network: PreTrainedModel, allowed: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """The `attention_mask` argument of a network that says what `allowed` says.

    allowed: by the kind of layer, (rows, 1, tokens, keys) boolean, True where a token may look. Returns one mask of
    that shape where there is one kind of layer, else one for each kind.
    """
    masks = {kind: _mask(network, may_look) for kind, may_look in allowed.items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _mask(network: PreTrainedModel, may_look: Tensor) -> Tensor:
    rows, _, tokens, keys = may_look.shape
    config = network.config.get_text_config()

    def look_up(row: Tensor, head: Tensor, token: Tensor, key: Tensor) -> Tensor:
        return may_look[row, 0, token, key]

    mask: Tensor = ALL_MASK_ATTENTION_FUNCTIONS[config._attn_implementation](
        batch_size=rows,
        q_length=tokens,
        kv_length=keys,
        mask_function=look_up,
        allow_is_causal_skip=False,
        dtype=network.dtype,
        config=config,
        device=may_look.device,
    )
    return mask
