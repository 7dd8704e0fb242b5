"""A store killed at every file operation, on a full disk, shared by processes, not to be written."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Joined, Letters, begin, chain, child, contents, diamond, hurt, made, make, operations

import spillover.manifest as manifests
from spillover.cli.errors import explain
from spillover.engines.local import run
from spillover.engines.planning import plan
from spillover.provenance import provenance
from spillover.store import Artefact, Store, artefacts_in


@pytest.fixture(scope="module", autouse=True)
def _known_provenance() -> None:
    provenance(0.0)  # asks git once, here, not in every child


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote; only a machine that falls does, and none falls here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def _cut(store: Store, artefact: Artefact) -> None:
    path = store.path(artefact) / "parts" / "1.txt"
    os.truncate(path, path.stat().st_size - 1)


# --- what is killed, and a disk that is full


def _fresh(tmp_path: Path, study: Artefact, spoil: Callable[[Store], None] | None = None) -> Callable[[], Store]:
    """Stores with nothing in them, or with the study made and then spoilt."""
    template = Store.open(tmp_path / "template" / "store")
    if spoil:
        run(study, template)
        spoil(template)

    def fresh() -> Store:
        root = tmp_path / f"{time.monotonic_ns()}" / "store"
        shutil.copytree(template.root, root)
        return Store.open(root)

    return fresh


@pytest.mark.parametrize("what", ["making", "mending"])
def test_killed_at_every_file_operation_the_same_run_goes_on(what: str, tmp_path: Path) -> None:
    study = chain()
    first = study.of[0].of[0]
    spoil = (lambda store: _cut(store, first)) if what == "mending" else None
    fresh = _fresh(tmp_path, study, spoil)
    whole = fresh()
    run(study, whole)
    expected = contents(whole)

    def prepared() -> Callable[[], None]:
        store = fresh()
        return lambda: make(store.root, study)

    count = operations(prepared)
    assert count > (60 if what == "making" else 20)  # or the operations were not seen, and this tests nothing
    for at in range(count):
        store = fresh()
        assert child(lambda at=at, store=store: (hurt(at, "kill"), make(store.root, study))) == 9
        damaged = [folder for folder, lines in store.verify() if lines]
        assert damaged in ([], [store.path(first)] if spoil else []), f"killed before {at}: half-made, yet finished"
        finished = {
            path: path.stat().st_mtime_ns
            for path in store.root.glob("[A-Z]*/*/**/*")
            if not any(folder in path.parents for folder in damaged)
        }
        run(study, store)
        assert contents(store) == expected, f"killed before operation {at}"
        assert {path: path.stat().st_mtime_ns for path in finished} == finished, f"killed before {at}: touched"
        assert not store.leftovers() and not list((store.root / "tmp").iterdir())


def test_a_full_disk_at_every_file_operation_leaves_nothing_half_made(tmp_path: Path) -> None:
    study = chain()
    fresh = _fresh(tmp_path, study)
    whole = fresh()
    run(study, whole)

    def answered(store: Store) -> None:
        try:
            make(store.root, study)
        except (OSError, ValueError) as error:
            message, code = explain(error)
            os._exit(20 + code if "disk is full" in message or "No space left" in message else 1)

    def prepared() -> Callable[[], None]:
        store = fresh()
        return lambda: make(store.root, study)

    codes = []
    for at in range(0, operations(prepared), 2):
        store = fresh()
        codes.append(child(lambda at=at, store=store: (hurt(at, "disk-full"), answered(store))))
        assert not any(lines for _, lines in store.verify())
        run(study, store)
        assert contents(store) == contents(whole)
    assert set(codes[:-2]) == {22} and set(codes) <= {22, 0}  # the last operations write nothing that is needed


def test_what_a_killed_process_left_is_seen_and_cleared(store: Store) -> None:
    left = store.root / "tmp" / f"Letters-{Letters(seed=9).fingerprint}-making"
    left.mkdir(parents=True)
    assert store.leftovers() == [left] and left.exists()
    pid = begin(lambda: _hold(store, Letters(seed=9)))
    while not (store.root / "held").exists():
        time.sleep(0.01)
    assert store.leftovers(remove=True) == [] and left.exists()  # someone works on it
    (store.root / "held").unlink()
    os.waitpid(pid, 0)
    assert store.leftovers(remove=True) == [left] and not left.exists()


def _hold(store: Store, artefact: Artefact) -> None:
    with store.lock(artefact):
        (store.root / "held").touch()
        while (store.root / "held").exists():
            time.sleep(0.01)


# --- shared by processes


def test_processes_on_one_store_make_each_artefact_once(tmp_path: Path) -> None:
    study, root = diamond(seconds=0.05), tmp_path / "store"
    pids = [begin(lambda: make(root, study)) for _ in range(4)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    store = Store.open(root)
    assert sorted(made(store)) == sorted(artefact.fingerprint for artefact in artefacts_in(study))
    assert not any(lines for _, lines in store.verify()) and not list((root / "tmp").iterdir())


def test_two_studies_that_share_parts_share_them(tmp_path: Path) -> None:
    root, seconds = tmp_path / "store", 0.05
    first = Joined(of=tuple(Letters(seed=n, seconds=seconds) for n in (1, 2, 3)))
    second = Joined(of=tuple(Letters(seed=n, seconds=seconds) for n in (3, 2, 4)))
    pids = [begin(lambda study=study: make(root, study)) for study in (first, second) * 2]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    assert len(made(Store.open(root))) == len(set(made(Store.open(root)))) == 6


def test_whoever_waits_is_told_and_goes_on_when_the_other_is_killed(store: Store) -> None:
    pid = begin(lambda: _hold(store, Letters(seed=1)))
    while not (store.root / "held").exists():
        time.sleep(0.01)
    told: list[str] = []

    def waiting() -> None:
        told.append("waits")
        os.kill(pid, 9)

    assert store.make(Letters(seed=1), waiting=waiting) and told == ["waits"]
    os.waitpid(pid, 0)


# --- a store that cannot be written


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/store"])
def test_a_store_that_cannot_be_written_is_one_message(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written .* give another with --store"):
        Store.open(tmp_path / where)


def test_a_store_that_may_only_be_read_can_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = chain()
    run(study, store)

    def refuse(*words: object, **options: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(manifests, "SETTLED", 0)
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert {step.state for step in plan(study, store)} == {"there"}
