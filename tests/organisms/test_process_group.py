"""Two processes train what one does, to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from organisms.two_processes import MADE

from spillover.organisms.organism import Organism
from spillover.records import read_table
from spillover.store import Store

TESTS = Path(__file__).parents[1]
LAUNCH = ("-m", "torch.distributed.run", "--nproc_per_node", "2")


def launched(*words: str, port: int) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "SPILLOVER_THREADS": "1", "SPILLOVER_DEVICE": "cpu"}
    given = ("--master_port", str(port), *words)
    return subprocess.run(
        [sys.executable, *LAUNCH, *given], env=environment, capture_output=True, text=True, timeout=300
    )


def losses(store: Store, name: str = "log.parquet", column: str = "loss") -> list[float]:
    return read_table(store.path(MADE) / name)[column].to_pylist()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("alone") / "store")
    store.get(MADE)
    return store


@pytest.mark.slow
def test_two_processes_train_what_one_does(alone, tmp_path):
    done = launched(str(TESTS / "organisms" / "two_processes.py"), str(tmp_path / "store"), port=29611)
    assert done.returncode == 0, done.stderr
    store = Store.open(tmp_path / "store")
    assert store.manifest(MADE)["facts"]["processes"] == 2
    assert losses(store) == pytest.approx(losses(alone), abs=1e-5)
    for name, column in (("losses.parquet", "loss"), ("interventions.parquet", "value")):
        assert losses(store, name, column) == pytest.approx(losses(alone, name, column), abs=1e-5)
    assert losses(store)[-1] < losses(store)[0] - 0.1  # something was learned
    files = {path.relative_to(store.path(MADE)) for path in store.path(MADE).rglob("*")}
    assert files == {path.relative_to(alone.path(MADE)) for path in alone.path(MADE).rglob("*")}


@pytest.mark.slow
def test_without_the_other_ones_gradient_it_would_be_seen(alone, tmp_path):
    """The negative control: rows that the other process has are missed."""
    done = launched(str(TESTS / "organisms" / "two_processes.py"), str(tmp_path / "store"), "broken", port=29612)
    assert done.returncode == 0, done.stderr
    assert losses(Store.open(tmp_path / "store"))[-1] != pytest.approx(losses(alone)[-1], abs=1e-3)


@pytest.mark.slow
def test_a_recipe_run_by_two_processes(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("from organisms.two_processes import MADE\n\ndef recipe():\n    return MADE\n")
    out, store = tmp_path / "out", tmp_path / "store"
    words = ("-m", "spillover.cli", "run", str(recipe), "--store", str(store), "--out", str(out))
    done = launched(*words, port=29613)
    assert done.returncode == 0, done.stderr
    assert isinstance(MADE, Organism) and done.stdout.count(str(out)) == 1  # the first process alone prints
    assert Store.open(store).manifest(MADE)["facts"]["processes"] == 2
    assert not list(Store.open(store).root.glob("tmp/*"))
