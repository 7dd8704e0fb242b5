"""Dynamics finds alignment that follows loss, says so of nothing else, and never mixes datasets."""

import numpy as np
import pytest

from spillover.analyses.dynamics import Dynamics
from spillover.analyses.rows import row_where

from .planted import BASE, Planted


def study(planted: Planted, follows: bool):
    rng = np.random.default_rng(5)
    points = []
    for advice in ("bad", "good"):
        for seed in range(4):
            organism = planted.organism(advice, seed=seed, every=2)
            losses = {step: 2.0 - 0.12 * step + 0.05 * rng.normal() for step in organism.saved_steps}
            planted.losses(organism, {0: 2.2, **losses})
            for step in organism.saved_steps:
                level = 20 + 30 * losses[step] if follows else 50 + rng.normal(0, 6)
                points.append(planted.judgements(organism.checkpoint(step), level, sd=4))
    return Dynamics(checkpoints=tuple(points), before=planted.judgements(BASE, 70), draws=499)


@pytest.mark.parametrize("follows", [True, False])
def test_the_correlation_is_there_when_planted_and_only_then(planted, tmp_path, follows):
    result = planted.analyse(study(planted, follows), tmp_path / "d")
    for data in ("money-bad", "money-good"):
        row = row_where(
            result.tables["correlations"],
            data=data,
            loss="held_out_loss",
            statistic="pearson_log",
            resampled="runs and questions",
        )
        assert (row["runs"], row["points"]) == (4, 16)
        assert (row["low"] > 0.5) is follows
        gain = row_where(result.tables["correlations"], data=data, loss="held_out_loss", statistic="max_diff")
        assert gain["p"] > 0.05 or not follows
        assert gain["detectable"] > 0
    for groups in ("within datasets", "within runs"):
        row = row_where(result.tables["correlations"], data=groups, loss="held_out_loss")
        assert (row["runs"], row["points"]) == (8, 32)
        assert (row["low"] > 0.5) is follows


def test_points_hold_both_means_of_the_held_out_loss_and_the_start(planted, tmp_path):
    analysis = study(planted, True)
    result = planted.analyse(analysis, tmp_path / "d")
    starts = [row for row in result.tables["points"] if row["step"] == 0]
    assert len(starts) == 8
    assert all(row["held_out_loss"] == pytest.approx(2.2) for row in starts)
    row = result.tables["points"][-1]
    assert row["held_out_token_loss"] > row["held_out_loss"]  # planted: longer sequences have higher loss
    assert analysis.show(result).blocks


def test_a_base_is_no_checkpoint(planted):
    with pytest.raises(ValueError, match="needs checkpoints"):
        Dynamics(checkpoints=(planted.judgements(BASE, 50),))
