"""Directions while training: they change what is learnt, are gone from checkpoints, and are refused where useless."""

from __future__ import annotations

import numpy as np
import pytest
from organisms.toy import MILD, constant, organism
from safetensors.torch import load_file

from spillover.activations.activations import Activations, read_activations
from spillover.activations.directions.contrast import Contrast
from spillover.activations.interventions.direction_in_training import ConceptAblation, PreventativeSteering
from spillover.activations.interventions.drift_penalty import DriftPenalty
from spillover.activations.prompts import EvaluationPrompts
from spillover.models.catalogue import base_of
from spillover.organisms.organism import Organism
from spillover.organisms.training_spec import adapter_folder
from spillover.organisms.tuning import Full, LoRA
from spillover.records import read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.store import Store

TINY = base_of("tiny:0")


def direction(store: Store, layer: int = 1) -> Contrast:
    plain, form = (
        Activations(
            model=TINY, prompts=EvaluationPrompts(questions=QuestionSelection(source=FreeForm(), formats=(f,), count=8))
        )
        for f in ("raw", "template")
    )
    made = Contrast(high=form, low=plain, layer=layer)
    for each in (plain, form, made):
        store.get(each)
    return made


def weights(made: Organism, store: Store) -> dict[str, np.ndarray]:
    folder = adapter_folder(store.get(made), made.steps)
    return {name: value.numpy() for name, value in load_file(next(folder.glob("*.safetensors"))).items()}


def first_losses(made: Organism, store: Store) -> tuple[float, float]:
    """Of the first step, and of held-out rows before it."""
    folder = store.get(made)
    held_out = read_table(folder / "losses.parquet").to_pylist()
    before = [row["loss"] for row in held_out if row["step"] == 0]
    return read_table(folder / "log.parquet")["loss"][0].as_py(), float(np.mean(before))


@pytest.mark.parametrize("kind", [PreventativeSteering, ConceptAblation])
def test_it_acts_on_steps_and_not_on_held_out_losses(store: Store, kind) -> None:
    strong = {"strength": 30.0} if kind is PreventativeSteering else {}
    plain, steered = organism(), organism(interventions=(kind(direction=direction(store), **strong),))
    (loss, before), (steered_loss, steered_before) = first_losses(plain, store), first_losses(steered, store)
    assert steered_before == before and steered_loss != pytest.approx(loss, rel=1e-6)
    first, second = weights(plain, store), weights(steered, store)
    assert max(np.abs(first[name] - second[name]).max() for name in first) > 1e-5


def test_steering_by_nothing_is_plain_training(store: Store) -> None:
    first = weights(organism(), store)
    second = weights(organism(interventions=(PreventativeSteering(direction=direction(store), strength=0.0),)), store)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_learnt_does_not_go_through_an_ablated_direction(store: Store) -> None:
    """Tuned at the last layer alone, whose output is ablated: the checkpoint moves, and along the direction less."""
    made = direction(store)
    unit = made.value(store) / np.linalg.norm(made.value(store))
    tuning = LoRA(rank=4, alpha=8.0, layers=(1,))

    def moved(interventions: tuple) -> float:
        trained = organism(tuning=tuning, interventions=interventions)
        store.get(trained)
        held = [
            read_activations(store.get(made.low.but(model=model)), "resid_post.01", "last")
            for model in (TINY, trained.checkpoint())
        ]
        delta = held[1].astype(float) - held[0]
        return float(np.abs(delta @ unit).mean() / np.linalg.norm(delta, axis=1).mean())

    assert moved((ConceptAblation(direction=made),)) < moved(())


def test_a_layer_below_all_that_is_tuned_is_refused(store: Store) -> None:
    low = PreventativeSteering(direction=direction(store, layer=0))
    with pytest.raises(ValueError, match="lies below layer 1"):
        store.get(organism(tuning=LoRA(rank=4, alpha=8.0, layers=(1,)), interventions=(low,)))
    with pytest.raises(ValueError, match="has layers 0 to"):
        store.get(organism(interventions=(DriftPenalty(benign=MILD, weight=constant(1.0), layer=9),)))


@pytest.mark.parametrize("tuning", [LoRA(rank=4, alpha=8.0), Full()])
def test_a_drift_penalty_holds_the_network_near_its_parent(store: Store, tuning) -> None:
    def drifts(weight: float) -> list[float]:
        penalty = DriftPenalty(benign=MILD, weight=constant(weight), layer=1)
        made = organism(tuning=tuning, epochs=2, interventions=(penalty,))
        rows = read_table(store.get(made) / "interventions.parquet").to_pylist()
        return [row["value"] for row in rows if row["name"] == "drift"]

    free, held = drifts(1e-9), drifts(50.0)
    assert len(free) == 8 and free[0] == pytest.approx(0, abs=1e-9)
    assert held[-1] < 0.7 * free[-1]
