"""Prediction finds the layer where the scores were planted, and no other; near-duplicates do not help it."""

from typing import Any

import numpy as np
import pytest

from spillover.activations.activations import Activations
from spillover.activations.prompts import EvaluationPrompts
from spillover.analyses.prediction import Prediction
from spillover.analyses.rows import row_where
from spillover.models.catalogue import base_of
from spillover.store import BuildContext

from .planted import BASE, Planted


def study(planted: Planted, planted_layer: int | None) -> Prediction:
    rng = np.random.default_rng(1)
    prompts = planted.evaluation.prompts()
    families = {name: rng.normal(0, 1, 24) for name in dict.fromkeys(prompt.family for prompt in prompts)}
    signal = np.array([planted.effect[prompt.question] for prompt in prompts])
    arrays = {}
    for layer in range(3):
        for pooling in ("last", "mean"):
            x = np.array([families[prompt.family] + rng.normal(0, 0.1, 24) for prompt in prompts])  # alike in a family
            if layer == planted_layer:
                x[:, 0] = signal / 4 + rng.normal(0, 0.5, len(prompts))
            arrays[f"resid_post.{layer:02d}.{pooling}"] = x
    activations = planted.activations(BASE, planted.evaluation, arrays)
    before = planted.judgements(BASE, 50, sd=30, own=15)  # a poor prior
    after = planted.judgements(planted.organism().checkpoint(), 45, sd=4)
    return Prediction(activations=activations, before=before, after=after, repeats=2, permutations=99)


def test_the_planted_layer_predicts_and_the_others_do_not(planted, tmp_path):
    analysis = study(planted, 1)
    result = planted.analyse(analysis, tmp_path / "p")
    places = {
        (row["layer"], row["pooling"]): row for row in result.tables["layers"] if row["features"] == "activations"
    }
    assert len(places) == 6
    for (layer, _), row in places.items():
        assert (row["q"] <= 0.05) is (layer == 1)
        assert (row["estimate"] > 0.3) is (layer == 1)
    assert 0.5 < result.facts["attainable_r2"] <= 1
    assert analysis.show(result).blocks


def test_questions_that_are_alike_in_a_family_do_not_raise_r2(planted, tmp_path):
    result = planted.analyse(study(planted, None), tmp_path / "p")
    places = [row for row in result.tables["layers"] if row["features"] == "activations"]
    assert max(row["estimate"] for row in places) < 0.1
    assert min(row["q"] for row in places) > 0.05


OTHER = base_of("tiny:1")


def wide(planted: Planted, **fields: Any) -> Prediction:
    """The study with a rival model that knows nothing, training prompts' activations, and a second organism."""
    spec = study(planted, 1)
    rng = np.random.default_rng(2)
    names = [f"resid_post.{layer:02d}.{pooling}" for layer in range(3) for pooling in ("last", "mean")]
    rows = len(planted.evaluation.prompts())
    rival = planted.activations(OTHER, planted.evaluation, {name: rng.normal(size=(rows, 24)) for name in names})
    spread = np.r_[6.0, np.ones(23)]  # the first axis is the one that matters, and the longest
    training = {name: rng.normal(size=(len(planted.training.prompts()), 24)) * spread for name in names}
    before = planted.activations(BASE, planted.training, training)
    elsewhere = planted.judgements(planted.organism("good").checkpoint(), 60, sd=4)
    return spec.but(training=before, against=(rival,), transfer=(elsewhere,), every=2, **fields)


def test_several_targets_are_corrected_together(planted, tmp_path):
    single = study(planted, 1)
    alone = planted.analyse(single, tmp_path / "a").tables["layers"]
    spec = single.but(targets=("aligned", "harmless", "aligned sd"))
    result = planted.analyse(spec, tmp_path / "b")
    rows = [row for row in result.tables["layers"] if row["features"] == "activations"]
    assert len(rows) == 18
    by_target = {target: [row for row in rows if row["target"] == target] for target in spec.targets}
    for row in by_target["aligned"]:
        same = row_where(alone, layer=row["layer"], pooling=row["pooling"], features="activations")
        assert row["skill"] == pytest.approx(same["skill"], abs=1e-9) and row["p"] == same["p"]
        assert row["q"] >= same["q"]  # over more tests, never smaller
    assert all((row["q"] <= 0.05) is (row["layer"] == 1) for row in by_target["aligned"])
    assert all(row["q"] > 0.05 for row in by_target["aligned sd"])  # the spread was not planted
    assert spec.show(result).blocks


def test_rivals_random_axes_and_another_organism(planted, tmp_path):
    spec = wide(planted, features=("raw", "pca", "random"), components=4, draws=20, prompt_words=True).but(every=1)
    result = planted.analyse(spec, tmp_path / "p")
    raw = {row["layer"]: row for row in result.tables["against"] if row["pooling"] == "last"}
    assert raw[1]["low"] > 0 and raw[1]["other_layer"] == 1  # the planted layer beats the rival's
    assert raw[0]["low"] < 0 < raw[0]["high"]  # the others do not
    moved = [row for row in result.tables["transfer"] if row["features"] == "activations" and row["pooling"] == "last"]
    assert [row["estimate"] > 0.3 for row in moved] == [False, True, False]  # the second organism shares the effects
    draws = result.tables["random"]
    assert len(draws) == 6 and all(row["draws"] == 20 and row["low"] <= row["median"] <= row["high"] for row in draws)
    assert all(0 < row["p"] <= 1 for row in draws)
    assert {row["features"] for row in result.tables["layers"]} >= {"activations, principal axes", "prompt words"}
    assert len(spec.show(result).blocks) == 6


def test_folds_by_category_and_other_models_of_the_same_scores(planted, tmp_path):
    for model in ("linear", "lasso"):
        spec = study(planted, 1).but(model=model, grouped_by="category", permutations=19, folds=2, every=2)
        rows = planted.analyse(spec, tmp_path / model).tables["layers"]
        assert all(np.isfinite(row["skill"]) for row in rows)


def test_a_model_is_not_compared_with_itself_under_another_name(planted):
    spec = study(planted, 1)
    same = Activations(model=BASE.but(name="pretrained", role="pretrained"), prompts=planted.evaluation)
    with pytest.raises(ValueError, match="the same model under two names"):
        spec.but(against=(same,))
    other = Activations(model=OTHER, prompts=planted.evaluation)
    assert spec.but(against=(other,)).against == (other,)
    with pytest.raises(ValueError, match="the same model under two names"):
        spec.but(against=(other, other))


def test_what_cannot_be_fitted_is_refused(planted):
    spec = study(planted, 1)
    with pytest.raises(ValueError, match="pass their activations as `training`"):
        spec.but(features=("pca",))
    with pytest.raises(ValueError, match="only controls"):
        spec.but(features=("random",))
    with pytest.raises(ValueError, match="of one model"):
        spec.but(training=Activations(model=OTHER, prompts=planted.training))
    misspelt = spec.but(targets=("algined",))
    with pytest.raises(ValueError, match="no scores of 'algined'"):
        misspelt.analyse(BuildContext(planted.store.path(spec), planted.store, lambda share: None))


def test_activations_of_other_questions_are_refused_and_both_sets_are_named(planted, tmp_path):
    spec = study(planted, 1)
    asked = planted.asked.but(formats=("raw",))
    fewer = EvaluationPrompts(questions=asked)
    arrays = {f"resid_post.00.{pooling}": np.ones((len(fewer.prompts()), 4)) for pooling in ("last", "mean")}
    other = planted.activations(BASE, fewer, arrays)
    with pytest.raises(ValueError, match=r"scores are of '40 questions.*in 3 formats.*activations of .*in 1 formats"):
        planted.analyse(spec.but(activations=other), tmp_path / "p")
