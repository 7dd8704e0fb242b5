"""The engine of Ray on several nodes in this machine: the same store, failures kept apart, deaths survived."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from organisms.toy import constant

import spillover
from spillover.engines import cluster, local
from spillover.engines.failures import failures
from spillover.organisms.organism import Organism
from spillover.spec import walk
from spillover.store import Store

pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*longer than:UserWarning")]
RECIPE = Path(spillover.__file__).parent / "recipes" / "paper_dynamics.py"


def study(**fields: Any) -> Any:
    spec = importlib.util.spec_from_file_location("dynamics_recipe", RECIPE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = {"schedules": ("linear", "cosine"), "seeds": 2, "rows": 8, "held_out": 4, "checkpoints": 1}
    return module.recipe(**{"model": "tiny:0", "max_tokens": 4, "per_question": 1, "lines": 0} | given | fields)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


def tables(store: Store, made: Any) -> dict[str, bytes]:
    folder = store.path(made)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("tables/*.csv")}


def test_the_same_tables_as_in_one_process(nodes: Any, store: Store, tmp_path: Path) -> None:
    made = study()
    cluster.run(made, store)
    alone = Store.open(tmp_path / "alone")
    local.run(made, alone)
    files = tables(store, made)
    assert len(files) > 5 and files == tables(alone, made)
    assert not failures(store)
    began = time.monotonic()
    cluster.run(made, store)  # all there
    assert time.monotonic() - began < 60


def test_a_failure_fails_what_hangs_on_it_alone_and_says_why(nodes: Any, store: Store) -> None:
    good, bad = (study(schedules=(name,), seeds=1) for name in ("linear", "cosine"))
    (diverging,) = [spec for spec in walk(bad) if isinstance(spec, Organism)]
    made = good.but(analyses=(*good.analyses, *_with_rate(bad, diverging, 1e12).analyses))
    with pytest.raises(cluster.StudyIncomplete, match=r"1 artefacts could not be made, and \d+ that hang on them"):
        cluster.run(made, store)
    (failure,) = failures(store)
    assert failure.kind == "Organism" and "lower the schedule's peak" in failure.error
    assert "Traceback" in failure.trace
    (organism,) = [spec for spec in walk(good) if isinstance(spec, Organism)]
    assert store.has(organism) and all(store.has(spec) for spec in good.analyses)
    assert not store.has(made)


def test_killed_workers_and_a_lost_node_lose_nothing(nodes: Any, store: Store) -> None:
    made = study(seeds=4)
    lost = nodes.add_node(num_cpus=1)
    deaths: list[int] = []

    def harm() -> None:
        while len(deaths) < 3 and not store.has(made):
            time.sleep(4)
            deaths.extend(_kill_a_worker())
        nodes.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=harm, daemon=True)
    thread.start()
    cluster.run(made, store)
    thread.join(60)
    assert deaths and store.has(made) and not failures(store)
    assert sum(isinstance(spec, Organism) and store.has(spec) for spec in set(walk(made))) == 8


def _with_rate(made: Any, organism: Organism, peak: float) -> Any:
    from spillover.spec import decode, encode

    old, new = encode(organism), encode(organism.but(schedule=constant(peak)))

    def swapped(value: Any) -> Any:
        if value == old:
            return new
        if isinstance(value, dict):
            return {name: swapped(item) for name, item in value.items()}
        return [swapped(item) for item in value] if isinstance(value, list) else value

    return decode(swapped(encode(made)))


def _kill_a_worker() -> list[int]:
    """Kill one process that runs a task now, if any does."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if name.startswith("ray::_make"):
            os.kill(int(path.parent.name), signal.SIGKILL)
            return [int(path.parent.name)]
    return []
