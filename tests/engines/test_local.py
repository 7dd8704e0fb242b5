"""The engine of one machine: what it makes, what it says while it does, how long it thinks it takes."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Letters, diamond, made

from spillover.engines.listener import ProgressListener
from spillover.engines.local import run
from spillover.engines.planning import CostEstimates, Step, missing_sources, plan
from spillover.models.catalogue import base_of
from spillover.organisms.datasets.shipped import Money
from spillover.spec import Spec
from spillover.store import Artefact, BuildContext, Cost, Store, artefacts_in


class Heard(ProgressListener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def study(self, steps: list[Step]) -> None:
        self.heard.append(("study", [step.state for step in steps]))

    def begin(self, what: str) -> None:
        self.heard.append(("begin", what))

    def progress(self, share: float, left: float) -> None:
        self.heard.append(("progress", share, left))

    def waiting(self) -> None:
        self.heard.append(("waiting",))

    def end(self, what: str, seconds: float, made: bool) -> None:
        self.heard.append(("end", what, made))


class Slow(Artefact):
    """Counts what it would cost."""

    size: float

    def cost(self) -> Cost:
        return Cost(units=self.size, seconds_per_unit=2.0)

    def make(self, context: BuildContext) -> None:
        context.progress(0.5)
        (context.folder / "x").write_text("x")


class Pair(Artefact):
    """Two of them."""

    of: tuple[Slow, ...]

    def make(self, context: BuildContext) -> None:
        (context.folder / "x").write_text("x")


def test_plan_makes_nothing_and_lists_what_is_needed_first(store: Store) -> None:
    study = diamond()
    steps = plan(study, store)
    assert [step.artefact for step in steps] == artefacts_in(study) and {step.state for step in steps} == {"absent"}
    assert not made(store) and not list(store.root.iterdir())
    run(study, store)
    assert {step.state for step in plan(study, store)} == {"there"}


def test_a_study_is_told_as_it_goes(store: Store) -> None:
    listener = Heard()
    study = Pair(of=(Slow(size=10), Slow(size=20)))
    run(study, store, listener)
    kinds = [heard[0] for heard in listener.heard]
    assert kinds == ["study", *["begin", "progress", "progress", "end"] * 2, "begin", "progress", "end"]
    assert listener.heard[0][1] == ["absent"] * 3
    assert listener.heard[1] == ("begin", "Slow: Counts what it would cost.")
    first, halfway = listener.heard[2], listener.heard[3]
    assert first[1] == 0.0 and first[2] == pytest.approx(20 + 40 + 1, abs=0.5)  # by its kind's own guess
    assert halfway[1] == 0.5 and halfway[2] == pytest.approx(41, abs=0.5)  # by its own pace, which is fast
    assert listener.heard[6][2] < 2  # the second goes by what the first took
    again = Heard()
    run(study, store, again)
    assert again.heard == [("study", ["there"] * 3)]


def test_estimates_are_measured_where_there_is_something_to_measure(store: Store) -> None:
    assert CostEstimates(store).seconds(Slow(size=3)) == 6.0
    store.get(Slow(size=100))
    assert CostEstimates(store).seconds(Slow(size=50)) == pytest.approx(
        store.manifest(Slow(size=100))["made"]["seconds"] / 2
    )
    rates = CostEstimates(store)
    rates.learn({"spec": {"kind": "Slow"}, "made": {"seconds": 900.0}, "facts": {}, "units": 100.0, "files": {}})
    assert rates.seconds(Slow(size=100)) == pytest.approx(450, abs=1)
    assert rates.seconds(Slow(size=1000)) == 2000.0 and rates.seconds(Slow(size=1)) == 2.0  # too unlike in size
    assert rates.seconds(Letters(seed=1)) == 1.0  # other kinds are not touched


def test_a_kind_without_units_does_not_divide_by_nothing(store: Store) -> None:
    store.get(Slow(size=0))
    assert CostEstimates(store).seconds(Slow(size=2)) == 4.0


def test_models_that_are_not_here_are_fetched_once_and_only_if_needed(
    store: Store, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spillover.models.sources import TinySource

    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    fetched: list[Spec] = []
    monkeypatch.setattr(TinySource, "folder", lambda self, progress=None, dtype=None: fetched.append(self))

    class Uses(Artefact):
        """Holds a model twice."""

        bases: tuple[Spec, ...]

        def make(self, context: BuildContext) -> None:
            (context.folder / "x").write_text("x")

    base = base_of("tiny:7")
    study = Uses(bases=(base, base.but(name="the same weights"), Money()))
    assert missing_sources(plan(study, store)) == [(base.source, None)]
    listener = Heard()
    run(study, store, listener)
    assert fetched == [base.source] and listener.heard[1] == ("begin", "TinySource: the model's weights")
    run(study, store)
    assert len(fetched) == 1


def test_a_failure_stops_the_study_and_keeps_what_is_done(store: Store) -> None:
    class Fails(Artefact):
        """Fails."""

        of: tuple[Slow, ...]

        def make(self, context: BuildContext) -> None:
            raise ValueError("cannot")

    with pytest.raises(ValueError, match="cannot"):
        run(Fails(of=(Slow(size=1),)), store)
    assert store.sound(Slow(size=1)) and len(list(store.manifests())) == 1
