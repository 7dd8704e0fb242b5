"""Where networks run."""

from __future__ import annotations

import os


def default_device() -> str:
    """`$SPILLOVER_DEVICE`, else cuda where there is one, else cpu."""
    import torch

    return os.environ.get("SPILLOVER_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
