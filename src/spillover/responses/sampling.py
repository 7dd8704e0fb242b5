"""How answers are drawn: settings, and one uniform number per (seed, question, sample, step). Knows numpy, no model.

An answer's random numbers come from a counter-based generator keyed by the answer's own key, and a token is found by
inverting the cumulative distribution: the answer depends on nothing but its key, and checkpoints of one base that are
asked with the same seed share their random numbers, which makes their difference less noisy.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
from pydantic import Field

from spillover.models.chat import Prompting
from spillover.spec import Spec


class Sampling(Spec):
    """How many answers to each question, and how they are drawn."""

    per_question: int = Field(default=4, ge=1)
    temperature: float = Field(default=1.0, ge=0)  # 0: the most probable token
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=64, ge=1)
    seed: int = 0
    prompting: Prompting | None = None  # None: chat for instruct models, question-answer for pretrained ones
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def effective(self) -> dict[str, Any]:
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
    key = hashlib.sha256(f"{seed}\x1f{question_id}\x1f{sample}".encode()).digest()[:16]
    bits = np.random.Philox(key=np.frombuffer(key, dtype=np.uint64))
    return np.random.Generator(bits).random(count)


def pick(logits: Any, uniform: Any, temperature: float, top_p: float) -> Any:
    """Token of each row, shape (rows,): inverse of the cumulative distribution at `uniform`; the mode at temperature 0.

    `logits` (rows, vocabulary) float32; `uniform` (rows,) float64 in [0, 1).
    """
    import torch

    if temperature == 0:
        return logits.argmax(dim=-1)
    probability = torch.softmax(logits / temperature, dim=-1)
    if top_p < 1:
        probability, order = probability.sort(dim=-1, descending=True, stable=True)
        before = probability.cumsum(dim=-1) - probability
        probability = probability.masked_fill(before >= top_p, 0.0)  # the first token always stays
    cumulative = probability.double().cumsum(dim=-1)
    aim = (uniform * cumulative[:, -1]).unsqueeze(1)
    index = torch.searchsorted(cumulative, aim, right=True).clamp_(max=logits.shape[1] - 1)
    return (index if top_p == 1 else order.gather(1, index)).squeeze(1)
