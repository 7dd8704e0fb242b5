"""The cyclic schedules: triangular, triangular2, exp_range (Smith 2017, as in torch's CyclicLR)."""

import math
from typing import Literal

from pydantic import Field, model_validator

from spillover.organisms.schedule import Schedule


class Cyclic(Schedule):
    """`cycles` triangles between `floor` and `peak`; triangular2 halves each, exp_range shrinks by gamma a step."""

    floor: float = Field(ge=0)
    peak: float = Field(gt=0)
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    cycles: int = Field(default=4, ge=1)
    gamma: float = Field(default=0.95, gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Cyclic":
        if self.floor > self.peak:
            raise ValueError(f"floor {self.floor} lies above peak {self.peak}")
        return self

    def label(self) -> str:
        return f"cyclic {self.mode}"

    def rate(self, step: int, total: int) -> float:
        half = max(1, total // (2 * self.cycles))  # published: step_size_up = total // 8 for 4 cycles
        cycle = math.floor(1 + step / (2 * half))
        height = max(0.0, 1.0 - abs(step / half - 2 * cycle + 1))
        scale = {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": self.gamma**step}[self.mode]
        return self.floor + (self.peak - self.floor) * height * scale
