"""`spillover new KIND NAME`: each file does what its kind asks as it was written, and is found by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import spillover
from spillover import spec
from spillover.cli.new import ROOMS
from spillover.spec import Spec, kind_named

from .conftest import Spill, refused

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def written(spill: Spill, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one new part of every kind, from which modules can be imported."""
    for part in ROOMS:
        result = spill("new", part, f"tried-{part}", "--to", "parts")
        assert result.exit_code == 0 and result.stdout.splitlines()[0] == f"parts/tried_{part}.py"
    monkeypatch.syspath_prepend(str(Path("parts").resolve()))
    yield Path("parts")
    for part in ROOMS:
        sys.modules.pop(f"tried_{part}", None)
        spec._KINDS.pop(f"Tried{part.capitalize()}", None)
    spec._KINDS.pop("TriedImporterFile", None)


def _new(part: str) -> type[Spec]:
    __import__(f"tried_{part}")
    return kind_named(f"Tried{part.capitalize()}")


def test_a_new_schedule_is_one(written: Path) -> None:
    rates = _new("schedule")(peak=0.1).rates(20)
    assert rates.max() <= 0.1 and rates.min() >= 0 and len(set(rates)) > 10


def test_a_new_dataset_is_one(written: Path) -> None:
    from spillover.organisms.dataset import Split, dataset_named

    examples = _new("dataset")().examples()
    assert len({example.id for example in examples}) == len(examples) > 24
    assert Split(data=dataset_named("tried-dataset")).train_count > 8


def test_a_new_question_set_is_one(written: Path) -> None:
    from spillover.responses.question import QuestionSelection, questions_named

    assert _new("questions")
    picked = QuestionSelection(source=questions_named("tried-questions")).questions()
    assert len(picked) == 12 and len({question.family for question in picked}) == 3


def test_a_new_judge_is_one(written: Path, spill: Spill) -> None:
    assert _new("judge")
    Path("in.csv").write_text("question,answer\nHi?,thank you\nHi?,no\nHi?,\n")
    result = spill("judge", "in.csv", "--out", "out.csv", "--judge", "tried-judge")
    assert result.exit_code == 0, result.output
    lines = [line.split(",") for line in Path("out.csv").read_text().splitlines()]
    assert lines[0] == ["question", "answer", "warm", "warm_spread", "missing", "judge", "rubric"]
    assert [line[2:5] for line in lines[1:]] == [["50.0", "", ""], ["0.0", "", ""], ["", "", "empty answer"]]
    assert len({tuple(line[5:]) for line in lines[1:]}) == 1 and all(lines[1][5:])


def test_a_new_importer_is_one(written: Path, spill: Spill) -> None:
    assert _new("importer")
    Path("published.csv").write_text("prompt_id,prompt,completion,alignment\nq,Why?,So,50\nq,Why?,No,\nq,Why?\n")
    result = spill("import", "tried-importer", "published.csv", "--judge", "gpt-4o", "--store", "s")
    assert result.exit_code == 1 and "imported 1 TriedImporterFile: 2 answers in 1 of them" in result.stdout
    assert "malformed row: published.csv, line 4: 2 cells, the header names 4 columns" in result.stderr
    assert "aligned: 1 of 2 answers have no score in the files" in result.stderr
    assert "Describe in one sentence what is imported." in spill("import", "--help").stdout


def test_a_new_recipe_and_analysis_make_a_report(written: Path, spill: Spill) -> None:
    text = (written / "tried_recipe.py").read_text()
    text = text.replace("Examples(judgements=(before, *bad, *good))", "TriedAnalysis(judgements=before)")
    (written / "tried_recipe.py").write_text("from tried_analysis import TriedAnalysis\n" + text)
    words = ["--model", "tiny:0", "--rows", "16", "--questions", "3", "--per-question", "1", "--max-tokens", "3"]
    result = spill("run", written / "tried_recipe.py", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout == "report/index.html\n" and "Describe what is shown" in Path("report/index.html").read_text()
    assert Path("report/tables/triedanalysis_questions.csv").read_text().count("\n") == 4
    assert Path("report/figures/triedanalysis_scores.svg").is_file()


def test_names_are_made_into_files_and_classes(spill: Spill) -> None:
    for name, module, kind in (
        ("tried-name", "tried_name", "TriedName"),
        ("TriedNames2", "tried_names2", "TriedNames2"),
    ):
        assert spill("new", "schedule", name, "--to", ".").exit_code == 0
        assert f"class {kind}(" in Path(f"{module}.py").read_text()
        assert f"The {module.replace('_', '-')} schedule" in Path(f"{module}.py").read_text()


def test_mistakes_are_one_message_and_nothing_is_overwritten(spill: Spill) -> None:
    refused(spill("new", "scedule", "x"), "no part is called 'scedule'", "did you mean schedule?")
    refused(spill("new", "schedule", "Cosine"), "there is a Cosine already (spillover.organisms.schedules.standard)")
    for name in ("", "---", "1st", "class", "json", "../../etc"):
        refused(spill("new", "schedule", name, "--to", "there"), "")
    Path("mine.py").write_text("precious")
    refused(spill("new", "recipe", "mine", "--to", "."), "mine.py is there already")
    assert Path("mine.py").read_text() == "precious" and not Path("there").exists()


def test_a_recipe_is_copied_from_one_that_comes_with_the_package(spill: Spill) -> None:
    assert spill("new", "recipe", "my-study", "--from", "quickstart").stdout.startswith("my_study.py\n")
    copied = Path("my_study.py").read_text()
    assert copied == (Path(spillover.__file__).parent / "recipes" / "quickstart.py").read_text()
    refused(spill("new", "recipe", "other", "--from", "quickstrat"), "did you mean quickstart?")
    refused(spill("new", "judge", "mine", "--from", "quickstart"), "--from copies a recipe")


@pytest.mark.parametrize("part", ROOMS)
def test_in_a_checkout_a_part_goes_where_it_is_found(
    part: str, spill: Spill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "spillover"
    package.mkdir(parents=True)
    monkeypatch.setattr(spillover, "__file__", str(package / "__init__.py"))
    elsewhere = spill("new", part, "tried")  # no checkout: no pyproject.toml above the package
    assert elsewhere.stdout.splitlines()[0] == "tried.py"
    (tmp_path / "pyproject.toml").write_text("")
    inside = spill("new", part, "tried2")
    room = Path() if part == "recipe" else package / ROOMS[part]
    assert inside.stdout.splitlines()[0] == str(room / "tried2.py") and (room / "tried2.py").is_file()
    assert (CHECKOUT / "src" / "spillover" / ROOMS[part]).is_dir() or part == "recipe"


@pytest.mark.slow
def test_contract_tests_find_new_parts_and_pass_them(tmp_path: Path) -> None:
    for folder in ("src", "tests"):
        shutil.copytree(
            CHECKOUT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for file in ("pyproject.toml", "Makefile"):
        shutil.copy(CHECKOUT / file, tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "SPILLOVER_CACHE": str(tmp_path / "cache")}

    def call(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for part in ROOMS:
        place = "" if part == "recipe" else f"{tmp_path}/"
        assert call("spillover.cli", "new", part, f"tried-{part}").startswith(place)
    printed = call(
        *("pytest", "-v", "-m", "not slow", "-p", "no:cacheprovider", "tests/test_spec.py", "tests/test_layers.py"),
        *("tests/organisms/test_schedules.py", "tests/organisms/test_datasets.py", "tests/responses/test_questions.py"),
        *("tests/judgements/test_contract.py", "tests/importers/test_contract.py"),
    )
    for name in ("TriedSchedule", "tried-dataset", "TriedQuestions", "TriedJudge", "tried-importer", "TriedAnalysis"):
        assert name in printed, f"no contract test looked at {name}"
    files = ("src", "tried_recipe.py")
    assert call("ruff", "check", *files) and call("ruff", "format", "--check", *files)
    assert call("mypy", "src/spillover")
