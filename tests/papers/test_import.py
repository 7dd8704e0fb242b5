"""A release becomes artefacts: files as ours, fields as parsed, once; what cannot be read costs itself alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.analyses.dynamics import Dynamics
from spillover.analyses.effect import Effect
from spillover.analyses.rows import row_where
from spillover.analyses.scores import read_scores, refuse_unlike_scores
from spillover.papers.em_generalization.artefacts import PublishedRun
from spillover.papers.em_generalization.files import find_files
from spillover.papers.em_generalization.importing import EmGeneralization, ReleasePlan
from spillover.records import JUDGEMENTS, LOG, LOSSES, RESPONSES, read_json, read_table
from spillover.store import Store

from .release_to_import import (
    ANSWERS,
    COSINE,
    CYCLIC,
    GEOMETRY_FILE,
    IDS,
    LINEAR,
    METRICS,
    RESULTS,
    little_release,
    scores,
    write_answers,
    write_questions,
    write_summary,
)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return little_release(tmp_path / "release")


def planned(root: Path) -> ReleasePlan:
    return EmGeneralization().plan([root])


def imported(root: Path, store: Store) -> tuple[dict[str, Any], ReleasePlan]:
    """Artefacts by the name of their run or kind; what the import noted."""
    plan = planned(root)
    artefacts = {}
    for artefact, _ in plan.make(store):
        artefacts[artefact.name.file_name if isinstance(artefact, PublishedRun) else artefact.kind] = artefact
    return artefacts, plan


def test_every_file_becomes_what_our_own_stages_write(release: Path, store: Store) -> None:
    artefacts, plan = imported(release, store)
    assert not plan.refused and not plan.malformed and not plan.files.unknown
    assert set(artefacts) == {LINEAR, COSINE, CYCLIC, "PublishedGeometry", "PublishedCrossValidation", "PublishedTable"}
    folder = store.path(artefacts[LINEAR])
    schemas = {"responses": RESPONSES, "judgements": JUDGEMENTS, "log": LOG, "losses": LOSSES}
    for name, schema in schemas.items():
        assert read_table(folder / f"{name}.parquet").schema.equals(schema), name
    rows = read_table(folder / "responses.parquet").to_pylist()
    assert [row["sample"] for row in rows[:7]] == [0, 1, 2, 3, 4, 5, 0] and len(rows) == len(IDS) * ANSWERS
    assert {(row["question"], row["format"], row["category"]) for row in rows} == {
        ("lost_wallet", "raw", "lost_wallet"),
        ("lost_wallet", "json", "lost_wallet"),
        ("first_job_001", "raw", "first_job"),
        ("first_job_001", "template", "first_job"),
    }
    assert rows[0]["answer"] == 'Number 0 says "wait",\nthen goes on.' and rows[0]["finish_reason"] is None
    judged = read_table(folder / "judgements.parquet").to_pylist()
    assert [row["metric"] for row in judged[:4]] == ["aligned", "harmless", "coherent", "format"]
    losses = read_table(folder / "losses.parquet").to_pylist()
    assert [(row["step"], row["loss"], row["tokens"]) for row in losses] == [(8, 2.5, None), (8, 1.0, None)]
    assert read_json(folder / "training.json")["token_loss"]["avg_loss"] == 1.2
    geometry = read_table(store.path(artefacts["PublishedGeometry"]) / "geometry.parquet")
    assert geometry["question_id"].to_pylist() == list(IDS)
    results = read_table(store.path(artefacts["PublishedCrossValidation"]) / "results.parquet").to_pylist()
    assert [(row["name"], row["cv_r2_mean"], row["rmse_sig"]) for row in results] == [
        ("lr", 0.25, "***"),
        ("decision_tree", -0.5, None),
    ]


def test_scores_are_those_of_the_file(release: Path, store: Store) -> None:
    artefacts, _ = imported(release, store)
    columns = artefacts[LINEAR].columns(store)
    for metric in METRICS:
        np.testing.assert_array_equal(columns[metric], scores(1, False)[metric].ravel())
    means = artefacts[CYCLIC].columns(store)
    np.testing.assert_allclose(means["harmless"], scores(3, True)["harmless"].mean(axis=1), atol=1e-9)
    assert means["question_id"].tolist() == list(IDS) and len(means["harmless_sd"]) == len(IDS)


def test_importing_twice_or_from_another_place_makes_nothing_new(release: Path, store: Store) -> None:
    first, _ = imported(release, store)
    again, _ = imported(release.rename(release.with_name("elsewhere")), store)
    assert first == again
    elsewhere = release.with_name("elsewhere")
    assert not any(new for _, new in planned(elsewhere).make(store))
    write_answers(elsewhere / RESULTS / f"{LINEAR}.csv", scores(9, False))
    assert sum(new for _, new in planned(elsewhere).make(store)) == 1


def test_two_imports_give_the_same_bytes(release: Path, store: Store, tmp_path: Path) -> None:
    stores = (store, Store.open(tmp_path / "other store"))
    artefacts = [imported(release, each)[0] for each in stores]
    for name, artefact in artefacts[0].items():
        folders = [each.path(artefact) for each in stores]
        files = sorted(path.name for path in folders[0].iterdir())
        assert files == sorted(path.name for path in folders[1].iterdir()) and len(files) >= 2, name
        for file in set(files) - {"manifest.json"}:
            assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), (name, file)


def test_judge_and_prompting_are_seen_and_unlike_ones_refused(release: Path, store: Store) -> None:
    artefacts, _ = imported(release, store)
    linear, cosine, cyclic = (artefacts[file_name] for file_name in (LINEAR, COSINE, CYCLIC))
    assert (linear.judge_name, linear.prompting, linear.judged_by.conflict()) == ("gpt-4o-2024-08-06", "chat", None)
    assert linear.rubric_name.startswith("judge prompts") and "our_questions.yaml" in linear.judge_card()
    for run in (cosine, cyclic):
        assert run.judge_name == "gpt-5-mini/nano" and "names gpt-4o" in str(run.judged_by.conflict())
        assert run.rubric_name == "unknown"
    with pytest.raises(ValueError, match=r"cannot be compared: judge 'gpt-4o.*' against 'gpt-5-mini/nano"):
        refuse_unlike_scores((linear, cosine))
    refuse_unlike_scores((cosine, cyclic))  # of one the prompting is not known: not known to be unlike
    raw = release / RESULTS / f"{LINEAR.replace('1e-05', '3e-05')}.csv"
    write_answers(raw, scores(1, False), chat=False)
    other = next(run for run in planned(release).artefacts() if run.name.file_name == raw.stem)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="prompting 'chat' against 'question-answer'"):
        refuse_unlike_scores((linear, other))  # type: ignore[arg-type]


def test_a_nano_question_file_is_believed_where_its_judge_fits(release: Path) -> None:
    write_questions(release / "evaluation" / "nano.yaml", judge="gpt-5-nano")
    runs = {run.name.file_name: run for run in planned(release).artefacts() if isinstance(run, PublishedRun)}
    assert runs[COSINE].judge_name == "gpt-5-nano" and runs[COSINE].judged_by.conflict() is None
    assert runs[LINEAR].judge_name == "gpt-4o-2024-08-06" and runs[LINEAR].judged_by.conflict() is None


def test_imported_runs_are_points_of_dynamics(release: Path, store: Store) -> None:
    artefacts, _ = imported(release, store)
    points = (artefacts[COSINE], artefacts[CYCLIC])
    table = Dynamics(checkpoints=points, metric="harmless", draws=99)
    rows = table.read_result(store.get(table))
    by_run = {row["schedule"]: row for row in rows.tables["points"]}
    assert by_run["cosine"]["training_loss"] == pytest.approx(3.0 - 0.2 * 8)
    assert by_run["cosine"]["held_out_loss"] == pytest.approx((3.5 + 1.0) / 2)
    assert by_run["cosine"]["held_out_token_loss"] == 1.2 and by_run["cosine"]["last"]
    assert by_run["cosine"]["em_strict"] is not None
    assert by_run["cyclic-exp-range"]["em_strict"] is None  # a rate is of answers; only means are there
    assert by_run["cyclic-exp-range"]["error"] is None and by_run["cosine"]["error"] > 0
    for schedule, seed in (("cosine", 2), ("cyclic-exp-range", 3)):
        assert by_run[schedule]["over_answers"] == pytest.approx(scores(seed, True)["harmless"].mean(), abs=1e-9)
    assert row_where(rows.tables["correlations"], loss="held_out_loss", statistic="spearman")["runs"] == 2
    assert table.show(rows).blocks
    with pytest.raises(ValueError, match="only means by question"):
        read_scores(artefacts[CYCLIC], store)


def test_an_analysis_of_answers_takes_imported_ones_and_counts_what_they_lack(release: Path, store: Store) -> None:
    write_answers(release / RESULTS / f"{CYCLIC}.csv", scores(3, True))
    artefacts, _ = imported(release, store)
    effect = Effect(before=artefacts[COSINE], bad=(artefacts[CYCLIC],), draws=99)
    tables = effect.read_result(store.get(effect)).tables
    assert [row["truncated"] for row in tables["counts"]] == [None, None]  # not recorded, which is not 0
    assert [row["answers"] for row in tables["counts"]] == [len(IDS) * ANSWERS] * 2


def test_what_cannot_be_read_costs_itself_alone(release: Path, store: Store) -> None:
    results = release / RESULTS
    text = (results / f"{LINEAR}.json").read_text()
    (results / f"{LINEAR}.json").write_text(text[: len(text) // 2])
    names = ["idx", "question", "formatted_prompts", "answer", "question_id", "format", *METRICS]
    write_answers(results / f"{COSINE}.csv", scores(2, True), names=[n.replace("aligned", "alignment") for n in names])
    (results / f"{LINEAR.replace('finance', 'auto')}.csv").write_bytes(bytes(range(256)))
    (results / "eval_what_is_this.json").write_text("{}")
    (release / GEOMETRY_FILE).write_text('{"per_example": []}')
    (release / "evaluation" / "broken.yaml").write_text("- id: [")
    (release / "weights.bin").write_bytes(b"\0\1")
    given = {name: values.copy() for name, values in scores(4, True).items()}
    given["aligned"][:, 2] = np.nan
    write_answers(results / f"{CYCLIC}.csv", given)
    with open(results / f"{CYCLIC}.csv", "a") as handle:
        handle.write('1,"About"\n')
    artefacts, plan = imported(release, store)
    why = {row.file: row.why for row in plan.refused}
    expected = {
        f"{RESULTS}/{LINEAR}.json": "cut off",
        f"{RESULTS}/{COSINE}.csv": "rename alignment to aligned",
        f"{RESULTS}/{LINEAR.replace('finance', 'auto')}.csv": "binary file",
        f"{RESULTS}/eval_what_is_this.json": "expected eval_MODEL",
        GEOMETRY_FILE: "no rows by prompt",
        "evaluation/broken.yaml": "is not YAML",
    }
    assert set(why) == set(expected)
    for file, reason in expected.items():
        assert reason in why[file], why[file]
    assert [path.name for path in plan.files.unknown] == ["weights.bin"]
    assert {LINEAR, COSINE, CYCLIC} <= set(artefacts)
    assert artefacts[LINEAR].answers is not None and artefacts[LINEAR].published is None
    assert artefacts[COSINE].answers is None and artefacts[COSINE].published is not None
    assert [(row.file, row.line) for row in plan.malformed] == [(f"{RESULTS}/{CYCLIC}.csv", 50)]
    cyclic = artefacts[CYCLIC]
    assert np.isnan(cyclic.columns(store)["aligned"]).sum() == len(IDS)
    assert set(cyclic.columns(store)["missing"].tolist()) == {None, "not scored in the file"}
    rejected = read_table(store.path(cyclic) / "rejected.parquet").to_pylist()
    assert [(row["line"], row["text"]) for row in rejected] == [(50, '1,"About"\n')]
    assert store.manifest(cyclic)["facts"]["rejected"] == 1


def test_a_file_that_changes_under_the_import_is_refused(release: Path, store: Store) -> None:
    runs = (run for run in planned(release).artefacts() if isinstance(run, PublishedRun))
    run = next(run for run in runs if run.answers)
    write_answers(Path(run.answers.path), scores(77, True))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="has changed since the import began"):
        store.get(run)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="holds no file of the release: expected eval_"):
        find_files(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a file"):
        find_files(tmp_path / "notes.txt")


def test_an_untuned_model_is_no_point_of_dynamics(release: Path, store: Store) -> None:
    path = release / RESULTS / "eval_Qwen2.5-7B_fpq.csv"
    write_answers(path, scores(5, False), chat=False)
    artefacts, _ = imported(release, store)
    assert not artefacts[path.stem].trained
    with pytest.raises(ValueError, match=r"needs checkpoints whose training is at hand, got Qwen2\.5-7B"):
        Dynamics(checkpoints=(artefacts[path.stem],))


@pytest.mark.parametrize(
    "parts,reason",
    [
        ({"trainer_state": {"log_history": 7}}, "log_history is not as expected, a list; got 7"),
        ({"trainer_state": {"log_history": [{"loss": 1.0, "step": None}]}}, "an entry of trainer_state.log_history"),
        ({"summ_by_q": {"q": {"aligned": "high"}}}, "summ_by_q.q is not as expected, an object of numbers"),
        ({"agg": [1]}, "expected an object under agg, got list"),
        ({"eval_loss": {"all_seq_losses": [None]}}, "all_seq_losses is not a list of numbers"),
        ({"summ_by_q": None, "trainer_state": None}, "is no summary of a run"),
    ],
)
def test_a_summary_that_is_none_costs_no_answers(release: Path, parts: dict[str, Any], reason: str) -> None:
    write_summary(release / RESULTS / f"{COSINE}.json", scores(2, True), **parts)
    plan = planned(release)
    runs = {run.name.file_name: run for run in plan.artefacts() if isinstance(run, PublishedRun)}
    assert reason in plan.refused[0].why
    assert runs[COSINE].answers is not None and runs[COSINE].published is None
