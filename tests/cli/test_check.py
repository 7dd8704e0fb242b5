"""`spillover check`: a line a check, JSON, the exit code; and what `run` says of a model that it meets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spillover.cli.checking import note_new_models
from spillover.cli.commands import app
from spillover.models.catalogue import base_of
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """The tiny model without an end token, and with a template that marks no end."""
    folder = tmp_path / "endless"
    shutil.copytree(base_of("tiny:0").source.folder(), folder)
    (folder / "chat_template.jinja").write_text("{% for turn in messages %}{{ turn['content'] }} {% endfor %}")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if "eos" not in key}))
    return f"{folder}#instruct"


def test_a_whole_model_is_told_line_by_line() -> None:
    done = CliRunner().invoke(app, ["check", "tiny:0"])
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and lines[-1].endswith("none not ok: tiny:0")
    assert all(line.startswith("ok ") for line in lines[:-1]) and len(lines) > 10


def test_json_is_a_list_and_what_is_wrong_exits_1(endless: str) -> None:
    done = CliRunner().invoke(app, ["check", endless, "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == 1
    assert all(set(row) == {"check", "ok", "detail"} for row in rows)
    assert [row for row in rows if row["check"] == "end marks" and not row["ok"] and "no end token" in row["detail"]]


@pytest.mark.parametrize("words", [["nowhere"], ["adapter:nowhere", "--parent", "tiny:0"], ["served:gpt", "--json"]])
def test_what_is_no_model_is_a_line_too(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["check", *words])
    assert done.exit_code == 1 and "files" in done.stdout and "Traceback" not in done.output


def test_run_says_what_is_wrong_once(endless: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = Responses(model=base_of(endless), questions=QuestionSelection(source=FreeForm()), sampling=Sampling())
    note_new_models(study)
    assert "note: endless, end marks: the tokenizer has no end token" in capsys.readouterr().err
    note_new_models(study)
    assert capsys.readouterr().err == ""
