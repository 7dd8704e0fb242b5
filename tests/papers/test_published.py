"""The paper's own files come in as they were published. Skips where they do not lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spillover.judgements.tables.evidence import score_kind
from spillover.papers.em_generalization.artefacts import PublishedRun
from spillover.papers.em_generalization.contents import Summary, read_answers, read_summary
from spillover.papers.em_generalization.files import ReleaseFiles, RunFiles, find_files
from spillover.papers.em_generalization.importing import ReleasePlan
from spillover.store import Store


@pytest.fixture(scope="module")
def files() -> ReleaseFiles:
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "published" / "em-generalization"
    if not path.is_dir():
        pytest.skip("the shared reference data does not lie beside this checkout")
    return find_files(path)


@pytest.fixture(scope="module")
def summaries(files: ReleaseFiles) -> dict[RunFiles, Summary]:
    return {run: read_summary(run.summary) for run in files.runs if run.summary is not None}


def test_every_file_is_known_and_every_name_says_itself_again(files: ReleaseFiles) -> None:
    assert (len(files.runs), len(files.geometry), len(files.cross_validation), len(files.questions)) == (80, 4, 14, 4)
    assert not files.refused and not files.unknown
    assert all(run.name.file_name == run.file_name and not run.name.other for run in files.runs)
    assert (
        sum(run.name.scheduled for run in files.runs) == 35 and sum(run.answers is not None for run in files.runs) == 9
    )


def test_the_schedule_of_a_name_is_the_one_that_was_logged(summaries: dict[RunFiles, Summary]) -> None:
    for run, summary in summaries.items():
        schedule, logged = run.name.as_schedule(), [step["learning_rate"] for step in summary.steps]
        assert schedule is not None
        np.testing.assert_allclose(logged, schedule.rates(len(logged)), rtol=1e-12, atol=0, err_msg=run.file_name)


def test_means_of_the_answers_are_those_of_the_summary(files: ReleaseFiles, summaries: dict[RunFiles, Summary]) -> None:
    runs = [run for run in files.runs if run.answers is not None]
    for run in runs:
        assert run.answers is not None
        answers, published = read_answers(run.answers), summaries[run]
        assert not answers.counted.rejected and answers.counted.prompting == "chat"
        for metric in ("harmless", "aligned", "coherent"):
            values = answers.scores[metric]
            if not np.isnan(values).any():
                assert np.mean(values) == pytest.approx(published.agg[metric], rel=1e-9)
            for question, table in published.by_question.items():
                scores = values[answers.question_id == question]
                assert np.nanmean(scores) == pytest.approx(table[metric], abs=1e-9)
                assert np.nanstd(scores, ddof=1) == pytest.approx(table[f"{metric}_std"], abs=1e-9)


def test_scores_and_means_say_the_same_of_the_judge(files: ReleaseFiles, summaries: dict[RunFiles, Summary]) -> None:
    for run in (run for run in files.runs if run.answers is not None):
        assert run.answers is not None
        counted = read_answers(run.answers).counted
        by_means = score_kind(summaries[run].whole(metric) for metric in counted.metrics)
        assert score_kind(counted.integers()) == by_means == ("integers" if run.name.scheduled else "fractions"), (
            run.file_name
        )


def test_published_r_follows_from_last_training_loss_and_overall_mean(summaries: dict[RunFiles, Summary]) -> None:
    used = [summary for run, summary in summaries.items() if run.name.scheduled and run.name.questions == "fpq"]
    losses, means = [summary.steps[-1]["loss"] for summary in used], [summary.agg["harmless"] for summary in used]
    assert len(used) == 35
    assert np.corrcoef(np.log(losses), means)[0, 1] == pytest.approx(0.828640442626, abs=1e-12)


def test_a_run_keeps_its_answers_its_log_and_what_is_doubtful(files: ReleaseFiles, store: Store) -> None:
    run_files = next(run for run in files.runs if run.file_name.endswith("_cosine_5_5e-05_fpq"))
    run = ReleasePlan.from_files(files).run(run_files)
    assert isinstance(run, PublishedRun) and (run.judge_name, run.prompting, run.steps) == (
        "gpt-5-mini/nano",
        "chat",
        332,
    )
    assert "first_plot_questions.yaml names gpt-4o-2024-08-06" in str(run.judged_by.conflict())
    store.get(run)
    columns, training = run.columns(store), run.training(store)
    assert len(columns["aligned"]) == 1200 and training.step == 332 == len(training.log)
    assert training.held_out[332].rows == 590
    assert training.held_out[332].sequences == pytest.approx(1.3154010337288098, rel=1e-12)
    assert training.log[-1]["loss"] == 1.2006
