"""Pipes, devices, sockets and paths that are none, where a file should be: said by name, and nothing waits."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import Letters, chain, child

import spillover.judgements.rubrics.yaml_rubrics as rubrics
from spillover.cli.judging import _store_at
from spillover.engines.local import run
from spillover.judgements.human_labels import HumanLabels
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.judges.label_file import LabelFile
from spillover.judgements.score_file import score_file
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.manifest import MANIFEST, Damaged, read_manifest, write_manifest
from spillover.models.catalogue import base_of
from spillover.organisms.datasets.chat_file import ChatFile
from spillover.regular_files import absolute, expect_regular, unlike_a_file
from spillover.responses.questions.question_rows import QuestionRows
from spillover.responses.questions.yaml_file import YamlFile
from spillover.store import Store

READERS: dict[str, Callable[[str], object]] = {
    "chat rows": ChatFile.from_file,
    "questions": QuestionRows.from_file,
    "YAML questions": YamlFile.from_file,
    "rubrics": rubrics.YamlRubrics.from_file,
    "judged answers": JudgedFile.from_file,
    "labels": LabelFile.typed,
    "a sheet": HumanLabels.from_file,
    "a model": base_of,
    "answers to judge": lambda path: score_file(Path(path), Path(path).with_name("out.csv"), Embedded()),
}


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "rows.jsonl")
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_named_and_not_waited_for(reader: str, pipe: Path) -> None:
    with pytest.raises(ValueError, match=r"rows\.jsonl is a pipe, not a file"):
        READERS[reader](str(pipe))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["a\0b.jsonl", "x" * 5000 + ".jsonl"], ids=["NUL", "long"])
def test_a_path_that_is_none_is_a_clear_error(reader: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no path of a file: it holds a NUL|cannot be opened \(File name too long"):
        READERS[reader](str(tmp_path / name))


def test_links_in_a_circle_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("b.jsonl")
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    for reader in READERS.values():
        with pytest.raises(ValueError, match=r"a\.jsonl.*(symbolic links|circle)"):
            reader(str(tmp_path / "a.jsonl"))


def test_what_stands_at_a_path(tmp_path: Path, pipe: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
    (tmp_path / "file").touch()
    stands = {"s": "a socket", "file": None, "nothing": None, "rows.jsonl": "a pipe", ".": "a folder"}
    assert {name: unlike_a_file(tmp_path / name) for name in stands} == stands
    assert unlike_a_file("/dev/zero") == "a device"
    with pytest.raises(ValueError, match="is a device, not a file"):
        expect_regular(Path("/dev/zero"))
    assert absolute(tmp_path / "x" / ".." / "file") == (tmp_path / "file").resolve()


def test_a_pipe_in_a_store_is_damage(store: Store) -> None:
    run(chain(), store)
    folder = store.path(Letters(seed=1))
    (folder / "parts" / "0.txt").unlink()
    os.mkfifo(folder / "parts" / "0.txt")
    assert [lines for _, lines in store.verify() if lines] == [["parts/0.txt: is a pipe, not a file"]]
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)
    assert [lines for _, lines in store.verify() if lines] == [["manifest.json: is a pipe, not a file"]]
    assert len(list(store.manifests())) == 2
    run(chain(), store)
    assert not [lines for _, lines in store.verify() if lines]


HOSTILE = {
    "its shape": ({"files": {"a.txt": {}}}, "no manifest of an artefact"),
    "a file outside": ({"files": {"../a.txt": {"bytes": 1, "sha256": "0"}}}, "names a file outside its folder"),
    "no size": ({"files": {"parts/0.txt": {"bytes": "1", "sha256": "0"}}}, "it says nothing of the file"),
    "when": ({"made": {"finished": 3, "seconds": 0, "versions": {}}}, r"made\.finished is not there"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_sealed_manifest_that_is_none_is_damage(what: str, store: Store) -> None:
    folder = store.get(Letters(seed=1))
    changes, message = HOSTILE[what]
    manifest = read_manifest(folder)
    if what == "its shape":
        del manifest["spec"]
    write_manifest(folder, manifest | changes)
    with pytest.raises(Damaged, match=message):
        read_manifest(folder)
    assert len([lines for _, lines in store.verify() if lines]) == 1 and list(store.manifests()) == []


def test_the_manifest_of_another_artefact_is_named_not_its_files(store: Store) -> None:
    first, second = store.get(Letters(seed=1)), store.get(chain())
    shutil.copy(second / MANIFEST, first / MANIFEST)
    told = [lines for _, lines in store.verify() if lines]
    assert told == [["manifest.json: it is that of another artefact than the folder's name says"]]


@pytest.fixture
def read_only() -> Iterator[Store]:
    """A finished study in a store whose folders nobody may write; for whoever is no superuser."""
    place = Path(tempfile.mkdtemp(prefix="spillover-"))  # below one that others may enter, too
    place.chmod(0o755)
    store = Store.open(place / "store")
    run(chain(), store)
    for folder in [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    yield store
    for folder in [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    shutil.rmtree(place)


def as_a_reader(action: Callable[[], None]) -> int:
    """Do it in a process of its own, without a superuser's rights."""

    def restricted() -> None:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        action()

    return child(restricted)


def test_a_store_that_may_only_be_read_gives_what_is_in_it(read_only: Store) -> None:
    def look() -> None:
        store = Store.open(read_only.root)
        assert not store.writable and run(chain(), store) == store.path(chain())
        assert not [lines for _, lines in store.verify() if lines] and store.leftovers() == []
        with store.lock(chain()):
            assert store.sound(chain())
        with _store_at(read_only.root) as beside:
            assert beside.sound(chain()) and beside.make(Letters(seed=7))
        with pytest.raises(ValueError, match=r"cannot be written \(no permission\): give another with --store"):
            store.get(Letters(seed=7))

    assert as_a_reader(look) == 0
    assert len(list(read_only.manifests())) == 3
