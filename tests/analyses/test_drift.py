"""A run that drifts along a planted direction raises an alarm; one that drifts elsewhere, or a sound one, does not."""

import numpy as np
import pytest

from spillover.activations.directions.contrast import Contrast
from spillover.analyses.drift import Drift
from spillover.analyses.rows import row_where

from .planted import BASE, Planted

D, SITE = 16, "resid_post.01.last"


def study(planted: Planted, along: float, controls: int = 4) -> Drift:
    rng = np.random.default_rng(1)
    prompts = planted.evaluation
    start = rng.normal(size=(len(prompts.prompts()), D))
    before = planted.activations(BASE, prompts, {SITE: start})
    opposite = planted.activations(BASE, planted.training, {SITE: np.zeros((64, D))})
    trait = planted.activations(BASE, prompts, {SITE: start})
    direction = Contrast(high=trait, low=opposite, layer=1, name="trait")
    planted.store.make(direction)
    vector = direction.value(planted.store)

    def runs(advice: str, seed: int, far: float) -> list:
        organism = planted.organism(advice, seed=seed, every=4)
        made = []
        for step in organism.saved_steps:
            noise = rng.normal(size=start.shape) + rng.normal(0, 0.1, size=D)
            moved = start + far * step / organism.steps * vector + noise * step / organism.steps
            made.append(planted.activations(organism.checkpoint(step), prompts, {SITE: moved}))
        return made

    sound = [each for seed in range(controls) for each in runs("good", seed, 0.0)]
    return Drift(
        before=before, checkpoints=tuple(runs("bad", 0, along)), controls=tuple(sound), directions=(direction,)
    )


@pytest.mark.parametrize("along", [4.0, 0.0])
def test_a_planted_drift_raises_the_alarm_and_only_then(planted, tmp_path, along) -> None:
    analysis = study(planted, along)
    result = planted.analyse(analysis, tmp_path / "drift")
    (alarm,) = result.tables["alarms"]
    assert alarm["alarm"] is (along > 0) and alarm["controls"] == 4
    assert (alarm["first_step"] is not None) is (along > 0)
    last = row_where(result.tables["drift"], arm="watched", step=alarm["step"])
    assert last["low"] < last["estimate"] < last["high"]
    assert last["estimate"] == pytest.approx(along, abs=0.5)
    assert analysis.show(result).blocks[0].parts[0].text == str(int(along > 0))


def test_without_controls_there_is_no_alarm(planted, tmp_path) -> None:
    analysis = study(planted, 4.0, controls=1)
    result = planted.analyse(analysis, tmp_path / "drift")
    assert result.tables["alarms"][0]["alarm"] is None
    assert "two control runs" in str(analysis.show(result).blocks[0])


def test_what_does_not_fit_is_refused(planted) -> None:
    analysis = study(planted, 1.0)
    with pytest.raises(ValueError, match="at once"):
        analysis.but(controls=analysis.checkpoints)
    with pytest.raises(ValueError, match="no checkpoint"):
        analysis.but(checkpoints=(analysis.before,))
    with pytest.raises(ValueError, match="fixed prompts"):
        analysis.but(before=analysis.before.but(prompts=planted.training))
    with pytest.raises(ValueError, match="no direction"):
        analysis.but(directions=())
