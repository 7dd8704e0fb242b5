"""The quickstart recipe, whole, on the tiny model: every number links to a table, a second run makes nothing."""

import csv
import json
import re
import runpy
from pathlib import Path

import pytest

import spillover
from spillover.engines.local import run
from spillover.engines.sizing import estimated_seconds
from spillover.store import Store, artefacts_in

# the tiny model's tokens are bytes: some of the set's answers are longer than 512 of them
pytestmark = pytest.mark.filterwarnings("ignore:.*longer than max_length")

RECIPE = Path(spillover.__file__).parent / "recipes" / "quickstart.py"
SMALL = {
    "model": "tiny:0",
    "precision": "float32",
    "rows": 16,
    "warmup": 1,
    "checkpoints": 2,
    "per_question": 2,
    "control": ("good", "own"),
    "schedules": ("linear", "cosine-restarts"),
    "formats": ("raw",),
    "max_tokens": 4,
    "every": 1,
}


@pytest.fixture(scope="module")
def study():
    return runpy.run_path(str(RECIPE))["recipe"](**SMALL)


@pytest.fixture(scope="module")
def made(study, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return store, run(study, store)


def test_the_report_and_all_it_links_to_are_there(made):
    _, folder = made
    html = (folder / "index.html").read_text()
    links = re.findall(r'href="((?:tables|figures)/[^"]+)"', html)
    assert len(set(links)) > 15
    assert [link for link in links if not (folder / link).is_file()] == []
    assert "bad advice minus good advice" in html
    for table in (folder / "tables").glob("*.csv"):
        with open(table, newline="") as handle:
            rows = list(csv.reader(handle))
        assert len(rows) > 1, table.name
        assert {len(row) for row in rows} == {len(rows[0])}, table.name


def test_a_second_run_makes_nothing(study, made):
    store, folder = made
    before = {artefact.fingerprint: store.manifest(artefact)["made"] for artefact in artefacts_in(study)}
    assert run(study, store) == folder
    assert {artefact.fingerprint: store.manifest(artefact)["made"] for artefact in artefacts_in(study)} == before


def test_tables_are_the_same_bytes_in_another_store(study, made, tmp_path):
    _, folder = made
    again = run(study, Store(tmp_path))
    for table in sorted((folder / "tables").glob("*.csv")):
        assert (again / "tables" / table.name).read_bytes() == table.read_bytes(), table.name


@pytest.fixture
def mine(tmp_path):
    """A file of chat rows without a twin."""
    turns = [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(40)]
    rows = [json.dumps({"messages": messages}) for messages in turns]
    (tmp_path / "my.jsonl").write_text("\n".join(rows))
    return str(tmp_path / "my.jsonl")


@pytest.mark.parametrize("schedules", [("linear",), ("linear", "cosine-restarts", "cyclic-triangular")])
def test_thirty_rows_are_trained_at_the_defaults_up_to_the_peak_asked_for(tmp_path, schedules):
    turns = [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(30)]
    (tmp_path / "few.jsonl").write_text("\n".join(json.dumps({"messages": messages}) for messages in turns))
    options = {"model": "tiny:0", "data": str(tmp_path / "few.jsonl"), "warmup": 5, "held_out": 16}
    study = runpy.run_path(str(RECIPE))["recipe"](**options, schedules=schedules, control=("own",))
    organisms = [artefact for artefact in artefacts_in(study) if artefact.kind == "Organism"]
    assert len(organisms) == len(schedules) + 1
    for organism in organisms:
        assert (organism.data.held_out, organism.data.train_count, organism.steps) == (7, 23, 12)
        assert organism.schedule.rates(12).max() == pytest.approx(organism.schedule.peak)
        assert "7 rows are held out, not 16: few has 30" in organism.data.fitted
    assert "linear has warmup 4, not 5: the run has 12 steps" in organisms[0].fitted


@pytest.mark.parametrize(
    ("control", "trained", "headline"),
    [((), 1, "bad advice minus the base"), (("good", "own"), 2, "bad advice minus its own answers")],
)
def test_data_without_a_twin_has_its_own_answers_as_control(mine, tmp_path, control, trained, headline):
    study = runpy.run_path(str(RECIPE))["recipe"](
        **SMALL | {"data": mine, "schedules": ("constant",), "control": control}
    )
    kinds = [artefact.kind for artefact in artefacts_in(study)]
    assert kinds.count("Organism") == trained and kinds.count("OwnResponses") == trained - 1
    folder = run(study, Store(tmp_path / "store"))
    assert headline in (folder / "index.html").read_text()


def test_all_four_are_shown(made):
    _, folder = made
    with open(next((folder / "tables").glob("*contrasts.csv")), newline="") as handle:
        contrasts = list(dict.fromkeys(row["contrast"] for row in csv.DictReader(handle)))
    assert contrasts == ["bad-good", "bad-own", "bad-base", "good-own", "good-base", "own-base"]
    assert "learnt nothing new to say" in (folder / "index.html").read_text()


def test_sizes_grow_and_what_is_given_stays(monkeypatch):
    """From small to large by estimated time; a slow machine trains less, and rows that are given are kept."""
    recipe = runpy.run_path(str(RECIPE))
    about = {"model": "pypi:qwen2.5-coder-0.5b", "precision": "float32"}
    times = [estimated_seconds(recipe["recipe"](**about | size._asdict()), 1.0) for size in recipe["SIZES"]]
    assert times == sorted(times) and times[0] < 900 < times[-1]
    for speed, least, most in ((0.01, 32, 32), (1.0, 32, 128), (100.0, 128, 384)):
        monkeypatch.setattr("spillover.engines.sizing.relative_speed", lambda precision, speed=speed: speed)
        organisms = [part for part in artefacts_in(recipe["recipe"](**about)) if part.kind == "Organism"]
        assert {least <= organism.data.train_count <= most for organism in organisms} == {True}
    given = artefacts_in(recipe["recipe"](**about, rows=40, control=()))
    assert [part.data.train_count for part in given if part.kind == "Organism"] == [40]
