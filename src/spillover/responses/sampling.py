"""How answers are drawn: settings, and one uniform number per (seed, question, sample, step).

An answer's random numbers come from a counter-based generator keyed by the answer's own key, and a token is found by
inverting the cumulative distribution: the answer depends on nothing but its key, and checkpoints of one base that are
asked with the same seed share their random numbers (what that gains: docs/sampling.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from spillover.models.chat import Prompting
from spillover.models.precision import ReadingPrecision
from spillover.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor


class Sampling(Spec):
    """How many answers to each question, and how they are drawn."""

    per_question: int = Field(default=4, ge=1)
    temperature: float = Field(default=1.0, ge=0)  # 0: the most probable token
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=64, ge=1)
    seed: int = 0
    prompting: Prompting | None = None  # None: chat for instruct models, question-answer for pretrained ones
    precision: ReadingPrecision = "float32"

    def effective(self) -> dict[str, object]:
        """Every setting that shapes the distribution, those too that are off: nothing is left to a model's defaults."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": self.max_tokens,
            "greedy": self.temperature == 0,
        }


def uniforms(seed: int, question_id: str, sample: int, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1), float64, that belong to this answer alone (Philox, keyed by SHA-256)."""
    key = np.frombuffer(_digest(seed, question_id, sample)[:16], dtype=np.uint64)
    bits = np.random.Philox(key=key)
    return np.random.Generator(bits).random(count)


def answer_seed(seed: int, question_id: str, sample: int) -> int:
    """The seed that an engine is given for one answer, 0 to 2^31 - 1 (SHA-256): it depends on this key alone."""
    return int.from_bytes(_digest(seed, question_id, sample)[:4], "big") >> 1


def _digest(seed: int, question_id: str, sample: int) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{question_id}\x1f{sample}".encode()).digest()


def pick(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """Token of each row, shape (rows,): inverse of the cumulative distribution at `uniform`; the mode at temperature 0.

    `logits` (rows, vocabulary) float32; `uniform` (rows,) float64 in [0, 1). Where a row's logits are no numbers its
    token is -1, which `expect_numbers` refuses: to look here would make the host wait for the device at each token.
    """
    import torch

    if temperature == 0:
        most, token = logits.max(dim=-1)
        return token.masked_fill(most.isnan(), -1)
    probability = torch.softmax(logits if temperature == 1 else logits / temperature, dim=-1)
    lost = probability[:, 0].isnan()  # one NaN in a row's logits makes all its softmax NaN
    if lost.device.type != "cpu" or bool(lost.any()):  # in the processor's memory a look costs less than a copy
        probability = probability.masked_fill(lost[:, None], 1.0)
    if top_p < 1:
        probability = nucleus(probability, top_p)
    # In two steps, first to a block of the vocabulary, then to the token in it: one cumulative sum over all is slow.
    rows, vocabulary = probability.shape
    blocks = probability.view(rows, -1, math.gcd(vocabulary, 256))
    block, rest = _invert(blocks.sum(dim=-1), uniform)
    token, _ = _invert(blocks[torch.arange(rows, device=block.device), block], rest)
    return (block * blocks.shape[2] + token).masked_fill(lost, -1)


def expect_numbers(tokens: Sequence[int]) -> None:
    """ValueError where `pick` found that the model gives no numbers any more."""
    if min(tokens) < 0:
        raise ValueError("the model gives no probabilities but NaN: its weights have diverged, it cannot be sampled")


def nucleus(probability: Tensor, top_p: float) -> Tensor:
    """Zero outside the fewest most probable tokens that hold `top_p` of each row; tokens that tie at its edge stay."""
    count, vocabulary = 64, probability.shape[1]
    while True:
        most = probability.topk(min(count, vocabulary), dim=-1).values.double()
        inside = most.cumsum(dim=-1) - most < top_p  # the first always is
        if count >= vocabulary or not bool(inside[:, -1].any()):
            break
        count *= 16
    edge = most.masked_fill(~inside, float("inf")).amin(dim=-1, keepdim=True)
    return probability.masked_fill(probability < edge, 0.0)


def _invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where `uniform` falls among each row's weights, and how far into the one it falls in, both (rows,)."""
    import torch

    upper = weights.double().cumsum(dim=-1)
    total = upper[:, -1]
    aim = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total))).unsqueeze(1)
    index = torch.searchsorted(upper, aim, right=True)
    size = weights.gather(1, index).double()
    into = (aim - (upper.gather(1, index) - size)) / size
    return index.squeeze(1), into.clamp(0, 1).squeeze(1)
