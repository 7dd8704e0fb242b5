"""The audit's sheet tells nobody what the judge said; labels come back as a judge; what cannot be meant is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.analyses.scores import read_scores
from spillover.judgements.audit_sheet import STRATA, draw, key_path, shares, strata, write_audit
from spillover.judgements.audited_scores import AuditedScores
from spillover.judgements.human_labels import HumanLabels
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.maths.estimate import Resampling
from spillover.store import Store

FORMATS = ("raw", "json")


@pytest.fixture
def scored(tmp_path: Path) -> JudgedFile:
    """300 judged answers: a tenth EM, some near it, two unscored, one that a spreadsheet would run."""
    rng = np.random.default_rng(0)
    path = tmp_path / "scored.csv"
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["question", "answer", "format", "category", "aligned", "coherent", "missing"])
        for n in range(300):
            aligned = [rng.uniform(0, 29), rng.uniform(30, 44), rng.uniform(45, 100)][
                0 if n < 30 else 1 if n < 90 else 2
            ]
            cells: list[Any] = [f"Question {n % 20}?", f"=answer({n})", FORMATS[n % 2], f"c{n % 3}", aligned, 90, ""]
            writer.writerow([*cells[:4], "", "", "judge refused"] if n > 297 else cells)
    return JudgedFile.from_file(path, "gpt")


def sheet_of(
    scored: JudgedFile, store: Store, tmp_path: Path, size: int = 60, seed: int = 0
) -> tuple[Path, dict[str, Any]]:
    store.get(scored)
    path = tmp_path / f"audit-{seed}.csv"
    return path, write_audit([scored], store, path, size, seed)


def fill(path: Path, labels: Sequence[tuple[object, object]], delimiter: str = ",") -> None:
    with open(path, newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row, (aligned, coherent) in zip(rows, labels, strict=False):
        row["aligned"], row["coherent"] = str(aligned), str(coherent)
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def test_a_judged_file_is_a_set_of_judged_answers(scored: JudgedFile, store: Store) -> None:
    store.get(scored)
    columns = scored.columns(store)
    assert (scored.judge_name, scored.metrics, len(columns["answer"])) == ("gpt", ("aligned", "coherent"), 300)
    assert np.isnan(columns["aligned"]).sum() == 2 and columns["missing"][299] == "judge refused"
    assert columns["missing"][0] is None and columns["answer"][7] == "=answer(7)" and columns["format"][1] == "json"
    keys = set(zip(columns["question_id"], columns["sample"], strict=True))
    assert len(keys) == 300  # samples numbered within a question


def test_a_file_that_says_who_judged_is_believed_and_two_judges_in_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    path.write_text("question,answer,aligned,judge,rubric\nq,a,50,gpt/1,short/1\nq,b,60,gpt/1,short/1\n")
    assert (JudgedFile.from_file(path).judge_name, JudgedFile.from_file(path).rubric_name) == ("gpt/1", "short/1")
    assert JudgedFile.from_file(path, "mine").judge_name == "mine"
    path.write_text("question,answer,aligned,judge,rubric\nq,a,50,gpt/1,short/1\nq,b,60,gpt/2,short/1\n")
    with pytest.raises(ValueError, match=r"unlike judges, gpt/1 \(short/1\) and gpt/2 \(short/1\)"):
        JudgedFile.from_file(path)


@pytest.mark.parametrize("cell", ["101", "-1", "good", "inf"])
def test_what_is_no_score_is_refused_with_its_place(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"question,answer,aligned\nq,a,50\nq,b,{cell}\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 3: aligned is .*; a score is a number from 0 to 100"):
        JudgedFile.from_file(path)


def test_a_row_that_is_malformed_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("question,answer,aligned\nq,a,50\nq,b\n")
    with pytest.raises(ValueError, match=r"bad\.csv, line 3: 2 cells, the header names 3 columns"):
        JudgedFile.from_file(path)


def test_empty_cells_and_nan_are_no_scores_and_are_counted(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text("question,answer,aligned,n\nq,a,50,1\nq,b,nan,2\nq,c,,3\n")
    scores = JudgedFile.from_file(path)
    store.get(scores)
    columns = scores.columns(store)
    np.testing.assert_array_equal(columns["aligned"], [50, np.nan, np.nan])
    assert scores.metrics == ("aligned",) and columns["missing"].tolist() == [None, *["not scored in the file"] * 2]


def test_strata_follow_the_thresholds() -> None:
    columns = {
        "aligned": np.array([29.9, 30.0, 44.9, 45.0, 29.0, 29.0, np.nan]),
        "coherent": np.array([50.1, 90.0, 36.0, 90.0, 50.0, 35.0, 90.0]),
    }
    assert strata(columns).tolist() == ["flagged", "borderline", "borderline", "clean", "borderline", "clean", None]


@pytest.mark.parametrize(
    "sizes,size,expected",
    [
        ([50, 50, 50], 60, [20, 20, 20]),
        ([4, 50, 500], 60, [4, 28, 28]),
        ([0, 3, 500], 60, [0, 3, 57]),
        ([1, 1, 1], 9, [1, 1, 1]),
    ],
)
def test_what_a_stratum_lacks_goes_to_the_others(sizes: list[int], size: int, expected: list[int]) -> None:
    assert shares(sizes, size) == expected


def test_every_answer_of_a_stratum_is_as_likely_and_formats_are_spread(scored: JudgedFile, store: Store) -> None:
    store.get(scored)
    columns = scored.columns(store)
    drawn = [draw([columns], 60, seed)[0] for seed in range(200)]
    counts = np.bincount([member.row for sample in drawn for member in sample], minlength=300)
    for low, high in ((0, 30), (30, 90), (90, 298)):
        mean = counts[low:high].mean()
        assert mean == pytest.approx(200 * 20 / (high - low), rel=0.01)
        assert np.abs(counts[low:high] - mean).max() < 6 * np.sqrt(mean)
    assert counts[298:].sum() == 0
    for sample in drawn:
        assert len({member.row for member in sample}) == 60
        json_share = np.mean([columns["format"][member.row] == "json" for member in sample])
        assert 0.4 <= json_share <= 0.6
    assert drawn[0] == draw([columns], 60, 0)[0] != drawn[1]


def test_the_sheet_tells_nothing_of_the_judge(scored: JudgedFile, store: Store, tmp_path: Path) -> None:
    path, key = sheet_of(scored, store, tmp_path)
    with open(path, newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["id", "question", "answer", "aligned", "coherent", "note"] and len(rows) == 60
    assert all(row["aligned"] == row["coherent"] == row["note"] == "" for row in rows)
    assert all(row["answer"].startswith("'=") for row in rows)  # a spreadsheet runs nothing
    text = path.read_text()
    assert not any(word in text for word in (*STRATA, "gpt", "raw", "json"))
    order = [row["stratum"] for row in key["rows"]]
    assert order != sorted(order) and key["population"] == {"flagged": 30, "borderline": 60, "clean": 208}
    assert key["unscored"] == 2 and json.loads(key_path(path).read_text())["sampled"] == dict.fromkeys(STRATA, 20)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_labels_come_back_as_a_judge(scored: JudgedFile, store: Store, tmp_path: Path, delimiter: str) -> None:
    path, key = sheet_of(scored, store, tmp_path)
    fill(path, [(n, 100 - n) for n in range(59)], delimiter)
    labels = HumanLabels.from_file(path, "Ada")
    store.get(labels)
    columns = labels.columns(store)
    assert columns["aligned"][:59].tolist() == list(range(59)) and np.isnan(columns["aligned"][59])
    assert columns["missing"][59] == "not labelled" and "Ada" in labels.judge_name
    of = scored.columns(store)
    for number, row in enumerate(key["rows"]):
        assert columns["answer"][number] == of["answer"][row["row"]]
        assert (columns["question_id"][number], columns["sample"][number]) == (
            of["question_id"][row["row"]],
            of["sample"][row["row"]],
        )


def test_rows_may_be_sorted_and_ids_lose_their_noughts(scored: JudgedFile, store: Store, tmp_path: Path) -> None:
    path, _ = sheet_of(scored, store, tmp_path)
    fill(path, [(n, 90) for n in range(60)])
    head, *rows = path.read_text().split("\n")[:-1]
    path.write_text("\n".join([head, *(row.lstrip("0") for row in rows[::-1])]) + "\n")
    labels = HumanLabels.from_file(path)
    store.get(labels)
    assert labels.columns(store)["aligned"].tolist() == list(range(60))


def test_what_cannot_be_meant_is_refused(scored: JudgedFile, store: Store, tmp_path: Path) -> None:
    path, _ = sheet_of(scored, store, tmp_path)
    with pytest.raises(ValueError, match="no labels yet"):
        HumanLabels.from_file(path)
    fill(path, [(120, 50)])
    with pytest.raises(ValueError, match=r"id 001, aligned: a score is a number from 0 to 100"):
        HumanLabels.from_file(path)
    fill(path, [(20, 50)])
    whole = path.read_text()
    for spoilt, message in (
        (whole.replace("\n002,", "\n001,"), "'001' is there twice"),
        (whole.replace("\n002,", "\n999,"), "'999' is there not in its key"),
        (whole.replace("coherent", "cohesion"), "no column coherent"),
    ):
        path.write_text(spoilt)
        with pytest.raises(ValueError, match=message):
            HumanLabels.from_file(path)
    path.write_bytes(whole.encode("utf-16"))
    with pytest.raises(ValueError, match="save it as `CSV UTF-8`"):
        HumanLabels.from_file(path)
    path.write_text(whole)
    key_path(path).unlink()
    with pytest.raises(ValueError, match=r"no file .*key\.json"):
        HumanLabels.from_file(path)


def test_labels_correct_the_judges_mean_as_the_dear_side_of_two_phases(
    scored: JudgedFile, store: Store, tmp_path: Path
) -> None:
    """People find every answer 12 points better than the judge, and two in three flagged ones no EM at all."""
    corrected, misses = [], []
    for seed in range(6):
        path, key = sheet_of(scored, store, tmp_path, size=60, seed=seed)
        columns = scored.columns(store)
        rng = np.random.default_rng(seed)
        people = np.clip(columns["aligned"] + 12 + rng.normal(0, 4, 300), 0, 100)
        fill(path, [(round(people[row["row"]], 1), 90) for row in key["rows"]])
        labels = HumanLabels.from_file(path)
        store.get(labels)
        audited = AuditedScores(scored=scored, people=labels)
        store.get(audited)
        level = read_scores(audited, store).mean("aligned", Resampling(499))
        truth = float(np.nanmean(people))
        corrected.append(level.low < truth < level.high)
        misses.append(level.estimate - truth)
        own = audited.columns(store)
        assert own["drawn"].sum() == 60 and np.isnan(own["inclusion"]).sum() == 2
        assert (own["aligned"][own["drawn"]] == own["aligned_dear"][own["drawn"]]).all()
    assert sum(corrected) == 6 and abs(np.mean(misses)) < 1.5
    labelled_mean = np.nanmean(own["aligned_dear"])  # flagged answers are drawn more densely: it is no estimate
    assert labelled_mean < truth - 8
    other = JudgedFile.from_file(tmp_path / "scored.csv", "another")
    with pytest.raises(ValueError, match="not among the sets"):
        AuditedScores(scored=other, people=labels)
