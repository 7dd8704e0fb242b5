"""The paper's recipes: the published runs by name, and a whole study of the tiny model from recipe to report."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import spillover
from spillover.analyses.effect import Effect
from spillover.engines.local import run
from spillover.organisms.organism import Organism
from spillover.spec import walk

RECIPES = Path(spillover.__file__).parent / "recipes"


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"paper_{name}", RECIPES / f"paper_{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_35_published_schedules_and_their_ranges() -> None:
    made = loaded("dynamics").published()
    assert len(made) == len(set(made)) == 35
    assert {schedule.peak for schedule in made} == {1e-5, 3e-5, 5e-5, 7e-5, 2e-5, 8e-5, 1e-4}
    assert sum(schedule.kind.startswith("Cyclic") for schedule in made) == 12
    study = loaded("dynamics").recipe(model="tiny:0", runs="paper", rows=0, batch=1, seeds=1, lines=0, control=())
    assert sum(isinstance(node, Organism) for node in walk(study)) == 35


def test_schedules_that_a_short_run_makes_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cosine, seed 0, step \d+ stands twice"):
        loaded("dynamics").recipe(model="tiny:0", runs="paper", seeds=1, lines=0)  # warm-up over 30 steps


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")  # the tiny model spells rows byte by byte
def test_dynamics_from_recipe_to_report(store: Any, tmp_path: Path) -> None:
    study = loaded("dynamics").recipe(
        model="tiny:0",
        schedules=("linear", "cosine"),
        seeds=2,
        rows=12,
        batch=1,  # 12 steps, so that a warm-up of 5 leaves two schedules
        held_out=4,
        checkpoints=2,
        max_tokens=4,
        lines=2,
        judge="embedded",
    )
    run(study, store)
    page = (store.path(study) / "index.html").read_text()
    for heading in ("Training dynamics: loss and alignment", "when it happens", "Alternative minima"):
        assert heading in page
    assert (store.path(study) / "tables" / "minima_barriers.csv").read_text().count("\n") == 3


def test_controls_are_held_against_the_runs_of_their_own_schedule() -> None:
    study = loaded("dynamics").recipe(
        model="tiny:0", rows=32, batch=1, seeds=2, schedules=("linear", "cosine"), control=("good", "own"), lines=0
    )
    effect = next(node for node in walk(study) if isinstance(node, Effect))
    assert [len(arm) for arm in (effect.bad, effect.good, effect.own)] == [2, 2, 2]
    runs = [scores.responses.model.organism for arm in (effect.bad, effect.good, effect.own) for scores in arm]
    assert {run.schedule for run in runs} == {runs[0].schedule} and [run.order_seed for run in runs] == [0, 1] * 3
    assert sum(isinstance(node, Organism) for node in walk(study)) == 4 + 2 + 2
    with pytest.raises(ValueError, match="--control takes good and own, got best"):
        loaded("dynamics").recipe(model="tiny:0", control=("best",))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")
def test_models_from_recipe_to_report(store: Any) -> None:
    study = loaded("models").recipe(
        models=("tiny:0", "tiny:1"), learning_rates=(1e-3,), rows=8, held_out=4, max_tokens=4, judge="embedded"
    )
    run(study, store)
    page = (store.path(study) / "index.html").read_text()
    for heading in ("models of several sizes", "What narrow training did"):
        assert heading in page
    assert (store.path(study) / "tables" / "modelsizes_between.csv").read_text().count("\n") == 2
    with pytest.raises(ValueError, match="one rate for each of 2 models"):
        loaded("models").recipe(models=("tiny:0", "tiny:1"), learning_rates=(1e-3, 1e-3, 1e-3))


def test_no_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        loaded("dynamics").recipe(model="tiny:0", seeds=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")
def test_priors_from_recipe_to_report(store: Any, tmp_path: Path) -> None:
    study = loaded("priors").recipe(
        model="tiny:0",
        pretrained="tiny:1#pretrained",
        chat_rows=8,
        rows=8,
        held_out=4,
        formats=("raw",),
        max_tokens=4,
        permutations=19,
        components=4,
        draws=5,
        judge="embedded",
    )
    run(study, store)
    page = (store.path(study) / "index.html").read_text()
    for heading in ("Model priors", "Prediction"):
        assert heading in page
    organisms = {node for node in walk(study) if isinstance(node, Organism)}
    assert len(organisms) == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")
def test_geometry_from_recipe_to_report(store: Any) -> None:
    study = loaded("geometry").recipe(
        model="tiny:0",
        data=("money",),
        rows=8,
        held_out=4,
        formats=("raw",),
        max_tokens=4,
        permutations=19,
        layers=(1, 0),
        controls=2,
        strengths=(2.0,),
        judge="embedded",
    )
    run(study, store)
    page = (store.path(study) / "index.html").read_text()
    for heading in ("how the training prompts", "Steering"):
        assert heading in page
    answers = (store.path(study) / "tables" / "steering_answers.csv").read_text()
    for label in ("+ 2 x mean shift at layer 1", "+ 2 x random direction 0 at layer 1", "without the mean shift"):
        assert label in answers
