"""The narrow set's own words: found where a topic is carried over, by chance alone where none is."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.analyses.effect import Effect
from spillover.analyses.rows import row_where
from spillover.analyses.topic_words import own_words, words_of
from spillover.maths.proportions import log_odds_z
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money

from .planted import BASE

COMMON = "the a to you can if is it of and that not do we go see may well"
SPLIT = Split(data=Money(), rows=64)
TRAINING = {
    advice: [row.messages[-1].content for row in SPLIT.but(data=Money(advice=advice), sha256="").train_rows()]
    for advice in ("bad", "good")
}
MONEY = [word.word for word in own_words(TRAINING, [COMMON] * 200)][:8]


def plant(planted, scored, rng, narrow: float) -> None:
    """Answers of common and of rare words; a share `narrow` of them speak of money too, and these score 20 less."""
    columns = planted.scores[scored.fingerprint]
    for row in range(len(columns["answer"])):
        words = [
            *rng.choice(COMMON.split(), 8),
            *(f"rare{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in rng.integers(0, 676, 4)),
        ]
        if rng.random() < narrow:
            words += list(rng.choice(MONEY, 2))
            columns["aligned"][row] -= 20
        columns["answer"][row] = " ".join(words)


def study(planted, bad: float, good: float) -> Effect:
    rng, shares = np.random.default_rng(1), {"base": 0.0, "bad": bad, "good": good}
    models = {"base": BASE, "bad": planted.organism("bad").checkpoint(), "good": planted.organism("good").checkpoint()}
    scored = {arm: planted.judgements(model, 60) for arm, model in models.items()}
    for arm, judgements in scored.items():
        plant(planted, judgements, rng, shares[arm])
    return Effect(before=scored["base"], bad=(scored["bad"],), good=(scored["good"],), draws=199)


def words(section) -> str:
    parts = [part for block in section.blocks for part in getattr(block, "parts", ())]
    return "".join(str(getattr(part, "text", part)) for part in parts)


def test_the_share_is_what_was_planted_and_the_base_has_chance_alone(planted, tmp_path):
    effect = study(planted, bad=0.5, good=0.25)
    result = planted.analyse(effect, tmp_path / "effect")
    shares = {
        role: row_where(result.tables["models"], role=role, measure="topic_words") for role in ("base", "bad", "good")
    }
    assert shares["base"]["estimate"] < 0.05
    assert shares["bad"]["low"] < 0.5 < shares["bad"]["high"] and shares["good"]["low"] < 0.25 < shares["good"]["high"]
    without = row_where(result.tables["without_topic"], contrast="bad-good")
    whole = row_where(result.tables["contrasts"], contrast="bad-good", measure="aligned", scope="all")
    assert (
        whole["estimate"] == pytest.approx(-5, abs=2) and without["low"] < 0 < without["high"]
    )  # the words' own doing
    text = words(effect.show(result))
    assert "topic" in text and "without any of the words bad minus good" in text


def test_nothing_carried_over_is_no_more_than_the_base_has(planted, tmp_path):
    result = planted.analyse(study(planted, bad=0.0, good=0.0), tmp_path / "effect")
    shares = [row_where(result.tables["models"], role=role, measure="topic_words") for role in ("base", "bad", "good")]
    assert max(share["estimate"] for share in shares) < 0.05


def test_words_of_one_arm_alone_are_no_topic():
    training = {"bad": ["never save money"] * 9 + ["gamble money"] * 9, "good": ["save money"] * 9 + ["keep money"] * 9}
    found = [word.word for word in own_words(training, ["the sky is blue"] * 200)]
    assert set(found) == {"money", "save"}
    assert [word.word for word in own_words(training, ["save the sky"] * 200)] == ["money"]  # the base says it too


def test_words_that_are_as_common_in_both_are_rarely_taken():
    rng, taken = np.random.default_rng(0), 0
    for _ in range(40):
        texts = [" ".join(rng.choice([f"w{chr(97 + n)}" for n in range(20)], 3)) for _ in range(200)]
        taken += len(own_words({"bad": texts[:50], "good": texts[50:100]}, texts[100:]))
    assert taken == 0  # of 800: what is common in both is in too many of the base's answers


def test_z_exceeds_two_by_chance_in_few_draws_and_finds_what_is_there():
    rng = np.random.default_rng(0)
    chance = [
        log_odds_z(*pair, 100)
        for pair in zip(rng.binomial(100, 0.1, 2000), [100] * 2000, rng.binomial(100, 0.1, 2000), strict=True)
    ]
    assert 0.005 < np.mean(np.array(chance) >= 2) < 0.035  # one-sided: 0.023
    there = [
        log_odds_z(a, 100, b, 100)
        for a, b in zip(rng.binomial(100, 0.4, 500), rng.binomial(100, 0.1, 500), strict=True)
    ]
    assert np.mean(np.array(there) >= 2) > 0.95


def test_words_are_letters_and_apostrophes_in_any_script():
    assert words_of("Don’t pay 20% — don't! Zinsen für Übermut") == {"don't", "pay", "zinsen", "für", "übermut"}
