"""A paper is a part: found by itself, run by its name, shown on a page of its own cells."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import ClassVar

import pytest

from spillover.cli.reproducing import list_papers, reproduce_paper
from spillover.papers.cells import Cell
from spillover.papers.paper import Paper, PaperPart, Reproduction, StageProgress, paper_named, papers
from spillover.spec import decode, encode

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "spillover"


class SecondPaper(Paper):
    """Another paper, of one number."""

    name: ClassVar[str] = "second-paper"
    help: ClassVar[str] = "A second paper"

    def reproduce(self, path: Path, progress: StageProgress = lambda stage, share: None) -> Reproduction:
        cells = [Cell("sums/two and two", 4.0, float((path / "sum.txt").read_text()))]
        return Reproduction("Two", "A paper.", cells, {"sums": PaperPart("Sums", "What adds up.")}, {"sums": 1}, [])


def test_every_paper_is_found_by_itself_with_a_name_and_a_line_of_help() -> None:
    assert {"em-generalization", "second-paper"} <= set(papers())
    for name, paper in papers().items():
        assert paper_named(name) == paper == decode(encode(paper))
        assert paper.summary() == paper.help and "\n" not in paper.help
    folders = {path.parent.name for path in (PACKAGE / "papers").glob("*/__init__.py")}
    assert folders == {
        type(paper).__module__.split(".")[2] for paper in papers().values() if "spillover" in type(paper).__module__
    }


def test_an_unknown_paper_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no paper is called 'em-generalisation'; did you mean em-generalization"):
        paper_named("em-generalisation")


def test_a_second_paper_is_listed_and_run_like_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_papers()
    assert "second-paper: A second paper" in capsys.readouterr().out.splitlines()
    (tmp_path / "sum.txt").write_text("4.5")
    reproduce_paper("second-paper", tmp_path, tmp_path / "out")
    assert "sums: 0 match, 1 differ, 0 not computable" in capsys.readouterr().err
    page = (tmp_path / "out" / "index.html").read_text()
    assert "A paper. A number matches when" in page and "What adds up." in page
    assert (tmp_path / "out" / "cells.csv").read_text().splitlines()[1] == (
        "sums,sums/two and two,4.0,4.5,0.5,differs,unexplained"
    )


def test_no_paper_is_named_in_the_command_line() -> None:
    for path in sorted((PACKAGE / "cli").rglob("*.py")):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert not [text for text in texts for name in papers() if name in str(text)], path
