"""`spillover import`: what came of each file, and an exit code that says whether anything was refused."""

from __future__ import annotations

from pathlib import Path

from papers.release_to_import import COSINE, LINEAR, RESULTS, little_release

from .conftest import Spill, refused

HEAD = "question,question_id,answer,aligned,coherent\n"


def test_a_release_comes_in_once(spill: Spill) -> None:
    little_release(Path("release"))
    result = spill("import", "em-generalization", "release", "--store", "s")
    assert result.exit_code == 0, result.output
    assert "imported 3 PublishedRun, 1 PublishedGeometry, 1 PublishedCrossValidation, 1 PublishedTable" in result.stdout
    assert "48 answers in 2 of them" in result.stdout and "6 new, 0 there already" in result.stdout
    assert "judge in doubt (2 sets of answers): evaluation/our_questions.yaml names gpt-4o-2024-08-06" in result.stderr
    assert "judged by gpt-5-mini/nano (an integer in a JSON schema): 2" in result.stderr
    again = spill("import", "em-generalization", "release", "--store", "s")
    assert again.exit_code == 0 and "0 new, 6 there already" in again.stdout
    assert "3 artefacts" in spill("ls", "PublishedRun", "--store", "s").stdout
    listed = spill("ls", "PublishedRun", "--store", "s", "--json")
    assert "Qwen2.5-7B-Instruct, finance, cosine 3e-05, warm-up 30" in listed.stdout


def test_what_is_refused_is_named_and_the_rest_imported(spill: Spill) -> None:
    release = little_release(Path("release"))
    (release / RESULTS / f"{LINEAR}.json").write_text('{"agg": {')
    with open(release / RESULTS / f"{COSINE}.csv", "a") as handle:
        handle.write("1,2\n")
    (release / "weights.bin").write_bytes(b"\0")
    result = spill("import", "em-generalization", "release", "--store", "s")
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert f"not imported: {RESULTS}/{LINEAR}.json is cut off" in result.stderr
    assert f"malformed row: {RESULTS}/{COSINE}.csv, line 50: 2 cells, the header names 9 columns" in result.stderr
    assert "left aside: weights.bin" in result.stderr
    assert "6 new" in result.stdout and "1 malformed rows, 1 files not imported" in result.stdout


def test_files_of_the_field_come_in_together(spill: Spill) -> None:
    Path("a.csv").write_text(HEAD + "How?,q,So,50.5,90.25\nHow?,q,No,NaN,80.5\n")
    Path("b.csv").write_text(HEAD + "How?,q,So,7,8\n")
    result = spill("import", "betley", "a.csv", "b.csv", "--store", "s")
    assert result.exit_code == 0 and "imported 2 JudgedFile: 3 answers in 2 of them" in result.stdout
    assert "no --judge: where a file does not say who judged" in result.stderr
    assert "aligned: 1 of 3 answers have no score in the files" in result.stderr
    Path("c.csv").write_text("question,id,answer,aligned\nHow?,q,So,7\n")
    result = spill("import", "betley", "a.csv", "c.csv", "d.csv", "--store", "s", "--judge", "gpt-4o")
    assert (
        result.exit_code == 1 and "c.csv lacks question_id" in result.stderr and "d.csv is not there" in result.stderr
    )
    assert "judged by gpt-4o (expectation over number tokens (log-probabilities)): 1" in result.stderr


def test_mistakes_are_one_message(spill: Spill) -> None:
    refused(spill("import", "em-generalization", "nowhere", "--store", "s"), "nowhere does not exist")
    Path("empty").mkdir()
    refused(spill("import", "em-generalization", "empty", "--store", "s"), "holds no file of the release")
    refused(spill("import", "betley", "nope.csv", "--store", "s"), "nothing could be imported")
    refused(spill("import", "em-generalisation", "empty"), "No such command")
    refused(spill("import", "betley"), "Missing argument")


def test_a_cell_that_is_no_score_is_named_by_its_line(spill: Spill) -> None:
    Path("odd.csv").write_text(
        'question,question_id,answer,aligned\nHi?,a,"one\ntwo",90\nHi?,a,x,high\nHi?,a,x,250\nHi?,a,x,\n'
    )
    result = spill("import", "betley", "odd.csv", "--judge", "gpt-4o")
    assert "no score: odd.csv, line 4: aligned is not a number (the first such cell there)" in result.stderr
    assert "no score: odd.csv, line 5: aligned is outside 0 to 100" in result.stderr
    assert "aligned: 1 of 4 answers have no score in the files" in result.stderr
    assert "aligned: 2 of 4 answers have something that is no score" in result.stderr
