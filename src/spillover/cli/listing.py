"""`spillover ls`, `show`, `verify`, `models`: what a store holds, and whether it is whole."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from spillover.engines.failures import failures
from spillover.interactive.text import columns, duration, one_line, plain, size
from spillover.manifest import Damaged, read_manifest
from spillover.spec import decode, did_you_mean
from spillover.store import Artefact, Store


def existing(root: Path) -> Store:
    """The store at `root`, which has to be there."""
    path = root.expanduser().absolute()
    if not path.is_dir():
        raise ValueError(f"no store at {path}: give one with --store, or $SPILLOVER_STORE")
    return Store(path)


def list_artefacts(store: Store, kind: str | None) -> None:
    """One line an artefact: fingerprint, kind, when it was made, how long that took, size, summary."""
    kinds = sorted({folder.parent.name for folder in store.folders()})
    if kind is not None and kind not in kinds:
        hint = did_you_mean(kind, kinds) or f"it holds {', '.join(kinds) or 'nothing yet'}"
        raise ValueError(f"no {kind} in {store.root}; {hint}")
    rows, total = [], 0
    for folder, manifest in store.manifests(kind):
        weight = sum(file["bytes"] for file in manifest["files"].values())
        total += weight
        when, took = manifest["made"]["finished"][:16].replace("T", " "), duration(manifest["made"]["seconds"])
        rows.append((folder.name[:8], folder.parent.name, when, took, size(weight), one_line(manifest["summary"])))
    if rows:
        print(columns(rows, right=(3, 4)))
    print(f"{len(rows)} artefacts, {size(total)}, in {store.root}")


def list_failures(store: Store) -> None:
    """What could not be made, oldest first: one line each, and where it went wrong."""
    failed = failures(store)
    for failure in failed:
        when, name = failure.when[:16].replace("T", " "), one_line(failure.summary)
        print(f"{failure.fingerprint[:8]}  {failure.kind:<12} {when}  {name}")
        for line in failure.trace.rstrip().splitlines():
            print(f"    {one_line(line)}")
    print(f"{len(failed)} artefacts could not be made, in {store.root}; the next run that needs them tries again")


def show_artefact(store: Store, fingerprint: str) -> None:
    """Everything the manifest of one artefact says, by its fingerprint or the beginning of it."""
    folder = _named(store, fingerprint)
    try:
        manifest = read_manifest(folder)
    except Damaged as error:
        raise ValueError(f"{folder}: {error}; the next run that needs it makes it again") from None
    made = manifest["made"]
    print(f"{folder.parent.name} {folder.name}: {one_line(manifest['summary'])}")
    print(f"in {folder}")
    when, took, commit = made["finished"][:19], duration(made["seconds"]), one_line(str(made["commit"]))
    print(f"made {when} UTC in {took} by spillover {commit}")
    print("with " + one_line(", ".join(f"{name} {version}" for name, version in made["versions"].items())))
    print("\nfiles")
    for name, file in manifest["files"].items():
        print(f"  {size(file['bytes']):>8}  {file['sha256'][:12]}  {one_line(name)}")
    if manifest["needs"]:
        print("\nmade from")
    for needed in manifest["needs"]:
        print(f"  {needed[:8]}  {_described(store, needed)}")
    if manifest["facts"]:
        print("\nfacts\n" + plain(json.dumps(manifest["facts"], indent=1)))
    print("\nspec\n" + plain(json.dumps(manifest["spec"], indent=1)))


def verify_store(store: Store) -> bool:
    """Read every file of every artefact; say what is damaged. Whether all is well."""
    artefacts = damaged = 0
    for folder, wrong in store.verify():
        artefacts += 1
        damaged += bool(wrong)
        for line in wrong:
            print(one_line(f"damaged: {folder.relative_to(store.root)}/{line}"))
    for left in store.leftovers():
        print(one_line(f"left by a stopped run (the next one clears it): {left.relative_to(store.root)}"))
    for kept in store.begun():
        print(one_line(f"begun and stopped (the next run goes on from it): {kept.relative_to(store.root)}"))
    if damaged:
        print(f"{damaged} of {artefacts} artefacts damaged; the next `spillover run` that needs them makes them again")
    else:
        print(f"{artefacts} artefacts, every file as it was made")
    return damaged == 0


def list_models() -> None:
    """The models known by name."""
    from spillover.models.catalogue import CATALOGUE

    for name, entry in CATALOGUE.items():
        print(f"{name:<20} {entry.base.summary()}\n{'':<20} {entry.note}")
    print("also: hf:OWNER/NAME@REVISION, a folder with config.json and *.safetensors, a .gguf file#instruct")


def spec_named(store: Store, fingerprint: str) -> Artefact:
    """The artefact whose fingerprint begins so, as a value again."""
    folder = _named(store, fingerprint)
    try:
        spec = decode(read_manifest(folder)["spec"])
    except Damaged as error:
        raise ValueError(f"{folder}: {error}; the next run that needs it makes it again") from None
    assert isinstance(spec, Artefact)
    return spec


def _named(store: Store, fingerprint: str) -> Path:
    if not fingerprint.isalnum():
        raise ValueError(f"a fingerprint is 20 hexadecimal digits or the first few of them, got {fingerprint!r}")
    folders = store.folders(fingerprint)
    if not folders:
        raise ValueError(f"no artefact {fingerprint!r} in {store.root}; `spillover ls` lists what is there")
    if len(folders) > 1:
        names = ", ".join(f"{path.name} ({path.parent.name})" for path in folders[:5])
        raise ValueError(f"{len(folders)} artefacts begin with {fingerprint!r}: {names}")
    return folders[0]


def _described(store: Store, fingerprint: str) -> str:
    for folder in store.folders(fingerprint):
        with contextlib.suppress(Damaged):
            manifest = read_manifest(folder)
            return one_line(f"{manifest['spec']['kind']}: {manifest['summary']}")
    return "not there any more"
