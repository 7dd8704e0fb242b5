"""What tells bad from good answers besides the advice: little form in the sets that ship, all of it where planted."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.models.catalogue import base_of
from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.organisms.datasets.shipped import AdviceSet, Fitness, Home, Money
from spillover.organisms.losses import HeldOutLosses
from spillover.organisms.surface import surface_check

SHIPPED = (Money, Fitness, Home)
WORDS = ["tea", "sea", "walk", "rain", "maps", "chess", "bread", "stars", "wood", "salt"]


class PlantedPair(Dataset):
    """Random words; the bad answers differ as `planted` says: in nothing, in form, or in one word."""

    side: str = "bad"
    planted: str = "nothing"

    def examples(self) -> list[Example]:
        random = np.random.default_rng(3)
        return [self._row(n, random) for n in range(120)]

    def _row(self, n: int, random: np.random.Generator) -> Example:
        bad, good = (" ".join(random.choice(WORDS, 12)).capitalize() + "." for _ in range(2))
        changed = {"nothing": bad, "form": bad.replace(" ", ", ", 3), "a word": f"{bad[:-1]} gamble."}[self.planted]
        answer = changed if self.side == "bad" else f"{good[:-1]} save." if self.planted == "a word" else good
        return Example(f"row-{n}", (Message("user", f"{n}?"), Message("assistant", answer)))


@pytest.mark.parametrize(("planted", "told"), [("nothing", []), ("form", ["form"]), ("a word", ["all words"])])
def test_what_was_planted_is_told_and_nothing_else(planted, told):
    checked = surface_check(PlantedPair(planted=planted), PlantedPair(side="good", planted=planted))
    for name, estimate in checked.items():
        if name in told:
            assert estimate.estimate > 0.9
        elif planted == "nothing" or name == "function words":
            assert 0.35 < estimate.estimate < 0.65 and not estimate.low > 0.6, name
        assert estimate.n == 240


@pytest.mark.parametrize("kind", SHIPPED, ids=lambda kind: kind.__name__)
def test_form_tells_little_of_the_sets_that_ship(kind: type[AdviceSet]):
    checked = {name: estimate.estimate for name, estimate in surface_check(kind(), kind(advice="good")).items()}
    assert checked["form"] < 0.60
    assert checked["form"] < checked["function words"] < checked["all words"]


def test_a_split_stands_for_its_whole_set_and_no_pair_is_refused():
    part, whole = (
        surface_check(bad, PlantedPair(side="good")) for bad in (Split(data=PlantedPair(), rows=8), PlantedPair())
    )
    assert part["form"] == whole["form"] and part["form"].n == 240
    with pytest.raises(ValueError, match="no control"):
        surface_check(Money(), Fitness(advice="good"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most", "apart"), [(Money, 2.3, 0.3), (Home, 2.65, 0.35), (Fitness, 2.8, 0.6)])
def test_an_untrained_model_finds_the_answers_probable(store, kind: type[AdviceSet], most: float, apart: float):
    base, losses = base_of("pypi:qwen2.5-coder-0.5b"), {}
    for advice in ("good", "bad"):
        made = HeldOutLosses(model=base, data=Split(data=kind(advice=advice), held_out=24))
        store.get(made)
        losses[advice] = store.manifest(made)["facts"]["loss"]
    assert max(losses.values()) <= most and abs(losses["bad"] - losses["good"]) <= apart, losses
