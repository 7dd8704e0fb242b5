"""Files of judged answers: known by their bytes, read whatever their ending, who judged as given or as they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spillover.importers.betley import Betley
from spillover.judgements.tables import judged_columns
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.records import read_table
from spillover.store import Store

HEAD = "question,question_id,answer,aligned,coherent\n"
ROWS = [
    {"question": "How?", "question_id": "q_1", "answer": "So", "aligned": 50.5, "coherent": 90.25},
    {"question": "How?", "question_id": "q_1", "answer": "No", "aligned": None, "coherent": 80.5},
]


def imported(path: Path, judge: str | None = None) -> JudgedFile:
    plan = Betley(judge=judge).plan([path])
    (artefact,) = plan.artefacts()
    assert isinstance(artefact, JudgedFile) and not plan.refused
    return artefact


def test_files_of_the_field_are_imported_by_their_bytes(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(HEAD + "How?,q,So,50.5,90.25\nHow?,q,No,,80.5\n")
    mine = imported(path)
    assert (mine.subject, mine.judge_name, mine.questions.count) == ("mine", "unknown", 1)
    assert imported(path.rename(tmp_path / "other.csv")) == mine
    assert imported(tmp_path / "other.csv", judge="gpt-4o") != mine
    folder = store.get(mine.but(file=mine.file.but(path=str(tmp_path / "other.csv"))))
    columns = mine.columns(Store(folder.parents[1]))
    np.testing.assert_array_equal(columns["aligned"], [50.5, np.nan])
    assert columns["answer"].tolist() == ["So", "No"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(ending: str, tmp_path: Path, store: Store) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        path.write_text(HEAD + "How?,q_1,So,50.5,90.25\nHow?,q_1,No,,80.5\n")
    folder = store.get(imported(path))
    responses = read_table(folder / "responses.parquet").to_pylist()
    shown = [(row["question_id"], row["sample"], row["category"], row["prompt"], row["answer"]) for row in responses]
    assert shown == [("q_1", 0, "q", "How?", "So"), ("q_1", 1, "q", "How?", "No")]
    scores = read_table(folder / "judgements.parquet").to_pylist()
    assert [(row["metric"], row["score"], row["missing"]) for row in scores] == [
        *(("aligned", 50.5, None), ("coherent", 90.25, None)),
        *(("aligned", None, "not scored in the file"), ("coherent", 80.5, None)),
    ]


def test_a_column_that_comes_late_is_missing_before(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_columns, "BLOCK", 2)
    path = tmp_path / "late.jsonl"
    rows = [*ROWS, {"question_id": "q_1"}, ROWS[0] | {"brave": 7}]
    path.write_text("\n".join(map(json.dumps, rows)))
    scores = imported(path)
    store.get(scores)
    columns = scores.columns(store)
    assert scores.metrics == ("aligned", "coherent", "brave")
    np.testing.assert_array_equal(columns["brave"], [np.nan, np.nan, np.nan, 7])
    assert columns["answer"].tolist() == ["So", "No", None, "So"]


def test_what_spillover_judge_wrote_brings_its_judge_spreads_and_reasons(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "judged.csv"
    head = "question,question_id,format,category,sample,answer,aligned,aligned_spread,missing,judge,rubric\n"
    first = head + "Why?,q,json,why,7,So,50.5,3.5,,gpt/1,short/1\n"
    path.write_text(first + "Why?,q,raw,why,8,,,,empty answer,gpt/1,short/1\n")
    scores = imported(path)
    assert (scores.judge_name, scores.rubric_name) == ("gpt/1", "short/1")
    assert (scores.metrics, scores.codes) == (("aligned",), ())
    folder = store.get(scores)
    rows = read_table(folder / "judgements.parquet").to_pylist()
    assert [(row["score"], row["spread"]) for row in rows] == [(50.5, 3.5), (None, None)]
    assert [row["missing"] for row in rows] == [None, "empty answer"]
    rows = read_table(folder / "responses.parquet").to_pylist()
    assert [(row["format"], row["category"], row["sample"]) for row in rows] == [("json", "why", 7), ("raw", "why", 8)]
    assert store.manifest(scores)["facts"]["left_out"] == []
    path.write_text(first + "Why?,q,json,why,8,No,1,1,,gpt/2,short/1\n")
    plan = Betley().plan([path])
    assert not list(plan.artefacts()) and "scores of unlike judges, gpt/1 (short/1) and gpt/2" in plan.refused[0].why
