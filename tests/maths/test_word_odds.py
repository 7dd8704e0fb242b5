"""Log odds of words: the published formula on known counts, planted words, and a null with families and runs."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.word_odds import WordCounts, word_odds


def counted(
    rng: np.random.Generator,
    runs: int,
    topics: np.ndarray,
    boost: np.ndarray | float = 1.0,
    run_sd: float = 0.0,
    trained: bool = True,
) -> WordCounts:
    """Answers of 120 words a family and run from the families' own word shares (families, words); boost by word."""
    shares = topics * boost * np.exp(run_sd * rng.normal(size=(runs, 1, topics.shape[1])))
    own = shares * np.exp(0.4 * rng.normal(size=shares.shape))
    own = own / own.sum(axis=2, keepdims=True)
    counts = np.array([[rng.multinomial(120, row) for row in of_run] for of_run in own], dtype=float)
    return WordCounts(counts, counts.sum(axis=2), trained)


def topics(rng: np.random.Generator, families: int, words: int) -> np.ndarray:
    common = 1 / np.arange(2, words + 2)  # Zipf
    return common * rng.gamma(0.5, 2.0, size=(families, words))


def test_the_published_formula() -> None:
    a = WordCounts(np.array([[[30.0, 70.0]]]), np.array([[100.0]]))
    b = WordCounts(np.array([[[10.0, 190.0]]]), np.array([[200.0]]))
    odds = word_odds(a, b, prior=30.0)
    alpha = 30 * 40 / 300
    expected = np.log((30 + alpha) / (100 + 30 - 30 - alpha)) - np.log((10 + alpha) / (200 + 30 - 10 - alpha))
    assert odds.log_odds[0] == pytest.approx(expected)
    assert odds.z_words[0] == pytest.approx(expected / np.sqrt(1 / (30 + alpha) + 1 / (10 + alpha)))
    assert np.isnan(odds.p).all()  # one family: nothing is known of others
    back = word_odds(b, a, prior=30.0)
    assert back.log_odds == pytest.approx(-odds.log_odds)


def test_planted_words_are_found_and_no_others_lead() -> None:
    rng = np.random.default_rng(0)
    shares = topics(rng, 40, 200)
    boost = np.ones(200)
    boost[[3, 8, 20]] = 3.0
    boost[[5, 12]] = 1 / 3
    odds = word_odds(counted(rng, 1, shares, boost), counted(rng, 1, shares))
    q = benjamini_hochberg(odds.p)
    assert {3, 8, 20, 5, 12} <= set(np.flatnonzero(q < 0.05))
    assert set(np.argsort(-odds.z)[:3]) == {3, 8, 20} and set(np.argsort(odds.z)[:2]) == {5, 12}


def test_a_word_of_one_family_is_no_evidence() -> None:
    counts = np.zeros((1, 20, 2))
    counts[0, 0, 0] = 50.0
    counts[:, :, 1] = 100.0
    a = WordCounts(counts, counts.sum(axis=2))
    b = WordCounts(counts * [0, 1], (counts * [0, 1]).sum(axis=2))
    odds = word_odds(a, b)
    assert odds.z_words[0] > 3 and odds.p[0] == 1.0 and odds.families[0] == 1


def rejected(rng: np.random.Generator, runs: int, run_sd: float, draws: int) -> tuple[float, float]:
    """Share of words with p < .05 where nothing was planted: by family and run, and words taken for independent."""
    ours, theirs, words = 0, 0, 0
    for _ in range(draws):
        shares = topics(rng, 40, 120)
        odds = word_odds(*(counted(rng, runs, shares, run_sd=run_sd) for _ in range(2)))
        often = odds.families >= 10
        ours += int((odds.p[often] < 0.05).sum())
        theirs += int((np.abs(odds.z_words[often]) > 1.96).sum())
        words += int(often.sum())
    return ours / words, theirs / words


@pytest.mark.parametrize(("runs", "run_sd"), [(1, 0.0), (3, 0.3)])
def test_the_null(runs: int, run_sd: float) -> None:
    ours, theirs = rejected(np.random.default_rng(runs), runs, run_sd, 25)
    assert 0.02 <= ours <= 0.065 and theirs > 1.5 * ours  # the published z takes words for independent


def test_what_does_not_fit_is_refused() -> None:
    good = WordCounts(np.ones((1, 3, 2)), np.full((1, 3), 2.0))
    with pytest.raises(ValueError, match="same families and words"):
        word_odds(good, WordCounts(np.ones((1, 4, 2)), np.full((1, 4), 2.0)))
    with pytest.raises(ValueError, match="above 0"):
        word_odds(good, good, prior=0)
    with pytest.raises(ValueError, match="between 0 and the total"):
        WordCounts(np.ones((1, 3, 2)), np.ones((1, 3)))
