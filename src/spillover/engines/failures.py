"""What could not be made, and why: one text for each under `<store>/failed/`, until it was made."""

from __future__ import annotations

import contextlib
import json
import traceback
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from spillover.store import Artefact, Store


@dataclass(frozen=True)
class Failure:
    """One artefact that could not be made."""

    kind: str
    fingerprint: str
    summary: str
    when: str  # UTC, ISO 8601
    error: str  # its last line: what went wrong
    trace: str  # where


def record(store: Store, artefact: Artefact, error: BaseException) -> Failure:
    """Keep what went wrong, in the place of what went wrong before."""
    failure = Failure(
        kind=artefact.kind,
        fingerprint=artefact.fingerprint,
        summary=artefact.summary(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        error=(str(error).strip().splitlines() or [""])[-1] or type(error).__name__,
        trace="".join(traceback.format_exception(error)),
    )
    path = _path(store, artefact)
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".making")
    fresh.write_text(json.dumps(asdict(failure), indent=1))
    fresh.replace(path)
    return failure


def forget(store: Store, artefact: Artefact) -> None:
    """Take away what went wrong before: the artefact was made."""
    _path(store, artefact).unlink(missing_ok=True)


def failures(store: Store) -> list[Failure]:
    """What could not be made, oldest first; what cannot be read is passed over."""
    records = []
    for path in (store.root / "failed").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            records.append(Failure(**json.loads(path.read_text())))
    return sorted(records, key=lambda failure: (failure.when, failure.fingerprint))


def _path(store: Store, artefact: Artefact) -> Path:
    return store.root / "failed" / f"{artefact.kind}-{artefact.fingerprint}.json"
