"""Trainings that begin alike train their first steps once, and each ends in the bytes that it ends in alone."""

import pytest
from organisms.test_resume import contents, steps_done
from organisms.toy import MILD, ToyRows, constant, organism

from spillover.engines.local import run
from spillover.engines.planning import CostEstimates, plan
from spillover.organisms.dataset import Split
from spillover.organisms.interventions.benign_rows import BenignMix
from spillover.organisms.losses import HeldOutLosses
from spillover.organisms.organism import Organism
from spillover.organisms.resume import shared_steps, steps_saved
from spillover.organisms.schedules.schedule import schedule_named
from spillover.organisms.tuning import LoRA
from spillover.store import Artefact, BuildContext, Store

TUNING = LoRA(rank=4, alpha=8.0, dropout=0.2)  # random numbers in each step


class Sweep(Artefact):
    """Needs every run of a sweep."""

    runs: tuple[Organism, ...]

    def make(self, context: BuildContext) -> None:
        (context.folder / "x").write_text("x")


def made(schedule: str = "linear", warmup: int = 3, checkpoints: tuple[int, ...] = (2, 6), **fields) -> Organism:
    """8 steps, the first of them in warm-up."""
    rates = schedule_named(schedule, peak=1e-2, warmup=warmup)
    return organism(**{"batch": 2, "tuning": TUNING} | fields, schedule=rates, checkpoint_steps=checkpoints)


LINEAR, COSINE = made(), made("cosine", checkpoints=(2, 3, 6))


def without_facts(store, of: Organism) -> dict:
    return {
        name: fact for name, fact in store.manifest(of)["facts"].items() if name not in ("resumed_share", "begun_by")
    }


def test_the_second_of_a_sweep_trains_its_own_steps_alone_and_ends_as_if_by_itself(store, tmp_path, monkeypatch):
    alone = Store.open(tmp_path / "alone")
    whole = contents(alone, COSINE)
    third = made("cosine", checkpoints=(2, 3, 5))
    done = steps_done(monkeypatch)
    run(Sweep(runs=(LINEAR, COSINE, third)), store)
    # linear and cosine part after warm-up; cosine's checkpoint at 3 is not linear's: only steps 1 and 2 are shared
    assert done == [*range(1, 9), *range(3, 9), *range(5, 9)]
    assert contents(store, COSINE) == whole
    assert contents(store, third) == contents(alone, third)
    assert contents(store, LINEAR) == contents(alone, LINEAR)
    facts = store.manifest(COSINE)["facts"]
    assert (facts["resumed_share"], facts["begun_by"]) == (2 / 8, LINEAR.fingerprint)
    assert without_facts(store, COSINE) == without_facts(alone, COSINE)
    assert "begun_by" not in store.manifest(LINEAR)["facts"]
    assert not store.begun() and not list(store.root.glob("unfinished/*"))


def test_how_many_steps_are_shared():
    assert shared_steps(LINEAR, COSINE) == 2
    assert shared_steps(COSINE, LINEAR) == 4  # the first step after warm-up has the peak in both
    assert shared_steps(made(), made("cosine")) == 4
    assert shared_steps(made(checkpoints=(4,)), made(checkpoints=(4, 6))) == 5  # the same run, asked for more
    assert shared_steps(made(), made(warmup=2)) == 1  # both begin at 0
    assert shared_steps(made(), made("constant", 0)) == 0
    assert shared_steps(made("constant", 0), made("constant", 0, checkpoints=())) == 7  # the last step is its own


@pytest.mark.parametrize(
    "other",
    [
        made("cosine", order_seed=1),
        made("cosine", adapter_seed=1),
        made("cosine", dropout_seed=1),
        made("cosine", batch=1, accumulate=2),
        made("cosine", tuning=LoRA(rank=4, alpha=8.0, dropout=0.1)),
        made("cosine", data=Split(data=ToyRows(text="Now: "), rows=16, held_out=4)),
        made("cosine", interventions=(BenignMix(benign=MILD, share=constant(0.5)),)),
    ],
)
def test_unlike_runs_share_nothing(store, monkeypatch, other):
    assert shared_steps(LINEAR, other) == 0 and steps_saved([LINEAR, other]) == {}
    done = steps_done(monkeypatch)
    run(Sweep(runs=(LINEAR, other)), store)
    assert done == [*range(1, 9), *range(1, other.steps + 1)]


def test_a_state_from_other_weights_or_rates_would_be_seen(store, tmp_path):
    """The negative control: the bytes that are compared do depend on the rates of the shared steps."""
    assert contents(store, made("cosine", warmup=2)) != contents(Store.open(tmp_path / "alone"), made("cosine"))


def test_one_that_another_process_works_on_is_left_alone(store, monkeypatch):
    with store.lock(COSINE):  # to another open file it is held, as by another process
        store.make(LINEAR, upcoming=(COSINE,))
        assert not store.unfinished(COSINE).exists()
    done = steps_done(monkeypatch)
    store.make(COSINE)
    assert done == list(range(1, 9))


def test_a_training_that_is_further_by_itself_keeps_its_own_state(store, monkeypatch):
    monkeypatch.setattr("spillover.organisms.resume.ResumeState.furthest", lambda self: 2)
    store.make(LINEAR, upcoming=(COSINE,))
    assert not store.unfinished(COSINE).exists()


def test_the_plan_counts_shared_steps_once_and_time_is_learned_per_step_done(store):
    assert steps_saved([LINEAR, COSINE, made("cosine", checkpoints=(2, 3, 5))]) == {
        COSINE.fingerprint: 2,
        made("cosine", checkpoints=(2, 3, 5)).fingerprint: 4,
    }
    first, second = [step for step in plan(Sweep(runs=(LINEAR, COSINE)), store) if isinstance(step.artefact, Organism)]
    assert (first.shared, second.shared) == (0.0, 0.25)
    rates = CostEstimates(store)
    assert second.seconds == pytest.approx(0.75 * rates.seconds(COSINE))
    rates.learn(
        {
            "spec": {"kind": "Organism"},
            "units": COSINE.cost().units,
            "facts": {"resumed_share": 0.25},
            "files": {},
            "made": {"seconds": 3},
        }
    )
    assert rates.seconds(COSINE) == pytest.approx(4.0)


def test_what_is_there_already_saves_nothing(store):
    store.get(LINEAR)
    steps = plan(Sweep(runs=(LINEAR, COSINE)), store)
    assert {step.shared for step in steps} == {0.0}


def test_other_kinds_share_nothing(store):
    assert HeldOutLosses.shared_work([HeldOutLosses(model=LINEAR.checkpoint(), data=LINEAR.data)]) == {}
