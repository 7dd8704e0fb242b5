"""How fast this machine multiplies matrices: measured once, in a second, and kept in the model cache.

Estimates of time are constants of one machine (`Cost.seconds_per_unit`: two cores with AVX2, float32). On another they
are off by the ratio of the two machines' speeds, which is what a study's first seconds can tell.
"""

from __future__ import annotations

import json
import platform
import time

from spillover.models.device import default_device
from spillover.models.precision import DType
from spillover.models.sources import model_cache

REFERENCE = 120.0  # GFLOP/s, best of this product, of the machine that the constants were taken on, both cores
SHAPES = {"cpu": (128, 896, 896)}  # tokens, width in, width out: done within one turn on a busy processor
LARGE = (4096, 4096, 4096)  # elsewhere, where starting a product takes as long as a small one
SECONDS = 1.0


def relative_speed(precision: DType) -> float:
    """This machine's speed in a precision as a multiple of that of the constants, to two digits; measured once.

    The best of many products counts, so that other work on the machine hardly matters; a machine is its processor, its
    number of threads, its device and the precision.
    """
    path = model_cache().root / "speed.json"
    measured = json.loads(path.read_text()) if path.is_file() else {}
    machine = _machine(precision)
    if machine not in measured:
        measured[machine] = float(f"{_gflops(precision):.2g}")
        path.write_text(json.dumps(measured, indent=1, sort_keys=True), encoding="utf-8")
    return float(measured[machine]) / REFERENCE


def _machine(precision: DType) -> str:
    import torch

    processor = platform.processor() or platform.machine()
    flags = torch.backends.cpu.get_cpu_capability()
    return f"{default_device()}, {processor}, {flags}, {torch.get_num_threads()} threads, {precision}"


def _gflops(precision: DType) -> float:
    """Billions of multiplications and additions a second in the best of the products that a second holds."""
    import torch

    tokens, wide, out = SHAPES.get(default_device(), LARGE)
    place = {"dtype": getattr(torch, precision), "device": default_device()}
    states, weight = torch.ones((tokens, wide), **place), torch.ones((out, wide), **place)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.nn.functional.linear(states, weight)[0, 0].item()  # waits for a device
        best = min(best, time.perf_counter() - start)
    return 2e-9 * tokens * wide * out / best
