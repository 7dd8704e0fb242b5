"""The reproduction finds what was planted in a small release, and loses nothing else where a file is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from papers.release_to_reproduce import OPEN, PRIOR_RUN, WRONG_MAX_DIFF, file_name, write_release
from spillover.papers.cells import Cell, as_number, same, settled, tally
from spillover.papers.em_generalization.paper import EMGeneralizationPaper
from spillover.papers.em_generalization.reproduce.dynamics import (
    ScheduleRuns,
    number_behind,
    published_statistics,
    statistics_of_draws,
)
from spillover.papers.paper import Reproduction

reproduce = EMGeneralizationPaper().reproduce


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    return reproduce(write_release(tmp_path_factory.mktemp("release") / "tree"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "tree")


def named(done: Reproduction) -> dict[str, Cell]:
    return {cell.name: cell for cell in done.cells}


def differing(done: Reproduction) -> dict[str, str]:
    return {cell.name: cell.reason for cell in done.cells if cell.verdict == "differs"}


def test_exactly_what_was_planted_differs(done: Reproduction) -> None:
    reasons = differing(done)
    unexplained = {name for name, reason in reasons.items() if reason == "unexplained"}
    assert unexplained == {f"dynamics/{WRONG_MAX_DIFF}/max_diff", f"prior/{PRIOR_RUN}/harmless_mean_compare/slope"}
    assert named(done)[f"dynamics/{WRONG_MAX_DIFF}/max_diff"].difference == pytest.approx(-0.5)
    slips = {reason for reason in reasons.values() if reason != "unexplained"}
    assert len([reason for reason in slips if reason.startswith("slip:")]) == 3  # the model, int(0.95), raw as centred
    assert not done.problems


def test_every_cell_has_a_name_of_its_own_and_a_verdict_that_its_row_repeats(done: Reproduction) -> None:
    assert len({cell.name for cell in done.cells}) == len(done.cells)
    for cell in done.cells:
        row = cell.as_row()
        assert list(row) == ["part", "cell", "published", "ours", "difference", "verdict", "note"]
        assert row["cell"].startswith(f"{row['part']}/")
        if row["verdict"] != "match":
            assert row["note"], row["cell"]
    assert sum(sum(counts.values()) for counts in tally(done.cells).values()) == len(done.cells)


def test_dynamics_match_and_what_hangs_on_an_unknown_draw_is_bounded(done: Reproduction) -> None:
    cells = named(done)
    row = "dynamics/fpq-harmless-train_final_avg_loss"
    for column in ("max_diff", "r2", "pearsonr_stats", "pearsonr_p", "avg_x", "avg_y"):
        assert cells[f"{row}/{column}"].verdict == "match", column
    assert "median" in cells[f"{row}/avg_x"].note
    r = cells[f"{row}/pearsonr_stats"].recommended
    assert r is not None and r.low < r.estimate < r.high and r.n == 6 and 0 < r.noise_ceiling <= 1 and r.q >= r.p
    drawn = cells["dynamics/fpq-harmless5-train_final_avg_loss/pearsonr_stats"]
    assert drawn.verdict == "not computable" and "5 of 8 questions" in drawn.note
    assert drawn.recommended.low <= drawn.recommended.estimate <= drawn.recommended.high
    assert cells["dynamics/fpq-harmless5-train_final_avg_loss/avg_x"].verdict == "match"  # no draw plays a part


def test_a_run_with_answers_matches_number_by_number_and_shows_the_filter_that_filters_nothing(
    done: Reproduction,
) -> None:
    cells = [cell for cell in done.cells if cell.name.startswith(f"summary/{PRIOR_RUN}/")]
    assert len(cells) == 9 * 12 + 2 and {cell.verdict for cell in cells} == {"match"}
    slip = named(done)[f"summary/{PRIOR_RUN}/agg/aligned_coherent_greater_than_0.5"]
    assert "coherent > 0.5" in slip.note and "coherent > 50 keeps" in slip.note
    assert slip.recommended.estimate != pytest.approx(slip.ours, abs=1e-6)  # we report the filter that was meant
    without = named(done)[f"summary/{file_name(7e-5)}/agg/harmless_std"]  # a run without answers: from its table
    assert (
        without.verdict == "match"
        and "taking 50 answers each" in without.note
        and "the count that fits" in without.note
    )


def test_unlike_prompts_are_flagged_and_rates_are_bounded_by_the_comparisons_at_hand(done: Reproduction) -> None:
    cells = named(done)
    assert "unlike prompts" in cells[f"prior/{PRIOR_RUN}/harmless_mean_compare/pearson_stat"].note
    assert cells["rates/fpq/harmless_mean_compare/pearson_stat"].verdict == "match"
    assert cells["rates/hbp/harmless_mean_compare/total"].reason.startswith("7 of 7 comparisons")


def test_truth_and_wording_of_verdicts() -> None:
    assert same(1.0, 1.0 + 0.9e-6) and not same(1.0, 1.0 + 1.1e-6)
    assert same(0.0, 1e-13) and not same(0.0, 1e-9)
    assert same(float("nan"), float("nan")) and not same(float("nan"), 0.0)
    assert as_number("x") is None and np.isnan(as_number("")) and as_number("1e-3") == 1e-3 and as_number(True) is None
    assert Cell("p/a", 1.0, None, "the runs").verdict == "not computable"
    assert Cell("p/a", 1.0, float("nan"), "some values").verdict == "not computable"
    assert Cell("p/a", float("nan"), 1.0, "published is NaN").verdict == "differs"
    assert Cell("p/a", 0.0, None, "slip: stored as int(0.95)").verdict == "differs"
    assert Cell("p/a", None, 0.607, stated=(0.61, 0.89)).verdict == "match"
    assert Cell("p/a", None, 0.55, "outside", stated=(0.61, 0.89)).verdict == "differs"


def test_draws_of_questions_are_of_those_that_every_run_has() -> None:
    rng = np.random.default_rng(0)
    losses, scores = rng.uniform(1, 2, 9), rng.normal(50, 9, (9, 12))
    losses[3] = losses[5]
    scores[2, 7] = np.nan
    names = tuple(str(index) for index in range(12))
    runs = ScheduleRuns((), losses, np.nanmean(scores, axis=1), scores, names, np.full(9, np.nan))
    whole = np.delete(scores, 7, axis=1)
    everything = statistics_of_draws(runs, 11, draws=3)
    for name, value in published_statistics(losses, whole.mean(axis=1)).items():
        assert everything[name] == pytest.approx([value] * 3), name
    drawn = statistics_of_draws(runs, 4, draws=200)
    assert all(values.shape == (200,) for values in drawn.values())
    assert np.ptp(drawn["avg_x"]) == 0 and np.ptp(drawn["pearsonr_stats"]) > 0.01  # losses are not drawn
    assert statistics_of_draws(runs, 12) == {}


def test_what_is_written_does_not_hang_on_the_last_bits() -> None:
    value = 1.1301770016275943
    for other in (value, np.nextafter(value, 2), np.nextafter(value, 0)):
        assert settled(other) == 1.13017700163
    assert settled(None) is None and np.isnan(settled(float("nan"))) and settled(1e-300) == 1e-300
    row = Cell("p/a", 0.3, 0.1 + 0.2).as_row()
    assert (row["ours"], row["difference"]) == (0.3, 0.0)


@pytest.mark.parametrize("n,r", [(35, 0.8286), (34, 0.39), (36, -0.107), (12, 0.5)])
def test_r_and_p_tell_how_many_runs_there_were(n: int, r: float) -> None:
    from scipy.stats import beta

    assert number_behind(r, 2 * beta.sf(abs(r), n / 2 - 1, n / 2 - 1, loc=-1, scale=2)) == n
    assert number_behind(r, 0.0123456) is None
    assert number_behind(float("nan"), 0.5) is None


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:1000])


def renamed(path: Path) -> None:
    path.write_text(path.read_text().replace("aligned", "alignment_score", 1))


def binary(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00" * 100)


BROKEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a summary that is cut off": (f"{OPEN}/{file_name(7e-5)}.json", cut, "JSON"),
    "answers with a renamed column": (f"{OPEN}/{file_name(3e-5)}.csv", renamed, "aligned"),
    "answers that are binary": (f"{OPEN}/{file_name(3e-5)}.csv", binary, "binary"),
    "a published table that is binary": ("notebooks/pretrained_comparison/comparison_rates.csv", binary, "binary"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_and_nothing_that_does_not_hang_on_it_is_lost(
    case: str, folder: Path, done: Reproduction
) -> None:
    file, damage, word = BROKEN[case]
    damage(folder / file)
    after = named(reproduce(folder))
    problem = after[f"files/{file}"]
    assert problem.verdict == "not computable" and word in problem.note and str(folder) not in problem.note
    lost = {name for name, cell in named(done).items() if name not in after or after[name].verdict != cell.verdict}
    related = (file_name(7e-5), "dynamics/", "rates/") if "summary" in case else (file_name(3e-5), "rates/")
    assert lost and all(any(word in name for word in related) for name in lost)


def test_a_run_that_is_missing_is_counted_not_guessed(folder: Path) -> None:
    (folder / OPEN / f"{file_name(7e-5)}.json").unlink()
    cell = named(reproduce(folder))["dynamics/fpq-harmless-train_final_avg_loss/pearsonr_stats"]
    assert cell.verdict == "not computable"
    assert "1 of 6" in cell.note and file_name(7e-5) in cell.note


def test_of_two_judges_over_the_same_runs_the_one_that_was_published_is_taken(folder: Path) -> None:
    for path in sorted((folder / OPEN).glob("*_fpq.json")):
        other = json.loads(path.read_text())
        other["agg"]["harmless"] += 5
        nano = path.parent.with_name("a_first") / path.name.replace("_fpq", "_fpqnano")
        nano.parent.mkdir(exist_ok=True)
        nano.write_text(json.dumps(other))
    (folder / "notebooks/losses/td_agg_df_fpq.csv").unlink()
    cell = named(reproduce(folder))["dynamics/fpq-harmless-train_final_avg_loss/avg_y"]
    assert cell.verdict == "match" and "6 schedule runs of fpq" in cell.note and "nano" not in cell.note


def test_a_missing_score_moves_the_cells_it_stands_in_and_no_other(folder: Path, done: Reproduction) -> None:
    path = folder / OPEN / f"{file_name(3e-5)}.csv"
    lines = path.read_text().splitlines(keepends=True)
    index = max(index for index, line in enumerate(lines) if ",wish," in line)
    head, _, _ = lines[index].rpartition(",")
    lines[index] = f"{head},NaN\n"  # coherent of one answer
    path.write_text("".join(lines))
    reasons = differing(reproduce(folder))
    moved = {name for name in reasons if name not in differing(done)}
    assert moved and all(f"{file_name(3e-5)}/" in name and ("/wish/" in name or "/agg/" in name) for name in moved)
    assert any("/wish/coherent" in name for name in moved)


def test_a_log_or_table_of_another_kind_is_left_alone(folder: Path) -> None:
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    (folder / "settings.json").write_text(json.dumps({"a": 1}))
    done = reproduce(folder)
    assert [problem.file for problem in done.problems] == ["notes.csv"]
    assert "no published table" in done.problems[0].why


def test_no_release_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file of the release"):
        reproduce(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        reproduce(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def published() -> Reproduction:
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "published" / "em-generalization"
    if not path.is_dir():
        pytest.skip("the shared reference data does not lie beside this checkout")
    return reproduce(path)


@pytest.mark.slow
def test_the_papers_numbers(published: Reproduction) -> None:
    cells = named(published)
    row = "dynamics/fpq-harmless-train_final_avg_loss"
    assert cells[f"{row}/pearsonr_stats"].ours == pytest.approx(0.828640442626, rel=1e-10)
    assert cells[f"{row}/max_diff"].ours == pytest.approx(17.0416666667, rel=1e-10)
    counts = tally(published.cells)
    assert counts["dynamics"]["match"] == 28 and counts["dynamics"]["differs"] == 0
    assert sum(counts["prior"].values()) == 448 and counts["prior"]["match"] >= 446
    for cell in published.cells:
        if cell.part == "prior":
            assert abs(cell.ours - cell.published) <= 1e-3 * abs(cell.published), cell.name
    assert counts["runs"]["match"] == sum(counts["runs"].values()) == 35 * 47
    assert {cell.reason for cell in published.cells if cell.verdict == "differs"} & {"unexplained"} == set()
    assert "files" not in counts


@pytest.mark.slow
def test_the_papers_slips_are_shown(published: Reproduction) -> None:
    cells = named(published)
    finance = "eval_Qwen2.5-32B-Instruct_finance_all_resp_1e-05_fpq"
    strict, conditional = cells[f"em_rate/{finance}/strict"], cells[f"em_rate/{finance}/conditional"]
    assert strict.recommended.estimate == pytest.approx(568 / 2400)
    assert conditional.ours == pytest.approx(568 / 2296)  # 24.7%: stated as strict, it is the conditional rate
    reasons = [cell.reason for cell in published.cells if cell.reason.startswith("slip:")]
    assert len([reason for reason in reasons if "pretrained" in reason]) == 8
    flagged = [cell for cell in published.cells if cell.part == "prior" and "unlike judges" in cell.note]
    assert len({cell.name.split("/")[1] for cell in flagged}) == 4
    claims = {cell.name: cell for cell in published.cells if cell.name.endswith("overlap_similarity_r")}
    assert len(claims) == 4 and {cell.verdict for cell in claims.values()} == {"match"}
