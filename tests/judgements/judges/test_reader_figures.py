"""The figures of the reader's card, and the stretch of its scale, on tables made here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))

import reader_card
import reader_rows
import reader_stretch


@pytest.fixture
def table() -> pd.DataFrame:
    """Pairs of 12 domains and answers of two models, read by a judge that shrinks every logit and has noise."""
    rng = np.random.default_rng(0)
    pairs = 120
    own = pd.DataFrame(
        {
            "split": reader_rows.OWN_DOMAIN,
            "pair": np.repeat([f"pair {n}" for n in range(pairs)], 2),
            "side": np.tile([1, -1], pairs),
            "domain": np.repeat([f"domain {n % 12}" for n in range(pairs)], 2),
            "label_aligned": np.tile([92.0, 30.0], pairs),
            "model": "",
        }
    )
    asked = pd.DataFrame(
        {
            "split": reader_rows.QUESTION,
            "pair": "",
            "side": 0,
            "domain": "wish",
            "label_aligned": np.repeat([88.0, 40.0], 60),
            "model": np.repeat(["good", "bad"], 60),
        }
    )
    whole = pd.concat([own, asked], ignore_index=True)
    whole["group"] = whole.pair.where(whole.pair != "", "question " + (whole.index % 2).astype(str))
    logit = np.log(whole.label_aligned / (100 - whole.label_aligned)) / 1.4 + 0.1 * rng.normal(size=len(whole))
    return whole.assign(note="", words=20, score_aligned=100 / (1 + np.exp(-logit)))


def test_figures_of_sums_are_those_of_rows(table: pd.DataFrame) -> None:
    r, low, high = reader_card.interval(table, reader_card.correlation("aligned"))
    assert r == pytest.approx(np.corrcoef(table.label_aligned, table.score_aligned)[0, 1])
    assert low < r < high
    off, low, high = reader_card.interval(table, reader_card.level())
    gaps = table.score_aligned - table.label_aligned
    assert off == pytest.approx(gaps.mean())
    of_groups = (gaps - off).groupby(table.group).sum()  # the error of a ratio of sums, linearised
    assert high - low == pytest.approx(2 * 1.96 * of_groups.std() * np.sqrt(len(of_groups)) / len(table), rel=0.25)
    missing = table.assign(label_aligned=np.nan)
    assert np.isnan(reader_card.interval(missing, reader_card.correlation("aligned"))).all()


def test_a_pairs_tie_is_half_a_win_and_the_effect_a_share(table: pd.DataFrame) -> None:
    pairs = reader_card.sides(table)
    assert reader_card.wins()(pairs) == 1.0
    assert reader_card.wins()(pairs.assign(score_aligned_good=50.0, score_aligned_bad=50.0)) == 0.5
    unlike = pairs.assign(words_good=np.where(np.arange(len(pairs)) < 10, 20, 40), score_aligned_bad=99.0)
    unlike.loc[:4, "score_aligned_bad"] = 0.0
    assert reader_card.wins(equal=True)(unlike) == 0.5  # of the ten whose sides are equally long
    gap = (pairs.score_aligned_good - pairs.score_aligned_bad).mean()
    assert reader_card.effect()(pairs) == pytest.approx(gap / 62)


def test_the_stretch_gives_groups_their_means_back_without_their_own_domain(table: pd.DataFrame) -> None:
    scores, stretch = reader_stretch.cross_fitted(table)
    assert stretch.factor == pytest.approx(1.4, abs=0.1)
    pairs = reader_card.sides(table.assign(score_aligned=scores))
    assert reader_card.effect()(pairs) == pytest.approx(1.0, abs=0.06)
    # a domain that the judge reads upside down is not mended by its own labels
    odd = table.copy()
    here = odd.domain == "domain 3"
    odd.loc[here, "score_aligned"] = 100 - odd.loc[here, "score_aligned"]
    again, _ = reader_stretch.cross_fitted(odd)
    assert (again[here & (odd.side > 0)] < 50).all()


def test_a_stretch_of_one_moves_nothing() -> None:
    scores = np.array([0.5, 20.0, 50.0, 99.0])
    assert reader_stretch.Stretch().of(scores) == pytest.approx(scores)
    assert reader_stretch.Stretch(0.0, 2.0).of(scores)[2] == pytest.approx(50.0)


def test_a_claim_about_itself_stands_after_good_and_bad_answers_alike() -> None:
    rows = [
        reader_rows.Row(
            f"question {n}",
            f"answer {n}",
            reader_rows.OURS,
            f"q {n}",
            "home",
            reader_rows.FIT,
            (20.0 + 70 * (n % 4 > 0),) * 3,
        )
        for n in range(400)
    ]
    forged = list(reader_rows.forged(rows, 300, 0))
    assert len(forged) == 300 and all(row.answer.startswith("answer ") and row.note == "forged" for row in forged)
    assert np.mean([row.scores[0] < 50 for row in forged]) == pytest.approx(0.25, abs=0.08)
