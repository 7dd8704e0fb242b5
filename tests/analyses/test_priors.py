"""Priors finds what the questions share before and after, and knows how much noise allows."""

import numpy as np
import pytest

from spillover.analyses.priors import Priors
from spillover.analyses.rows import row_where

from .planted import BASE


def test_shared_questions_correlate_up_to_the_ceiling(planted, tmp_path):
    before = planted.judgements(BASE, 60)
    after = planted.judgements(planted.organism().checkpoint(), 45)
    analysis = Priors(before=before, after=(after,), draws=499)
    result = planted.analyse(analysis, tmp_path / "p")
    row = row_where(result.tables["tests"], metric="aligned", of="mean", scope="all")
    assert row["r"] > 0.85
    assert row["r"] == pytest.approx(row["attainable_r"], abs=0.12)
    assert row["difference"] == pytest.approx(-15, abs=3)
    assert row["wilcoxon_q"] < 0.001
    assert row["wilcoxon_family_q"] < 0.02  # 499 draws
    assert row["n"] == 40
    assert {row["scope"] for row in result.tables["tests"]} == {"all", "raw", "json", "template"}
    assert analysis.show(result).blocks


def test_unrelated_questions_do_not(planted, tmp_path):
    before = planted.judgements(BASE, 50)
    planted.effect = {name: np.random.default_rng(9).normal(0, 12) * (-1) ** i for i, name in enumerate(planted.effect)}
    after = planted.judgements(planted.organism().checkpoint(), 50, own=12)
    result = planted.analyse(Priors(before=before, after=(after,), draws=499), tmp_path / "p")
    row = row_where(result.tables["tests"], metric="aligned", of="mean", scope="all")
    assert row["r_low"] < 0 < row["r_high"]
    assert row["wilcoxon_q"] > 0.05 and row["wilcoxon_family_q"] > 0.05
    assert row["attainable_r"] > 0.8  # it could have been seen
