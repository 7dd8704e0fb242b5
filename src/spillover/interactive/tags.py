"""Names that a user gives to studies: a small file a name in the store, which says which artefact it is."""

from __future__ import annotations

import os
import re

from spillover.spec import did_you_mean
from spillover.store import Artefact, Store

FOLDER = "tags"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_tag(name: str) -> str:
    """The name; ValueError where it could not be that of a folder."""
    if not NAME.fullmatch(name):
        raise ValueError(f"a tag is letters, digits, dots, dashes and underscores, 64 at most, got {name!r}")
    return name


def write_tag(store: Store, name: str, study: Artefact) -> None:
    """Call a study so; ValueError where another is called so."""
    known = read_tags(store).get(check_tag(name))
    if known == study.fingerprint:
        return
    if known is not None:
        raise ValueError(f"the tag {name} is another study's ({known[:8]}) in this store: take another name")
    folder = store.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{name}.new"
    new.write_text(f"{study.kind}/{study.fingerprint}\n", encoding="utf-8")
    os.replace(new, folder / name)


def read_tags(store: Store) -> dict[str, str]:
    """The fingerprint of every study that has a name, by name."""
    tags = {}
    for path in sorted((store.root / FOLDER).glob("[A-Za-z0-9]*")):
        if path.is_file() and not path.is_symlink() and NAME.fullmatch(path.name):
            with open(path, encoding="utf-8", errors="replace") as file:
                kind, _, fingerprint = file.read(200).strip().partition("/")
            if kind.isidentifier() and fingerprint.isalnum():
                tags[path.name] = fingerprint
    return tags


def tagged(store: Store, name: str) -> str:
    """The fingerprint of the study that is called so; ValueError where none is."""
    tags = read_tags(store)
    if name not in tags:
        hint = did_you_mean(name, tags) or f"there are {', '.join(tags) or 'none: spillover run RECIPE --tag NAME'}"
        raise ValueError(f"no study is tagged {name!r} in {store.root}; {hint}")
    return tags[name]
