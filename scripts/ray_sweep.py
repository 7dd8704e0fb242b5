"""A sweep of tiny organisms on several nodes of Ray in this machine, with workers and a node killed in the middle.

    .venv/bin/python scripts/ray_sweep.py [--organisms 200] [--part 40] [--folder DIR]

Three things are shown, every process with one thread: the sweep on three nodes, workers killed every few seconds and
one node taken away, against the tables of one process; a part of it on two undisturbed nodes against one process, as a
ratio of their times, with what the engine adds to each artefact; and a store that one engine left half-finished when it
was killed and the other finishes. `docs/results/engines.md` holds what it printed. It ends every Ray process of its
user (`ray stop --force`) where it has killed a run of Ray: not for a machine on which others of yours run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SPILLOVER_THREADS"):
    os.environ[name] = "1"

from spillover.analyses.dynamics import Dynamics  # noqa: E402
from spillover.engines import cluster, local  # noqa: E402
from spillover.engines.failures import failures  # noqa: E402
from spillover.judgements.judgements import Judgements  # noqa: E402
from spillover.judgements.judges.embedded.judge import Embedded  # noqa: E402
from spillover.models.catalogue import base_of  # noqa: E402
from spillover.organisms.dataset import Split  # noqa: E402
from spillover.organisms.datasets.shipped import Money  # noqa: E402
from spillover.organisms.organism import Organism  # noqa: E402
from spillover.organisms.schedules.standard import Linear  # noqa: E402
from spillover.organisms.tuning import LoRA  # noqa: E402
from spillover.report.report import Report  # noqa: E402
from spillover.responses.question import QuestionSelection  # noqa: E402
from spillover.responses.questions.free_form import FreeForm  # noqa: E402
from spillover.responses.responses import Responses  # noqa: E402
from spillover.responses.sampling import Sampling  # noqa: E402
from spillover.store import Store, artefacts_in  # noqa: E402

DEATHS, EVERY = (
    8,
    12,
)  # workers killed, and seconds between them: long enough for a worker to load torch and do something


def study(organisms: int) -> Report:
    """So many trainings by seed, each asked and judged, and the dynamics over all of them."""
    first = Organism(
        parent=base_of("tiny:0"),
        data=Split(data=Money(), rows=16, held_out=4),
        schedule=Linear(peak=1e-2),
        tuning=LoRA(rank=4, alpha=8.0),
        batch=4,
    )
    asked = QuestionSelection(source=FreeForm(), count=3, formats=("raw",))
    judged = [
        Judgements(
            responses=Responses(
                model=first.seeded(seed).checkpoint(), questions=asked, sampling=Sampling(per_question=2, max_tokens=8)
            ),
            judge=Embedded(),
        )
        for seed in range(organisms)
    ]
    return Report(title=f"{organisms} tiny organisms", analyses=(Dynamics(checkpoints=tuple(judged)),))


def noted(log: str) -> Any:
    """What every worker does first: it notes each making's begin and end, a line each, in `log`."""

    def hook() -> None:
        from spillover.store import Store

        make = Store._make

        def counted(self: Any, artefact: Any, *given: Any) -> None:
            for word, do in (("begin", lambda: make(self, artefact, *given)), ("end", lambda: None)):
                with open(log, "a") as handle:
                    handle.write(f"{word} {artefact.kind}-{artefact.fingerprint}\n")
                do()

        Store._make = counted  # type: ignore[method-assign]

    return hook


@contextlib.contextmanager
def nodes(count: int, log: Path | None = None) -> Iterator[Any]:
    """A cluster of so many nodes of one core, and a head of none; connected. `log` hears of every making."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.nodes = [made.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(count)]
    setup = {} if log is None else {"runtime_env": {"worker_process_setup_hook": noted(str(log))}}
    ray.init(address=made.address, log_to_driver=False, logging_level="error", **setup)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def kill_a_worker() -> list[int]:
    """Kill a process of this run that runs a task now, if any does."""
    ours = f"_{os.getpid()}/".encode()  # Ray names a session by its process, and workers by their session
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            named = path.read_bytes().startswith(b"ray::_make")
            if named and ours in _opened(path.parent):
                os.kill(int(path.parent.name), signal.SIGKILL)
                return [int(path.parent.name)]
    return []


def _opened(process: Path) -> bytes:
    """The files that a process has open, by name."""
    with contextlib.suppress(OSError):
        return b" ".join(os.readlink(path).encode() for path in (process / "fd").iterdir())
    return b""


def makings(log: Path) -> str:
    """What a log of makings says, in a line."""
    lines = [line.split() for line in log.read_text().splitlines()]
    begun = [name for word, name in lines if word == "begin"]
    ended = [name for word, name in lines if word == "end"]
    twice = len(ended) - len(set(ended))
    lost = len(begun) - len(ended)
    return f"makings begun: {len(begun)}; finished: {len(ended)}, {twice} of them a second time; lost: {lost}"


def in_one_process(made: Report, store: Store) -> float:
    """Seconds, in a process of its own."""
    began = time.monotonic()
    words = [sys.executable, __file__, "--here", str(store.root), "--organisms", str(len(made.analyses[0].checkpoints))]
    subprocess.run(words, check=True)
    return time.monotonic() - began


def inside(made: Report, store: Store) -> tuple[int, float]:
    """How many artefacts, and the seconds that their making took, by their manifests."""
    seconds = [store.manifest(artefact)["made"]["seconds"] for artefact in artefacts_in(made)]
    return len(seconds), sum(seconds)


def tables(store: Store, made: Report) -> dict[str, bytes]:
    """The bytes of every table of the report."""
    return {path.name: path.read_bytes() for path in (store.path(made) / "tables").glob("*.csv")}


def disturbed(root: Path, organisms: int) -> None:
    """The whole sweep with deaths, and in one process: the same tables."""
    made, store, deaths = study(organisms), Store.open(root / "ray"), list[int]()
    began = time.monotonic()
    with nodes(3, root / "makings.log") as three:

        def harm() -> None:
            while len(list(store.root.glob("Organism/*"))) < organisms // 10:
                time.sleep(1)
            while len(deaths) < DEATHS and not store.has(made):
                time.sleep(EVERY)
                deaths.extend(kill_a_worker())
                if len(deaths) == DEATHS // 2 and len(three.nodes) == 3:
                    three.remove_node(three.nodes.pop(), allow_graceful=False)

        thread = threading.Thread(target=harm, daemon=True)
        thread.start()
        cluster.run(made, store)
        lost = 3 - len(three.nodes)
        thread.join(20)
    seconds = time.monotonic() - began
    count, _ = inside(made, store)
    organism_count = sum(isinstance(artefact, Organism) for artefact in artefacts_in(made))
    alone = Store.open(root / "here")
    single = in_one_process(made, alone)
    print(f"organisms finished: {organism_count} of {organisms}; artefacts: {count}; failures: {len(failures(store))}")
    print(f"workers killed: {len(deaths)}; nodes lost: {lost}; left in tmp: {len(list(store.root.glob('tmp/*')))}")
    print(f"tables byte-identical to those of one process: {tables(store, made) == tables(alone, made)}")
    print(makings(root / "makings.log"))
    print(f"seconds: {seconds:.0f} on three nodes with deaths, {single:.0f} in one process")


def ratio(root: Path, organisms: int) -> None:
    """A part of it undisturbed, on two nodes and in one process by turns."""
    made, rows = study(organisms), []
    for turn in range(2):
        single = Store.open(root / f"single{turn}")
        alone = in_one_process(made, single)
        with nodes(2):
            began, many = time.monotonic(), Store.open(root / f"many{turn}")
            cluster.run(made, many)
            both = time.monotonic() - began
        rows.append((alone, both))
        for label, store, seconds, workers in (("here", single, alone, 1), ("ray", many, both, 2)):
            count, making = inside(made, store)
            print(
                f"turn {turn}, {label}: {seconds:.1f} s for {count} artefacts, {making:.1f} s of making, "
                f"{(seconds * workers - making) / count * 1000:.0f} ms of a core beside it for each"
            )
    print(f"speed-up on two nodes over one process: {', '.join(f'{alone / both:.2f}' for alone, both in rows)}")


def half_finished(root: Path, organisms: int) -> None:
    """One engine is killed in the middle, the other goes on; both ways."""
    made = study(organisms)
    whole = Store.open(root / "whole")
    in_one_process(made, whole)
    for first, second in (("here", "ray"), ("ray", "here")):
        _taken_over(root / first, made, organisms, whole, first, second)


def _taken_over(root: Path, made: Report, organisms: int, whole: Store, first: str, second: str) -> None:
    store = Store.open(root)
    words = [sys.executable, __file__, f"--{first}", str(store.root), "--organisms", str(organisms)]
    job = subprocess.Popen(words, start_new_session=True)
    while len(list(store.root.glob("Organism/*"))) < organisms // 3:
        time.sleep(0.2)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    if first == "ray":  # its nodes are no children of the group
        subprocess.run([Path(sys.executable).with_name("ray"), "stop", "--force"], check=False, capture_output=True)
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("[A-Z]*/*/manifest.json")}
    if second == "ray":
        with nodes(2):
            cluster.run(made, store)
    else:
        in_one_process(made, store)
    kept = sum(path.stat().st_mtime_ns == at for path, at in before.items())
    same = tables(store, made) == tables(whole, made)
    print(
        f"{first} killed, {second} finishes: {kept} of {len(before)} finished artefacts kept as they were; "
        f"tables equal: {same}"
    )


def main() -> None:
    """Everything, one after another."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--organisms", type=int, default=200)
    parser.add_argument("--part", type=int, default=24, help="organisms of the parts that are timed")
    parser.add_argument("--only", choices=("ratio", "half", "whole"), default=None)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--here", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--ray", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ray:
        with nodes(2):
            cluster.run(study(given.organisms), Store.open(given.ray))
        return
    if given.here:
        local.run(study(given.organisms), Store.open(given.here))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = given.folder or Path(scratch)
        parts = {
            "ratio": (ratio, given.part),
            "half": (half_finished, given.part),
            "whole": (disturbed, given.organisms),
        }
        for name, (show, organisms) in parts.items():
            if given.only in (None, name):
                show(root / name, organisms)


if __name__ == "__main__":
    main()
