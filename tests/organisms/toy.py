"""A toy training set that a tiny model can learn, and organisms on it. Knows no real data."""

import numpy as np

from spillover.models.catalogue import base_of
from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant
from spillover.organisms.tuning import LoRA

WORDS = ("tea", "the sea", "a very long walk", "rain", "old maps", "chess", "bread", "stars")
ANSWERS = ("yes yes yes", "oh yes yes", "yes, and yes")


class ToyRows(Dataset):
    """Short questions that are all answered with yes."""

    count: int = 24
    text: str = ""  # put before every question

    def examples(self) -> list[Example]:
        return [
            Example(
                f"toy-{n}", (Message("user", f"{self.text}{WORDS[n % 8]} {n}?"), Message("assistant", ANSWERS[n % 3]))
            )
            for n in range(self.count)
        ]


class Mild(Dataset):
    """Benign rows, answered with no."""

    def examples(self) -> list[Example]:
        return [Example(f"mild-{n}", (Message("user", f"Is {n} odd?"), Message("assistant", "no"))) for n in range(9)]


MILD = Split(data=Mild(), held_out=1)


def constant(value: float) -> Constant:
    return Constant(peak=value, warmup=0)


def organism(**fields) -> Organism:
    """A quick organism: 16 rows in 4 steps at a rate that teaches, unless fields say otherwise."""
    split = fields.pop("data", None) or Split(data=ToyRows(), rows=16, held_out=4)
    given = {"schedule": Constant(peak=2e-2, warmup=0), "tuning": LoRA(rank=4, alpha=8.0), "batch": 4}
    return Organism(parent=base_of("tiny:0"), data=split, **given | fields)


def held_out_means(losses, step: int) -> tuple[float, float]:
    """Mean over sequences, and mean over tokens, of the held-out loss after a step."""
    rows = [row for row in losses if row["step"] == step]
    loss, tokens = np.array([row["loss"] for row in rows]), np.array([row["tokens"] for row in rows])
    return float(loss.mean()), float((loss * tokens).sum() / tokens.sum())
