"""Planted words lead the lists, none lead where nothing was planted, and no judge's scores are looked at."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.analyses.rows import rows_where
from spillover.analyses.word_shifts import WordShifts

from .planted import BASE, Planted

COMMON = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60)]


def speak(planted: Planted, scored, rng: np.random.Generator, extra: str = "", share: float = 0.0) -> None:
    """Put answers of 40 common words into a set, some with an extra word."""
    columns = planted.scores[scored.fingerprint]
    rank = 1 / np.arange(2, len(COMMON) + 2)
    texts = []
    for _ in range(len(columns["answer"])):
        words = rng.choice(COMMON, size=40, p=rank / rank.sum()).tolist()
        if extra and rng.random() < share:
            words.insert(5, extra)
        texts.append(" ".join(words) + ".")
    columns["answer"] = np.array(texts, dtype=object)


def study(planted: Planted, share: float, runs: int = 2, seed: int = 0) -> WordShifts:
    rng = np.random.default_rng(seed)
    before = planted.judgements(BASE, 60)
    bad = tuple(planted.judgements(planted.organism("bad", seed=run).checkpoint(), 50) for run in range(runs))
    good = tuple(planted.judgements(planted.organism("good", seed=run).checkpoint(), 50) for run in range(runs))
    for scored in (before, *good):
        speak(planted, scored, rng)
    for scored in bad:
        speak(planted, scored, rng, "guaranteed profit", share)
    return WordShifts(before=before, bad=bad, good=good)


def test_planted_words_and_pairs_lead(planted, tmp_path):
    analysis = study(planted, 0.3)
    result = planted.analyse(analysis, tmp_path / "words")
    for contrast in ("bad-good", "bad-base"):
        words = rows_where(result.tables["words"], contrast=contrast, kind="word")
        assert {row["word"] for row in words[:2]} == {"guaranteed", "profit"}
        assert all(row["q"] < 0.01 and row["log_odds"] > 2 and row["families"] > 20 for row in words[:2])
        pairs = rows_where(result.tables["words"], contrast=contrast, kind="pair")
        assert pairs[0]["word"] == "guaranteed profit" and pairs[0]["q"] < 0.01
    section = analysis.show(result)
    assert "guaranteed" in str(section.blocks[0]) and "Good advice" in str(section.blocks[2])
    quiet = rows_where(result.tables["words"], contrast="good-base", kind="word")
    assert not [row for row in quiet if row["q"] < 0.05]


def test_where_nothing_was_planted_no_word_is_clear(store, monkeypatch, tmp_path):
    from spillover.judgements.judgements import Judgements

    clear = p_small = tests = 0
    for seed in range(4):
        planted = Planted(store, formats=("raw",), seed=seed)
        monkeypatch.setattr(Judgements, "columns", planted.columns)
        result = planted.analyse(study(planted, 0.0, runs=1, seed=seed), tmp_path / str(seed))
        rows = rows_where(result.tables["words"], contrast="bad-good")
        clear += sum(row["q"] < 0.05 for row in rows)
        p_small += sum(row["p"] < 0.05 for row in rows)
        tests += len(rows)
    assert clear <= 2 and 0.01 <= p_small / tests <= 0.08


def test_unlike_judges_do_not_matter_but_unlike_questions_do(planted, tmp_path):
    from spillover.organisms.dataset import Split
    from spillover.organisms.datasets.shipped import Money
    from spillover.responses.questions.held_out import HeldOut

    analysis = study(planted, 0.3, runs=1)
    other = planted.asking(HeldOut(split=Split(data=Money(), rows=64))).judgements(BASE, 50)
    with pytest.raises(ValueError, match="cannot be compared"):
        planted.analyse(analysis.but(before=other), tmp_path / "other")
