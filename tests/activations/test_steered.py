"""Steering: what is added is added at its layer and nowhere before, and taken out is out; answers hear it."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import read_direction
from spillover.activations.directions.mean_shift import MeanShift
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.prompts import EvaluationPrompts, TrainingPrompts
from spillover.activations.steered import Steered
from spillover.models.base import Base, Model
from spillover.models.catalogue import base_of
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.interpolated import Interpolated
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant
from spillover.records import read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Store

OTHER = base_of("tiny:1")  # stands for the model after training
ASKED = QuestionSelection(source=FreeForm(), formats=("raw",))
EVALUATION = EvaluationPrompts(questions=ASKED)


def direction(tiny: Base, layer: int = 0) -> MeanShift:
    prompts = TrainingPrompts(split=Split(data=Money(), rows=6))
    before, after = (Activations(model=model, prompts=prompts) for model in (tiny, OTHER))
    return MeanShift(before=before, after=after, layer=layer)


def held(model: Model, store: Store, site: str) -> np.ndarray:
    return read_activations(store.get(Activations(model=model, prompts=EVALUATION)), site, "last").astype(np.float64)


def test_the_direction_is_the_mean_shift_and_its_control_is_as_long(tiny: Base, store: Store) -> None:
    made = direction(tiny)
    store.get(made)
    arrays = [
        read_activations(store.path(activations), "resid_post.00", "last") for activations in (made.before, made.after)
    ]
    delta = arrays[1].astype(np.float64) - arrays[0]
    raw, unit, matched = (read_direction(made, store, scaling) for scaling in ("raw", "unit", "matched"))
    assert raw == pytest.approx(delta.mean(axis=0), abs=1e-6)
    assert np.linalg.norm(unit) == pytest.approx(1) and unit @ raw == pytest.approx(np.linalg.norm(raw))
    assert np.linalg.norm(matched) == pytest.approx(np.linalg.norm(delta, axis=1).mean(), rel=1e-6)
    drawn = [RandomDirection(like=made, seed=seed) for seed in (0, 1)]
    for control in drawn:
        store.get(control)
    vectors = [read_direction(control, store) for control in drawn]
    assert [np.linalg.norm(v) for v in vectors] == pytest.approx([np.linalg.norm(raw)] * 2, rel=1e-5)
    assert abs(vectors[0] @ vectors[1]) < 0.9 * np.linalg.norm(raw) ** 2


def test_it_is_added_at_its_layer_and_moves_what_comes_after(tiny: Base, store: Store) -> None:
    made = direction(tiny)
    store.get(made)
    steered, still = (Steered(model=tiny, direction=made, strength=strength) for strength in (2.0, 0.0))
    assert np.array_equal(held(steered, store, "embed"), held(tiny, store, "embed"))
    moved = held(steered, store, "resid_post.00") - held(tiny, store, "resid_post.00")
    assert np.abs(moved - 2 * read_direction(made, store)).max() < 1e-5
    assert np.abs(held(steered, store, "resid_post.01") - held(tiny, store, "resid_post.01")).max() > 1e-4
    assert np.allclose(held(still, store, "final_norm"), held(tiny, store, "final_norm"), atol=1e-5)


def test_ablation_leaves_nothing_along_the_direction(tiny: Base, store: Store) -> None:
    made = direction(tiny)
    store.get(made)
    unit = read_direction(made, store, "unit")
    bare, out = (
        held(model, store, "resid_post.00") for model in (tiny, Steered(model=tiny, direction=made, how="ablate"))
    )
    assert np.abs(out @ unit).max() < 1e-5 < np.abs(bare @ unit).max()
    assert np.abs(out - (bare - np.outer(bare @ unit, unit))).max() < 1e-5


def test_answers_hear_it_and_the_model_itself_is_left_alone(tiny: Base, store: Store) -> None:
    made = direction(tiny, layer=1)
    store.get(made)
    sampling = Sampling(per_question=1, max_tokens=6)

    def answers(model: Model) -> list[str]:
        folder = store.get(Responses(model=model, questions=ASKED, sampling=sampling))
        return read_table(folder / "responses.parquet")["answer"].to_pylist()

    plain = answers(tiny)
    assert answers(Steered(model=tiny, direction=made, scaling="matched", strength=20.0)) != plain
    assert answers(Steered(model=tiny, direction=made, strength=0.0)) == plain


def test_what_cannot_be_steered_is_refused(tiny: Base, store: Store) -> None:
    made = direction(tiny)
    with pytest.raises(ValueError, match="belong to the base"):
        Steered(model=base_of("tiny:7"), direction=made)
    with pytest.raises(ValueError, match="takes the whole direction out"):
        Steered(model=tiny, direction=made, how="ablate", strength=2.0)
    with pytest.raises(ValueError, match="nothing can shift"):
        MeanShift(before=made.before, after=made.before, layer=0)
    high = direction(tiny, layer=9)
    with pytest.raises(ValueError, match="no activations"):
        store.get(high)


def test_nothing_is_trained_from_a_steered_model_whose_checkpoint_would_lose_the_steering(tiny: Base) -> None:
    plain = Organism(parent=tiny, data=Split(data=Money(), rows=8), schedule=Constant(peak=1e-3))
    end, steered = plain.checkpoint(), Steered(model=tiny, direction=direction(tiny))
    between = Interpolated(start=end, end=plain.but(order_seed=1).checkpoint(), share=0.5)
    assert not any(plain.but(parent=model).parent.has_hooks for model in (tiny, end, between))
    for parent in (steered, *(steered.but(model=model) for model in (end, between, steered))):
        assert parent.has_hooks
        with pytest.raises(ValueError, match=r"changes activations while it runs.* Train the model below it") as raised:
            plain.but(parent=parent)
        assert parent.label() in str(raised.value)
