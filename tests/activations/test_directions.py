"""Every kind of direction: what it measures, what steering by it does, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import Direction, read_arrays, read_direction
from spillover.activations.directions.contrast import Contrast, Leace, ProbeWeights
from spillover.activations.directions.decoder_row import DecoderRow
from spillover.activations.directions.principal_axis import PrincipalAxis
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.directions.score_contrast import ScoreContrast
from spillover.activations.prompts import AnsweredPrompts, EvaluationPrompts
from spillover.activations.steered import Steered
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.models.base import Base, Model
from spillover.models.catalogue import base_of
from spillover.records import read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Store

ASKED = QuestionSelection(source=FreeForm(), formats=("raw",))
FORMS = QuestionSelection(source=FreeForm(), formats=("template",))
SITE = "resid_post.01"


def states(model: Model, store: Store, questions: QuestionSelection = ASKED) -> np.ndarray:
    made = Activations(model=model, prompts=EvaluationPrompts(questions=questions))
    return read_activations(store.get(made), SITE, "last").astype(np.float64)


def sets(tiny: Base) -> dict[str, Activations]:
    plain, form = (Activations(model=tiny, prompts=EvaluationPrompts(questions=asked)) for asked in (ASKED, FORMS))
    return {"high": form, "low": plain}


def measured(direction: Direction, store: Store) -> np.ndarray:
    for need in direction.needs():
        store.get(need)
    store.get(direction)
    return read_direction(direction, store)


def test_a_contrast_is_the_difference_of_means_and_a_probe_tells_the_sets_apart(tiny: Base, store: Store) -> None:
    plain, form = states(tiny, store), states(tiny, store, FORMS)
    assert measured(Contrast(**sets(tiny), layer=1), store) == pytest.approx(form.mean(0) - plain.mean(0), abs=1e-5)
    weights = measured(ProbeWeights(**sets(tiny), layer=1), store)
    assert np.linalg.norm(weights) == pytest.approx(1, abs=1e-6) and (form @ weights).mean() > (plain @ weights).mean()


def test_erasing_leaves_the_two_sets_alike_and_their_mean_where_it_was(tiny: Base, store: Store) -> None:
    made = Leace(**sets(tiny), layer=1)
    measured(made, store)
    before = [states(tiny, store, asked) for asked in (ASKED, FORMS)]
    after = [states(Steered(model=tiny, direction=made, how="erase"), store, asked) for asked in (ASKED, FORMS)]
    assert (
        np.abs(after[0].mean(0) - after[1].mean(0)).max() < 1e-3 < np.abs(before[0].mean(0) - before[1].mean(0)).max()
    )
    assert np.vstack(after).mean(0) == pytest.approx(np.vstack(before).mean(0), abs=1e-3)


def test_a_random_direction_takes_layer_and_length_from_what_it_is_like(tiny: Base, store: Store) -> None:
    like = Contrast(**sets(tiny), layer=1)
    length = np.linalg.norm(measured(like, store))
    drawn = RandomDirection(like=like, seed=3)
    assert (drawn.layer, drawn.pooling) == (1, "last")
    assert np.linalg.norm(measured(drawn, store)) == pytest.approx(length, rel=1e-5)
    assert read_arrays(drawn, store)["typical"] == read_arrays(like, store)["typical"]
    with pytest.raises(ValueError, match="layer is that of the direction it is like"):
        RandomDirection(like=like, seed=3, layer=0)


def test_scores_split_the_answers(tiny: Base, store: Store) -> None:
    responses = Responses(model=tiny, questions=ASKED, sampling=Sampling(per_question=2, max_tokens=6))
    scores = Judgements(responses=responses, judge=Embedded())
    answered = Activations(model=tiny, prompts=AnsweredPrompts(responses=responses), poolings=("completion",))
    made = ScoreContrast(activations=answered, scores=scores, layer=1, pooling="completion", share=0.3)
    vector = measured(made, store)
    table = read_table(store.path(scores) / "judgements.parquet").to_pylist()
    score = {f"{row['question_id']}#{row['sample']}": row["score"] for row in table if row["metric"] == "aligned"}
    names = read_table(store.path(answered) / "prompts.parquet")["prompt_id"].to_pylist()
    values = np.array([score[name] for name in names])
    low, high = np.quantile(values, [0.3, 0.7])
    rows = read_activations(store.path(answered), SITE, "completion").astype(np.float64)
    assert vector == pytest.approx(rows[values >= high].mean(0) - rows[values <= low].mean(0), abs=1e-5)
    with pytest.raises(ValueError, match="AnsweredPrompts"):
        made.but(activations=sets(tiny)["low"])


def test_a_principal_axis_is_as_long_as_the_spread_along_it(tiny: Base, store: Store) -> None:
    vector = measured(PrincipalAxis(activations=sets(tiny)["low"], layer=1), store)
    along = states(tiny, store) @ (vector / np.linalg.norm(vector))
    assert np.linalg.norm(vector) == pytest.approx(along.std(ddof=1), rel=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_feature_of_a_file_is_read_and_another_file_is_noticed(tiny: Base, store: Store, tmp_path, axis: int) -> None:
    width = states(tiny, store).shape[1]
    features = np.random.default_rng(0).normal(size=(5, width)).astype(np.float32)
    path = tmp_path / "features.safetensors"
    save_file({"W_dec": np.ascontiguousarray(features if axis == 0 else features.T)}, path)
    made = DecoderRow(base=tiny, path=str(path), feature=3, axis=axis, layer=1)
    assert measured(made, store) == pytest.approx(features[3])
    moved = states(Steered(model=tiny, direction=made), store) - states(tiny, store)
    assert np.abs(moved - features[3]).max() < 1e-4
    with pytest.raises(ValueError, match="no feature 9"):
        store.get(made.but(feature=9))
    with pytest.raises(ValueError, match="no tensor 'decoder'"):
        store.get(made.but(tensor="decoder"))
    save_file({"W_dec": features[:4]}, path)
    with pytest.raises(ValueError, match="not the file"):
        store.get(made.but(feature=1))
    with pytest.raises(ValueError, match="no safetensors file"):
        DecoderRow(base=tiny, path=str(tmp_path / "none.safetensors"), feature=0, layer=1)


def test_what_makes_no_direction_is_refused(tiny: Base, store: Store) -> None:
    pair = sets(tiny)
    with pytest.raises(ValueError, match="do not differ"):
        Contrast(high=pair["high"], low=pair["high"], layer=1)
    with pytest.raises(ValueError, match="MeanShift"):
        Contrast(high=pair["high"].but(model=base_of("tiny:1")), low=pair["low"], layer=1)
    with pytest.raises(ValueError, match="has no eraser"):
        Steered(model=tiny, direction=Contrast(**pair, layer=1), how="erase")
    with pytest.raises(ValueError, match="no activations"):
        measured(Contrast(**pair, layer=9), store)
