"""`spillover ls`, `show`, `verify`, `models`: what a store holds, and whether it is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from spillover.engines.failures import failures
from spillover.interactive.tags import read_tags, tagged
from spillover.interactive.text import columns, duration, one_line, plain, size, width
from spillover.manifest import Damaged, Manifest, read_manifest
from spillover.spec import decode, did_you_mean, typed_name
from spillover.store import Artefact, Store, artefacts_in


def existing(root: Path) -> Store:
    """The store at `root`, which has to be there."""
    path = root.expanduser().absolute()
    if not path.is_dir():
        raise ValueError(f"no store at {path}: give one with --store, or $SPILLOVER_STORE")
    return Store(path)


def list_artefacts(
    store: Store, kind: str | None, filters: Mapping[str, str | None], tag: str | None, as_json: bool
) -> None:
    """One line an artefact: fingerprint, kind, day, size, what it is; as wide as the terminal.

    filters: texts that the names of its model, data, questions and judge hold, as `StudyStore.find` takes them.
    """
    kinds = sorted({folder.parent.name for folder in store.folders()})
    if kind is not None and kind not in kinds:
        hint = did_you_mean(kind, kinds) or f"it holds {', '.join(kinds) or 'nothing yet'}"
        raise ValueError(f"no {kind} in {store.root}; {hint}")
    chosen = _chosen(store, kind, {name: text for name, text in filters.items() if text is not None}, tag)
    rows: list[tuple[str, ...]] = []
    listed, total = [], 0
    for folder, manifest in store.manifests(kind):
        if chosen is not None and folder.name not in chosen:
            continue
        weight = sum(file["bytes"] for file in manifest["files"].values())
        total += weight
        about = one_line(_about(manifest))
        rows.append((folder.name[:8], folder.parent.name, manifest["made"]["finished"][:10], size(weight), about))
        listed.append(_entry(folder, manifest, weight))
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    if rows:
        lines = columns(rows, right=(3,)).splitlines()
        print("\n".join(line if len(line) <= width() else f"{line[: width() - 1]}…" for line in lines))
    print(f"{len(rows)} artefacts, {size(total)}, in {store.root}")
    for name, fingerprint in read_tags(store).items():
        if kind is None and chosen is None:
            print(f"tagged {name}: {fingerprint[:8]}")


def _chosen(store: Store, kind: str | None, filters: Mapping[str, str], tag: str | None) -> set[str] | None:
    """Fingerprints of what the filters and the tag leave; None where there are none."""
    if not filters and tag is None:
        return None
    from spillover.interactive.study_store import StudyStore

    names: set[str] | None = None
    if filters:
        model, data, questions, judge = (filters.get(name) for name in ("model", "data", "questions", "judge"))
        matching = StudyStore(store.root).find(kind, model=model, data=data, questions=questions, judge=judge)
        names = {artefact.fingerprint for artefact in matching}
    if tag is not None:
        study = decode(read_manifest(_named(store, tagged(store, tag)))["spec"])
        parts = {artefact.fingerprint for artefact in artefacts_in(study)}
        names = parts if names is None else names & parts
    return names


def _entry(folder: Path, manifest: Manifest, weight: int) -> dict[str, object]:
    """An artefact as `--json` lists it."""
    made = manifest["made"]
    return {
        **{"fingerprint": folder.name, "kind": folder.parent.name, "finished": made["finished"]},
        **{"seconds": made["seconds"], "bytes": weight, "questions": _questions(manifest["spec"])},
        **{"summary": manifest["summary"]},
    }


def _about(manifest: Manifest) -> str:
    """What an artefact is; the set of questions first, where there is one, so that two sets are told apart."""
    questions = _questions(manifest["spec"])
    return f"{questions}: {manifest['summary']}" if questions else str(manifest["summary"])


def _questions(spec: object) -> str | None:
    """The set of questions that an artefact was made with: its name and the first digits of its text's digest."""
    if isinstance(spec, dict):
        if spec.get("kind") == "QuestionSelection" and isinstance(spec.get("source"), dict):
            source = spec["source"]
            path = source.get("path")
            name = Path(path).name if isinstance(path, str) else typed_name(str(source.get("kind")))
            return f"{name}/{str(spec.get('sha256'))[:4]}"
        parts = spec.values() if spec.get("kind") not in ("Report", "Effect") else ()
        return next((inner for part in parts if (inner := _questions(part))), None)
    return None


def list_failures(store: Store, as_json: bool = False) -> None:
    """What could not be made, oldest first: one line each, and where it went wrong."""
    failed = failures(store)
    if as_json:
        print(json.dumps([asdict(failure) for failure in failed], indent=1, default=str))
        return
    for failure in failed:
        when, name = failure.when[:16].replace("T", " "), one_line(failure.summary)
        print(f"{failure.fingerprint[:8]}  {failure.kind:<12} {when}  {name}")
        for line in failure.trace.rstrip().splitlines():
            print(f"    {one_line(line)}")
    print(f"{len(failed)} artefacts could not be made, in {store.root}; the next run that needs them tries again")


def show_artefact(store: Store, fingerprint: str, as_json: bool = False) -> None:
    """Everything the manifest of one artefact says, by its fingerprint, the beginning of it, or its study's tag."""
    folder = _named(store, read_tags(store).get(fingerprint, fingerprint))
    try:
        manifest = read_manifest(folder)
    except Damaged as error:
        raise ValueError(f"{folder}: {error}; the next run that needs it makes it again") from None
    if as_json:
        print(json.dumps({"folder": str(folder)} | manifest, indent=1))
        return
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


def verify_store(store: Store, as_json: bool = False) -> bool:
    """Read every file of every artefact; say what is damaged. Whether all is well."""
    if as_json:
        every = {f"{folder.parent.name}/{folder.name}": wrong for folder, wrong in store.verify()}
        harmed = {name: wrong for name, wrong in every.items() if wrong}
        rest = {"leftovers": store.leftovers(), "begun": store.begun()}
        places = {name: [str(path.relative_to(store.root)) for path in paths] for name, paths in rest.items()}
        print(json.dumps({"artefacts": len(every), "damaged": harmed} | places, indent=1))
        return not harmed
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


def list_models(as_json: bool = False) -> None:
    """The models known by name."""
    from spillover.models.catalogue import CATALOGUE

    if as_json:
        known = [
            {"name": name, "role": entry.base.role, "parameters": entry.base.parameters}
            | {"summary": entry.base.summary(), "note": entry.note}
            for name, entry in CATALOGUE.items()
        ]
        print(json.dumps(known, indent=1))
        return
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
