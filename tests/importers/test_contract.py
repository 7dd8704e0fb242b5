"""What every importer that ships is held to, whichever file it lives in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spillover.cli import app
from spillover.importers.importer import Importer, importers
from spillover.store import Store

IMPORTERS = {name: kind for name, kind in importers().items() if kind.__module__.startswith("spillover.")}
every_importer = pytest.mark.parametrize("kind", IMPORTERS.values(), ids=list(IMPORTERS))
ODD_FILES = {
    "empty.csv": b"",
    "blank.csv": b"\n\n\n",
    "header.csv": b"question_id,question,answer,aligned,coherent\n",
    "bytes.csv": bytes(range(256)),
    "picture.png": b"\x89PNG\r\n\x1a\n\x00\x00" * 40,
    "utf16.csv": "question_id,answer,aligned\nq,a,50\n".encode("utf-16"),
    "open_quote.csv": b'question_id,answer,aligned\nq,"a,50\n',
    "cut.json": b'{"agg": {"aligned": 50',
    "nested.json": b"[" * 100_000,
    "cut.yaml": b"- id: [",
    "eval_.csv": b"question_id,answer,aligned\n,,\n",
    "cut.csv.gz": b"\x1f\x8b\x08\x00\x00",
    "nothing.jsonl": b"\n",
    "not.parquet": b"PAR1",
}


def test_there_is_an_importer_to_hold() -> None:
    assert "betley" in IMPORTERS and "em-generalization" in IMPORTERS


@every_importer
def test_json_gives_the_same_importer_back(kind: type[Importer]) -> None:
    assert Importer.from_json(kind().to_json()) == kind()


@every_importer
def test_it_is_a_command_that_says_what_it_takes(kind: type[Importer]) -> None:
    name = next(name for name, known in IMPORTERS.items() if known is kind)
    shown = " ".join(CliRunner().invoke(app, ["import", name, "--help"], env={"COLUMNS": "200"}).output.split())
    summary = kind().summary()
    assert summary.endswith(".") and summary.count(". ") == 0 and summary in shown and kind.takes in shown
    for option, field in kind.model_fields.items():
        assert field.description and f"--{option.replace('_', '-')}" in shown and field.description in shown


def imported(importer: Importer, path: Path, store: Store) -> tuple[list[str], list[str]]:
    """What was made, and why other files were refused; shares of progress that go back are a failure."""
    shares: list[float] = [0.0]
    try:
        plan = importer.plan([path])
        made = [artefact.kind for artefact, _ in plan.make(store, shares.append)]
    except ValueError as error:
        return [], [str(error)]
    assert shares == sorted(shares) and shares[-1] in (0.0, 1.0)
    return made, [row.why for row in plan.refused]


@every_importer
def test_nothing_and_empty_places_are_refused_in_words(kind: type[Importer], tmp_path: Path, store: Store) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").touch()
    for name in ("nowhere", "empty", "empty.csv"):
        made, reasons = imported(kind(), tmp_path / name, store)
        assert not made and len(reasons) == 1 and name in reasons[0]


@every_importer
@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_is_refused_by_its_name_and_costs_no_other(
    kind: type[Importer], name: str, tmp_path: Path, store: Store
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / name).write_bytes(ODD_FILES[name])
    for path in (folder / name, folder):  # an importer takes files or a folder
        made, reasons = imported(kind(), path, store)
        assert not made and reasons and all(re.search(r"[a-z]{3}", reason) for reason in reasons)
    assert not list(store.root.glob("[A-Z]*/*")) and not list(store.root.glob("tmp/*"))
