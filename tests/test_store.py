"""The store: made once, whole or absent, whatever is killed, flipped, full or shared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Letters, contents, diamond, files_of, made

import spillover.manifest as manifests
from spillover.engines.local import run
from spillover.engines.planning import plan
from spillover.manifest import MANIFEST, Damaged, damage, read_manifest, write_manifest
from spillover.provenance import provenance
from spillover.store import Artefact, BuildContext, Store, artefacts_in

STUDY = diamond()


@pytest.fixture(scope="module", autouse=True)
def _known_provenance() -> None:
    provenance(0.0)  # asks git once, here, not in every child


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run makes."""
    store = Store.open(tmp_path_factory.mktemp("whole") / "store")
    run(STUDY, store)
    return contents(store)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once, so that the record of what was read is in play."""
    monkeypatch.setattr(manifests, "SETTLED", 0)


# --- made once


def test_get_makes_what_is_needed_first_and_each_once(store: Store) -> None:
    folder = store.get(STUDY)
    assert made(store) == [artefact.fingerprint for artefact in artefacts_in(STUDY)] and len(made(store)) == 5
    assert folder == store.path(STUDY) and store.has(STUDY) and store.sound(STUDY)
    assert (folder / "all.txt").read_text().isalnum()
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("[A-Z]*/*/**/*")}
    store.get(STUDY)
    run(STUDY, store)
    assert len(made(store)) == 5
    assert {path: path.stat().st_mtime_ns for path in store.root.glob("[A-Z]*/*/**/*")} == before


def test_a_manifest_says_what_was_made_from_what(store: Store) -> None:
    store.get(STUDY)
    manifest = store.manifest(STUDY)
    assert manifest["spec"] == json.loads(STUDY.to_json()) and manifest["fingerprint"] == STUDY.fingerprint
    assert set(manifest["needs"]) == {artefact.fingerprint for artefact in STUDY.needs()}
    assert set(manifest["files"]) == {"all.txt", "count.txt"}
    assert manifest["made"]["seconds"] >= 0 and "python" in manifest["made"]["versions"]
    leaf = store.manifest(Letters(seed=1))
    assert leaf["facts"] == {"letters": 2, "10": "ten", "9": "nine"} and set(leaf["files"]) == {
        "parts/0.txt",
        "parts/1.txt",
    }


def test_ticks_reach_whoever_asked(store: Store) -> None:
    heard: list[float] = []
    store.get(Letters(seed=1), heard.append)
    assert heard == [0.0, 0.5]


def test_find_lists_what_is_finished_oldest_first(store: Store) -> None:
    run(STUDY, store)
    assert [folder.name for folder, _ in store.manifests()] == made(store)
    assert {folder.parent.name for folder, _ in store.manifests("Letters")} == {"Letters"}
    (store.path(STUDY) / MANIFEST).write_text("{")
    assert STUDY.fingerprint not in [folder.name for folder, _ in store.manifests()]


def test_a_failure_leaves_nothing(store: Store) -> None:
    class Stumbles(Artefact):
        """Fails halfway."""

        def make(self, context: BuildContext) -> None:
            (context.folder / "half").write_text("half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        store.get(Stumbles())
    assert (
        not store.has(Stumbles()) and not store.path(Stumbles()).exists() and not list((store.root / "tmp").iterdir())
    )


# --- what is damaged

HARMS: dict[str, Callable[[Path], None]] = {
    "flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
def test_every_harm_to_every_file_is_named_and_mended_alone(
    harm: str, store: Store, whole: dict[str, bytes], settled: None
) -> None:
    run(STUDY, store)
    assert all(store.sound(artefact) for artefact in artefacts_in(STUDY))  # every file has been read, and noted
    for artefact in artefacts_in(STUDY):
        for path in files_of(store, artefact):
            before, times = len(made(store)), path.stat()
            HARMS[harm](path)
            if path.exists():
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            wrong = {folder: lines for folder, lines in store.verify() if lines}
            name = path.relative_to(store.path(artefact)).as_posix()
            assert list(wrong) == [store.path(artefact)] and len(wrong[store.path(artefact)]) == 1
            assert wrong[store.path(artefact)][0].startswith(f"{name}: ")
            assert store.has(artefact) == (harm == "flipped" and name != MANIFEST)
            run(STUDY, store)
            assert made(store)[before:] == [artefact.fingerprint]  # those made from it come out the same: not again
            assert contents(store) == whole
    assert not any(lines for _, lines in store.verify())


def test_a_flip_is_found_by_the_next_run_without_verify(store: Store, settled: None) -> None:
    run(STUDY, store)
    run(STUDY, store)
    HARMS["flipped"](store.path(Letters(seed=2)) / "parts" / "1.txt")
    assert [step.state for step in plan(STUDY, store)] == ["there", "there", "damaged", "check", "check"]
    run(STUDY, store)
    assert made(store)[5:] == [Letters(seed=2).fingerprint]


def test_what_comes_out_different_is_followed_by_what_was_made_from_it(store: Store) -> None:
    study = diamond(moody=True)
    moody = study.of[0]
    run(study, store)
    HARMS["emptied"](store.path(moody) / "count.txt")
    run(study, store)
    assert made(store)[5:] == [moody.fingerprint, study.fingerprint]  # not its sisters, not the letters
    assert run(study, store) and len(made(store)) == 7


def test_what_is_deleted_as_a_whole_is_made_again(store: Store, whole: dict[str, bytes]) -> None:
    run(STUDY, store)
    store.discard(Letters(seed=1))
    assert [step.state for step in plan(STUDY, store)] == ["absent", "check", "there", "check", "check"]
    run(STUDY, store)
    assert made(store)[5:] == [Letters(seed=1).fingerprint] and contents(store) == whole


def test_an_artefact_under_anothers_name_is_not_taken_for_it(store: Store) -> None:
    run(STUDY, store)
    first, second = Letters(seed=1), Letters(seed=2)
    store.discard(first)
    os.rename(store.path(second), store.path(first))
    assert not store.sound(first)
    assert [lines for _, lines in store.verify() if lines] == [
        [f"{MANIFEST}: it is that of another artefact than the folder's name says"]
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{}", '{"seal": 1}', '{"files": {}, "seal": "0"}', "[" * 99999, "\udcff"]
)
def test_a_manifest_that_is_not_one_is_damage(text: str, store: Store) -> None:
    letters = Letters(seed=1)
    store.get(letters)
    (store.path(letters) / MANIFEST).write_text(text, errors="surrogateescape")
    with pytest.raises(Damaged):
        store.manifest(letters)
    assert not store.has(letters) and not store.sound(letters) and damage(store.path(letters), contents=False)
    store.get(letters)
    assert store.sound(letters) and len(made(store)) == 2


def test_a_seal_holds_whatever_the_facts_are(tmp_path: Path) -> None:
    facts = {2: "two", 10: "ten", "é": (1, 2.5, None, float("inf")), "nested": {3: [True]}}
    kept = {"spec": {}, "fingerprint": "0", "summary": "", "units": 1, "files": {}, "needs": {}}
    write_manifest(tmp_path, kept | {"facts": facts, "made": {"finished": "", "seconds": 0, "versions": {}}})
    assert read_manifest(tmp_path)["facts"]["10"] == "ten"


def test_finished_files_are_read_once_and_again_when_touched(
    store: Store, monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    run(STUDY, store)
    assert all(store.sound(artefact) for artefact in artefacts_in(STUDY))
    read: list[str] = []
    real = manifests.file_sha256
    monkeypatch.setattr(manifests, "file_sha256", lambda path: read.append(path.name) or real(path))
    assert run(STUDY, store) and not read
    os.utime(store.path(STUDY) / "all.txt", ns=(1, 1))
    assert store.sound(STUDY) and read == ["all.txt"]
    list(store.verify())
    assert len(read) == 1 + 4 + 6  # verify reads every file


def test_a_record_of_what_was_read_can_be_lost_or_spoilt(store: Store, settled: None) -> None:
    run(STUDY, store)
    run(STUDY, store)
    for text in ("", "[]", '{"all.txt": [1, 2, 3, 4]}', '{"all.txt": null}'):
        for record in (store.root / "seen").iterdir():
            record.write_text(text)
        assert store.sound(STUDY)
    for record in (store.root / "seen").iterdir():
        record.unlink()
    assert run(STUDY, store) and len(made(store)) == 5
