"""`spillover report`: the page of a study that was made, or of two held against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spillover.cli import listing
from spillover.cli.running import make_study
from spillover.manifest import MANIFEST, Damaged, read_manifest
from spillover.spec import decode, walk
from spillover.store import Artefact, Store

if TYPE_CHECKING:
    from spillover.analyses.effect import Effect


def make_report(first: str, second: str | None, root: Path, out: Path | None) -> None:
    """Copy the page of a study to `out`; of two, make the page that pairs them by question."""
    from spillover.analyses.comparison import Comparison
    from spillover.report.report import Report

    store = listing.existing(root)
    studies = [_study(word, store) for word in (first, second) if word is not None]
    if len(studies) == 1:
        make_study(studies[0], root, out)
        return
    effects = [_effect(study, word) for study, word in zip(studies, (first, second), strict=True)]
    names = [study.title if isinstance(study, Report) else study.fingerprint[:8] for study in studies]
    if names[0] == names[1]:
        names = [f"{name} ({study.fingerprint[:8]})" for name, study in zip(names, studies, strict=True)]
    comparison = Comparison(first=effects[0], second=effects[1], names=(names[0], names[1]))
    about = "Two studies paired by the questions that both asked."
    make_study(Report(title=f"{names[1]} against {names[0]}", about=about, analyses=(comparison,)), root, out)


def _study(word: str, store: Store) -> Artefact:
    """The study that a word names: a fingerprint in the store, or a folder that a report was copied to."""
    folder = Path(word).expanduser()
    if not (folder / MANIFEST).is_file():
        return listing.spec_named(store, word)
    try:
        spec = decode(read_manifest(folder)["spec"])
    except Damaged as error:
        raise ValueError(f"{folder}: {error}") from None
    assert isinstance(spec, Artefact)
    return spec


def _effect(study: Artefact, word: str | None) -> Effect:
    from spillover.analyses.effect import Effect

    for part in walk(study):
        if isinstance(part, Effect):
            return part
    raise ValueError(f"{word} has no Effect to compare: name a study with one, such as the quickstart's")
