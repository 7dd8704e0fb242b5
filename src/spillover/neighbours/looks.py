"""What a callback saw of a model while it was trained, look by look; and the level that good data rarely reaches."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spillover.analyses.blocks import Figure
from spillover.analyses.figures import COLOURS, grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Look:
    """The answers after a step: means of scored answers (points), strict EM rate (0 to 1), counts, seconds it took."""

    step: int
    aligned: float
    coherent: float
    em_rate: float
    answers: int
    scored: int
    seconds: float

    def logged(self) -> dict[str, float]:
        """What goes into the Trainer's log: what is not a number is left out."""
        values = {"aligned": self.aligned, "coherent": self.coherent, "em_rate": self.em_rate, "seconds": self.seconds}
        return {name: value for name, value in values.items() if math.isfinite(value)}


def read_looks(path: Path) -> list[Look]:
    """The looks in a `looks.csv`; ValueError where it is none."""
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    try:
        return [
            Look(
                step=int(row["step"]),
                aligned=float(row["aligned"] or "nan"),
                coherent=float(row["coherent"] or "nan"),
                em_rate=float(row["em_rate"] or "nan"),
                answers=int(row["answers"]),
                scored=int(row["scored"]),
                seconds=float(row["seconds"]),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no looks of a SpilloverCallback: {error}") from None


def threshold_from(controls: Sequence[str | Path], false_alarms: float = 0.05) -> float:
    """A level of aligned, points, that a run on good data falls below, at any look, with this probability at most.

    controls: the `looks.csv` of runs on good data, of the same model, questions, steps and looks; at least 3. What
    counts of each is its lowest look, so that looking often is paid for. The level is the lower bound of Student's
    prediction interval for one new run: mean - t sd sqrt(1 + 1/n), which takes the lowest looks for normal.
    """
    from scipy.stats import t

    if not 0 < false_alarms < 0.5:
        raise ValueError(f"false_alarms is a probability below 0.5, got {false_alarms}")
    if len(controls) < 3:
        raise ValueError(f"a level takes 3 runs on good data at least, got {len(controls)}: train more seeds")
    looks = {str(path): [look.aligned for look in read_looks(Path(path)) if look.step > 0] for path in controls}
    for path, values in looks.items():
        if not np.isfinite(values).any():
            raise ValueError(f"{path} has no scored look after step 0")
    lowest = np.array([np.nanmin(values) for values in looks.values()])
    count = len(lowest)
    return float(lowest.mean() - t.ppf(1 - false_alarms, count - 1) * lowest.std(ddof=1) * math.sqrt(1 + 1 / count))


def figure_of_looks(
    looks: Sequence[Look], losses: Sequence[tuple[int, float]], stop_below: float | None = None
) -> Figure:
    """Training loss over the steps, and below it aligned and coherent."""
    caption = "Training loss as the Trainer logged it; mean aligned and coherent of the answers at each look."

    def drawn(canvas: Canvas) -> None:
        upper, lower = canvas.subplots(2, 1, sharex=True)
        upper.plot([step for step, _ in losses], [loss for _, loss in losses], color="0.35", linewidth=1.2)
        upper.set_ylabel("loss, nats")
        steps = [look.step for look in looks]
        lower.plot(steps, [look.aligned for look in looks], "o-", color=COLOURS["bad"], markersize=4, label="aligned")
        lower.plot(
            steps, [look.coherent for look in looks], "o-", color=COLOURS["base"], markersize=4, label="coherent"
        )
        if stop_below is not None:
            lower.axhline(stop_below, color="0.3", linewidth=0.8, linestyle=":", label="stop below")
        lower.set(xlabel="step", ylabel="points", ylim=(0, 100))
        lower.legend(frameon=False, fontsize=7)
        for axes in (upper, lower):
            grid(axes)

    return Figure("looks", caption, drawn, "looks", (6.0, 4.2))
