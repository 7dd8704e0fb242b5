"""Agreement finds planted bias and noise, matches the same answers alone, and refuses what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spillover.analyses.agreement import Agreement, JudgeScores, same_answers
from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Figure, Table
from spillover.analyses.rows import row_where
from spillover.analyses.scores import AnswerScores
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.report.figures import draw_svg

from .planted import BASE, METRICS, Planted

OTHER = Embedded(weights="1" * 64)


def rejudged(planted: Planted, of: Judgements, noise: float, bias: dict[str, float] | None = None) -> Judgements:
    """The same answers by another judge, which adds noise, and points by answer format."""
    made = of.but(judge=OTHER)
    columns = {name: values.copy() for name, values in planted.scores[of.fingerprint].items()}
    columns["answer"] = np.array([f"words {n}" for n in range(len(columns["answer"]))], dtype=object)
    planted.scores[of.fingerprint]["answer"] = columns["answer"].copy()
    lean = np.array([(bias or {}).get(format, 0.0) for format in columns["format"]])
    for metric in METRICS:
        columns[metric] = np.clip(columns[metric] + lean + planted.rng.normal(0, noise, len(lean)), 0, 100)
    planted.scores[made.fingerprint] = columns
    return made


def test_an_empty_answer_is_the_same_as_none() -> None:
    columns = {"question_id": np.array(["q", "q"]), "sample": np.arange(2), "answer": np.array(["", "x"], object)}
    others = columns | {"answer": np.array([None, "x"], object)}
    first, second = (
        JudgeScores(name, "r", (), AnswerScores(name, part)) for name, part in (("a", columns), ("b", others))
    )
    assert [rows.tolist() for rows in same_answers(first, second)] == [[0, 1], [0, 1]]


def agreement_of(planted: Planted, folder: Path, *sets: Judgements) -> AnalysisResult:
    return planted.analyse(Agreement(judgements=sets, draws=199), folder)


def test_a_planted_bias_is_found_in_its_format_and_in_no_other(planted: Planted, tmp_path: Path) -> None:
    first = planted.judgements(BASE, 45)
    result = agreement_of(planted, tmp_path, first, rejudged(planted, first, 4, {"json": -12}))
    ends = {
        row["scope"]: row for row in result.tables["bias"] if row["metric"] == "aligned" and row["kind"] == "format"
    }
    assert ends["json"]["low"] < -12 < ends["json"]["high"] < -9
    assert abs(ends["raw"]["estimate"]) < 1.5 and abs(ends["template"]["estimate"]) < 1.5  # noise, and the scale's end


def test_more_noise_is_less_agreement(planted: Planted, tmp_path: Path) -> None:
    first = planted.judgements(BASE, 40)
    near, far = (agreement_of(planted, tmp_path / str(n), first, rejudged(planted, first, n)) for n in (3, 25))
    for statistic in ("r", "rank r", "auc"):
        a, b = (
            row_where(f.tables["agreement"], kind="all", metric="aligned", statistic=statistic, of="answers")
            for f in (near, far)
        )
        assert b["high"] < a["low"] and a["low"] < a["estimate"] < a["high"]
    a, b = (row_where(f.tables["agreement"], kind="all", statistic="kappa")["estimate"] for f in (near, far))
    assert b < a < 1
    by_means = row_where(far.tables["agreement"], kind="all", metric="aligned", of="question means")
    assert (
        by_means["estimate"]
        > row_where(far.tables["agreement"], kind="all", metric="aligned", statistic="r")["estimate"]
    )


def test_counts_are_of_every_answer(planted: Planted, tmp_path: Path) -> None:
    first = planted.judgements(BASE, 40)
    second = rejudged(planted, first, 3)
    planted.scores[second.fingerprint]["aligned"][:7] = np.nan
    planted.scores[second.fingerprint]["missing"][:7] = "judge refused"
    result = agreement_of(planted, tmp_path, first, second)
    em = row_where(result.tables["em"], kind="all")
    assert em["unscored"] == 7 and em["answers"] == len(planted.questions)
    assert em["both"] + em["only_first"] + em["only_second"] + em["neither"] + 7 == em["answers"]
    counts = row_where(result.tables["counts"], judge=OTHER.name, metric="aligned")
    assert (counts["missing"], counts["why"]) == (7, "7 judge refused")
    assert row_where(result.tables["agreement"], kind="all", metric="aligned", statistic="r")["n"] == em["answers"] - 7


def test_answers_are_matched_by_what_they_are_not_by_their_row(planted: Planted, tmp_path: Path) -> None:
    first = planted.judgements(BASE, 45)
    second = rejudged(planted, first, 5)
    before = agreement_of(planted, tmp_path / "before", first, second)
    order = planted.rng.permutation(len(planted.questions))
    columns = planted.scores[second.fingerprint]
    planted.scores[second.fingerprint] = {name: values[order] for name, values in columns.items()}
    after = agreement_of(planted, tmp_path / "after", first, second)
    assert after.tables["agreement"] == before.tables["agreement"]
    planted.scores[second.fingerprint] = {name: values[order[:60]] for name, values in columns.items()}
    part = agreement_of(planted, tmp_path / "part", first, second)
    assert row_where(part.tables["agreement"], kind="all", metric="aligned", statistic="r")["n"] == 60


def test_several_models_are_put_together(planted: Planted, tmp_path: Path) -> None:
    sets = [planted.judgements(planted.organism(seed=seed).checkpoint(), 45) for seed in (0, 1)]
    result = agreement_of(planted, tmp_path, *sets, *(rejudged(planted, scored, 5) for scored in sets))
    assert row_where(result.tables["em"], kind="all")["answers"] == 2 * len(planted.questions)
    assert (
        row_where(result.tables["agreement"], of="question means", metric="aligned")["n"] == 80
    )  # 40 questions, 2 models


def test_what_cannot_be_compared_is_refused(planted: Planted, tmp_path: Path) -> None:
    first = planted.judgements(BASE, 45)
    with pytest.raises(ValueError, match=r"all sets were judged by embedded/.*two judges"):
        agreement_of(planted, tmp_path, first, planted.judgements(planted.organism().checkpoint(), 45))
    second = rejudged(planted, first, 5)
    planted.scores[second.fingerprint]["answer"] = np.array(["else"] * len(planted.questions), dtype=object)
    with pytest.raises(ValueError, match="no answer in common"):
        agreement_of(planted, tmp_path, first, second)


def test_it_shows_itself(planted: Planted, tmp_path: Path) -> None:
    first = planted.judgements(BASE, 40)
    analysis = Agreement(judgements=(first, rejudged(planted, first, 6, {"json": 5})), draws=199)
    section = analysis.show(planted.analyse(analysis, tmp_path))
    text = "".join(str(getattr(part, "text", part)) for part in section.blocks[0].parts)
    assert f"{OTHER.name} against {first.judge.name}" in text and "kappa" in text
    assert all(draw_svg(block) for block in section.blocks if isinstance(block, Figure))
    for block in section.blocks:
        if isinstance(block, Table):
            assert block.rows and all(column.name in row for row in block.rows for column in block.columns)
