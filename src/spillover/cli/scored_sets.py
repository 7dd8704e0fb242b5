"""Judged answers as a user names them: by a fingerprint in the store, or by a file. Knows no analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spillover.interactive.text import one_line
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.manifest import Damaged, read_manifest
from spillover.spec import decode, kinds_of
from spillover.store import Store


def scored_sets(words: Sequence[str], store: Store) -> list[ScoredAnswers]:
    """What each word names: digits of a fingerprint, a file, or `JUDGE=FILE`."""
    return [_scored(word, store) for word in words]


def _scored(word: str, store: Store) -> ScoredAnswers:
    judge, equals, path = word.partition("=")
    if equals and not Path(word).expanduser().exists():
        return JudgedFile.from_file(path, judge)
    if Path(word).expanduser().is_file() or "." in word or "/" in word:
        return JudgedFile.from_file(word)
    found = [
        path
        for kind in kinds_of(ScoredAnswers)
        for path in sorted((store.root / kind).glob(f"{word}*"))
        if path.is_dir()
    ]
    if not word.isalnum() or not found:
        raise ValueError(
            f"no judged answers {word!r} in {store.root}, and no such file; `spillover ls Judgements` lists those that "
            f"are there, or judge a file with `spillover judge`"
        )
    if len(found) > 1:
        names = ", ".join(f"{path.name} ({path.parent.name})" for path in found[:5])
        raise ValueError(f"{len(found)} sets of judged answers begin with {word!r}: {names}")
    try:
        spec = decode(read_manifest(found[0])["spec"])
    except Damaged as error:
        raise ValueError(f"{one_line(str(found[0]))}: {error}") from None
    assert isinstance(spec, ScoredAnswers)
    return spec
