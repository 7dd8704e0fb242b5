"""Prediction finds the layer where the scores were planted, and no other; near-duplicates do not help it."""

import numpy as np

from spillover.analyses.prediction import Prediction

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
    after = planted.judgements(planted.organism().at(), 45, sd=4)
    return Prediction(activations=activations, before=before, after=after, repeats=2, permutations=99)


def test_the_planted_layer_predicts_and_the_others_do_not(planted, tmp_path):
    analysis = study(planted, 1)
    found = planted.analyse(analysis, tmp_path / "p")
    looked = {(row["layer"], row["pooling"]): row for row in found.tables["layers"] if row["features"] == "activations"}
    assert len(looked) == 6
    for (layer, _), row in looked.items():
        assert (row["q"] <= 0.05) is (layer == 1)
        assert (row["estimate"] > 0.3) is (layer == 1)
    assert 0.5 < found.facts["attainable_r2"] <= 1
    assert analysis.show(found).blocks


def test_questions_that_are_alike_in_a_family_do_not_raise_r2(planted, tmp_path):
    found = planted.analyse(study(planted, None), tmp_path / "p")
    looked = [row for row in found.tables["layers"] if row["features"] == "activations"]
    assert max(row["estimate"] for row in looked) < 0.1
    assert min(row["q"] for row in looked) > 0.05
