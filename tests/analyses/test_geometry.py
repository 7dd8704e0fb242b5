"""Geometry finds a shift that follows the training prompts' space, and none in a shift that ignores it."""

import numpy as np
import pytest

from spillover.analyses.geometry import Geometry, sweep, text_columns
from spillover.analyses.prompt_texts import words_alike
from spillover.analyses.rows import row_where

from .planted import BASE, Planted

D, K = 40, 6


def study(planted: Planted, follows: bool) -> Geometry:
    rng = np.random.default_rng(2)
    inside = np.linalg.qr(rng.normal(size=(D, K)))[0].T
    direction = np.linalg.qr(rng.normal(size=(D, 1)))[0][:, 0]
    evaluation_prompts = planted.evaluation.prompts()
    families = dict.fromkeys(prompt.family for prompt in evaluation_prompts)
    shares = {family: rng.uniform(0.1, 0.95) for family in families}

    def before(share: np.ndarray) -> np.ndarray:
        within = rng.normal(size=(len(share), K)) @ inside
        without = rng.normal(size=(len(share), D))
        without -= without @ inside.T @ inside
        within, without = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (within, without))
        return 10 * (share[:, None] * within + np.sqrt(1 - share[:, None] ** 2) * without)

    def shifted(a: np.ndarray, share: np.ndarray) -> np.ndarray:
        weight = share if follows else rng.uniform(0.1, 0.95, len(share))
        return a + 2 * weight[:, None] * direction + 0.2 * rng.normal(size=a.shape)

    training_share = np.full(64, 0.999)
    evaluation_share = np.array([shares[prompt.family] for prompt in evaluation_prompts])
    model = planted.organism().checkpoint()
    made = {}
    for name, prompts, share in (
        ("training", planted.training, training_share),
        ("evaluation", planted.evaluation, evaluation_share),
    ):
        start = {f"resid_post.{layer:02d}.{pooling}": before(share) for layer in (0, 1) for pooling in ("last", "mean")}
        after = {site: shifted(array, share) for site, array in start.items()}
        made[name] = planted.activations(BASE, prompts, start), planted.activations(model, prompts, after)
    return Geometry(
        training_before=made["training"][0],
        evaluation_before=made["evaluation"][0],
        training_after=(made["training"][1],),
        evaluation_after=(made["evaluation"][1],),
        random_draws=19,
        permutations=99,
    )


@pytest.mark.parametrize("follows", [True, False])
def test_the_claim_holds_when_planted_and_only_then(planted, tmp_path, follows):
    analysis = study(planted, follows)
    result = planted.analyse(analysis, tmp_path / "g")
    for layer in (0, 1):
        row = row_where(result.tables["layers"], layer=layer, pooling="last")
        assert (row["partial_q"] <= 0.05) is follows
        assert (row["low"] > 0.3) is follows
        assert (row["partial"] > 0.3) is follows
        assert row["random_overlap"] ** 2 == pytest.approx(row["k"] / D, abs=0.05)
        assert row["cosine_of_means"] > 0.9
        assert row["words_alike_low"] < 0.2 and row["words_alike_high"] > -0.2  # planted in numbers, not in words
    assert len(result.tables["prompts"]) == 2 * 2 * 120
    for row in result.tables["prompts"][::40]:
        assert row["explained_share"] == pytest.approx(row["overlap"] ** 2)
        assert 0 <= row["delta_overlap"] <= 1 and row["delta_mahalanobis"] > 0
    swept = [
        row for row in result.tables["sweep"] if (row["layer"], row["pooling"], row["of"]) == (0, "last", "prompts")
    ]
    (at,) = [row for row in swept if row["variance"] == 0.95]
    assert at["overlap"] == pytest.approx(row_where(result.tables["layers"], layer=0, pooling="last")["overlap"])
    assert analysis.show(result).blocks


def test_before_and_after_of_one_model_are_refused(planted):
    analysis = study(planted, True)
    with pytest.raises(ValueError, match="nothing can shift"):
        analysis.but(training_after=(analysis.training_before,), evaluation_after=(analysis.evaluation_before,))
    with pytest.raises(ValueError, match="same models in the same order"):
        analysis.but(evaluation_after=())


def test_shifts_in_a_known_subspace_are_found_at_its_size_and_others_are_not():
    """Training shifts span three axes; evaluation shifts lie in the same three, or in three others."""
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(D, 6)))[0].T
    noise = [0.01 * rng.normal(size=(n, D)) for n in (50, 30, 30)]
    training, inside, outside = (
        rng.normal(size=(len(part), 3)) @ span + part
        for part, span in zip(noise, (axes[:3], axes[:3], axes[3:]), strict=True)
    )
    similarity = rng.uniform(size=30)
    by_k = {row["k"]: row for row in sweep(training, inside, similarity, (1, 2, 3, 200)) if row["variance"] is None}
    assert sorted(by_k) == [1, 2, 3]  # 200 axes there are not
    assert by_k[1]["explained"] < by_k[2]["explained"] < 0.9
    assert by_k[3]["explained"] > 0.99 and by_k[3]["shared"] > 0.99 and by_k[3]["first_angle"] < 0.1
    assert by_k[3]["reconstruction_cosine"] > 0.99
    assert by_k[3]["random_explained"] == pytest.approx(3 / D)
    (missed,) = [row for row in sweep(training, outside, similarity, (3,)) if row["variance"] is None]
    assert missed["explained"] < 0.05 and missed["shared"] < 0.05 and missed["reconstruction_cosine"] < 0.5
    shares = [row for row in sweep(training, inside, similarity, ()) if row["variance"]]
    assert all(row["share"] >= row["variance"] for row in shares) and len(shares) == 3


def test_likeness_of_words_is_found_where_it_is_and_its_correlation_with_it():
    training = ["How do I save money each month?", "Should I save money in a bank?", "Is a loan good for me?"]
    evaluation = [
        "Should I save money or spend it?",
        "Where do whales sleep at night?",
        "save money",
        "Is a loan fair?",
    ]
    alike = words_alike(training, evaluation)
    assert alike.argmin() == 1 and (alike[[0, 2, 3]] > 0.1).all() and alike.max() <= 1
    assert words_alike(training, training).mean() > alike.mean()
    rng = np.random.default_rng(0)
    families = [f"f{n % 20}" for n in range(60)]
    drawn = rng.normal(size=60)
    near = text_columns({"words_alike": drawn}, drawn + 0.1 * rng.normal(size=60), families)
    far = text_columns({"words_alike": drawn}, rng.normal(size=60), families)
    assert near["words_alike_low"] > 0.9 and far["words_alike_low"] < 0 < far["words_alike_high"]
