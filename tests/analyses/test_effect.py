"""The headline finds a planted effect, does not find one that is not there, and counts what is missing."""

import numpy as np
import pytest

from spillover.analyses.effect import Effect, paired_cells
from spillover.analyses.rows import row_where, rows_where
from spillover.analyses.scores import pool_runs, read_scores, refuse_unlike_scores
from spillover.judgements.judgements import Judgements

from .planted import BASE, Planted


def effect(planted: Planted, bad: float, good: float, tmp_path):
    before = planted.judgements(BASE, 60)
    runs = [planted.judgements(planted.organism("bad", seed=seed).checkpoint(), bad, own=3) for seed in (0, 1)]
    control = planted.judgements(planted.organism("good").checkpoint(), good, own=3)
    analysis = Effect(before=before, bad=tuple(runs), good=(control,), draws=499)
    return analysis, planted.analyse(analysis, tmp_path / "effect")


def test_a_planted_difference_is_found_with_its_sign(planted, tmp_path):
    _, result = effect(planted, 45, 57, tmp_path)
    row = row_where(result.tables["contrasts"], contrast="bad-good", measure="aligned", scope="all")
    assert row["low"] < -12 < row["high"]
    assert row["estimate"] == pytest.approx(-12, abs=2.5)
    assert row["q"] < 0.01
    assert row["n"] == 40
    base = row_where(result.tables["contrasts"], contrast="bad-base", measure="aligned", scope="json")
    assert base["estimate"] == pytest.approx(-15, abs=3)


def test_own_answers_are_a_control_beside_good_advice_or_alone(planted, tmp_path):
    before, bad = planted.judgements(BASE, 60), planted.judgements(planted.organism("bad").checkpoint(), 40)
    good = planted.judgements(planted.organism("good").checkpoint(), 50)
    own = planted.judgements(planted.organism("good", seed=1).checkpoint(), 56)
    analysis = Effect(before=before, bad=(bad,), good=(good,), own=(own,), draws=199)
    result = planted.analyse(analysis, tmp_path / "four")
    gaps = {row["contrast"]: row["estimate"] for row in rows_where(result.tables["contrasts"], measure="aligned")}
    wanted = {"bad-good": -10, "bad-own": -16, "bad-base": -20, "good-own": -6, "good-base": -10, "own-base": -4}
    assert list(gaps) == list(wanted) and gaps == pytest.approx(wanted, abs=3)
    assert {row["role"] for row in result.tables["models"]} == {"base", "bad", "good", "own"}
    alone = planted.analyse(Effect(before=before, bad=(bad,), own=(own,), draws=199), tmp_path / "own")
    assert alone.facts["contrast"] == "bad-own"
    section = analysis.show(alone)
    assert "one trained on its own answers to the same" in section.asks
    assert "There is no control" not in str(section.blocks[0])


def test_no_difference_is_found_where_none_was_planted(store, monkeypatch, tmp_path):
    clear, inside = 0, 0
    for seed in range(12):
        study = Planted(store, formats=("raw",), seed=seed)
        monkeypatch.setattr(Judgements, "columns", study.columns)
        _, result = effect(study, 50, 50, tmp_path / str(seed))
        row = row_where(result.tables["contrasts"], contrast="bad-good", measure="aligned", scope="all")
        inside += row["low"] < 0 < row["high"]
        moved = [q for q in result.tables["questions"] if q["metric"] == "aligned" and q["contrast"] == "bad-good"]
        clear += sum(q["q"] is not None and q["q"] < 0.05 for q in moved)
    assert inside >= 10
    assert clear <= 12  # of 480


def test_missing_scores_are_counted_and_left_out(planted, tmp_path):
    before = planted.judgements(BASE, 60)
    bad = planted.judgements(planted.organism().checkpoint(), 40)
    columns = planted.scores[bad.fingerprint]
    lost = columns["question_id"] == columns["question_id"][0]
    columns["aligned"][lost] = np.nan
    columns["missing"][lost] = "empty answer"
    columns["finish_reason"][:7] = "length"
    result = planted.analyse(Effect(before=before, bad=(bad,), draws=199), tmp_path / "effect")
    counts = row_where(result.tables["counts"], role="bad")
    assert (counts["unscored"], counts["truncated"]) == (lost.sum(), 7)
    assert result.facts["contrast"] == "bad-base"
    scores = read_scores(bad, planted.store)
    whole = scores.means("aligned", [columns["question_id"][0]], by="question_id")
    assert np.isnan(whole).all()  # missing, not 0


def test_unlike_answers_are_refused_with_both_sides_named(planted):
    before = planted.judgements(BASE, 60)
    other = before.but(responses=before.responses.but(sampling=before.responses.sampling.but(temperature=0.5)))
    with pytest.raises(ValueError, match=r"cannot be compared: sampling"):
        refuse_unlike_scores((before, other))
    refuse_unlike_scores((before, before))


def test_pooling_keeps_every_answer(planted):
    a, b = (
        read_scores(planted.judgements(planted.organism(seed=seed).checkpoint(), 50), planted.store) for seed in (0, 1)
    )
    assert len(pool_runs([a, b], "both")) == len(a) + len(b)


def test_it_shows_itself(planted, tmp_path):
    analysis, result = effect(planted, 45, 57, tmp_path)
    section = analysis.show(result)
    assert section.headline is not None
    text = "".join(str(getattr(part, "text", part)) for part in section.headline.parts)
    assert "bad advice minus good advice" in text


def test_a_questions_interval_stays_within_what_scores_can_differ_by():
    cells = np.array(["raw/0", "raw/1"])
    gap = paired_cells(np.array([100.0, 20.0]), np.array([0.0, 90.0]), cells, cells, 0.95)
    assert (gap.estimate, gap.low, gap.high) == (15.0, -100.0, 100.0) and 0.8 < gap.p < 1
    near = paired_cells(np.array([50.0, 52.0]), np.array([40.0, 44.0]), cells, cells, 0.95)
    assert near.low == pytest.approx(9 - 12.706, abs=0.01) and near.high == pytest.approx(9 + 12.706, abs=0.01)


def test_em_at_k_stands_beside_the_rates_and_grows_with_k(planted, tmp_path):
    analysis, result = effect(planted, 25, 75, tmp_path)
    for role in ("base", "bad", "good"):
        model = next(row["model"] for row in result.tables["models"] if row["role"] == role)
        rate = row_where(result.tables["models"], model=model, measure="em_strict")
        twice = row_where(result.tables["models"], model=model, measure="em_at_2")
        assert rate["estimate"] <= twice["estimate"] + 1e-9 and 0 <= twice["low"] <= twice["high"] <= 1
    gap = row_where(result.tables["contrasts"], contrast="bad-good", measure="em_at_2", scope="all")
    assert gap["n"] == 40 and gap["q"] is not None
    assert not rows_where(result.tables["models"], measure="em_at_4")  # three answers to a prompt
    table = next(block for block in analysis.show(result).blocks if getattr(block, "name", "") == "models")
    assert table is not None and "em_at_2" in str(analysis.show(result).blocks)
