"""What a service says it serves under a name, kept in a journal: the same name may stand for another model tomorrow."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping

from spillover.api_client.journal import Journal
from spillover.api_client.pace import back_off
from spillover.api_client.service import RetryableError, Service, ServiceAddress, ServiceDown

NOTE = "served"  # its name in a journal
TRIES = 3
LONGEST = 300  # characters of a name that are kept
PATIENCE = 5.0  # seconds that a list of models may take

ServedModel = dict[str, str]  # id, root and parent, as far as the service tells; the parent's root as parent_root


def served_model(listing: object, name: str) -> ServedModel | None:
    """What a service's list of models says of the one called `name`; None where it is not in it."""
    data = listing.get("data") if isinstance(listing, Mapping) else None
    entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
    by_id = {str(entry["id"]): entry for entry in reversed(entries) if isinstance(entry.get("id"), str)}
    if name not in by_id:
        return None
    told = {key: _text(by_id[name].get(key)) for key in ("id", "root", "parent")}
    parent = by_id.get(told["parent"])
    told["parent_root"] = _text(parent.get("root")) if parent is not None else ""
    return {key: text for key, text in told.items() if text}


def in_words(model: Mapping[str, object]) -> str:
    """A served model for people: `tuned from /models/a (over base from /models/b)`."""
    words = str(model.get("id"))
    if model.get("root"):
        words += f" from {model['root']}"
    if model.get("parent"):
        words += f" (over {model['parent']}{' from ' + str(model['parent_root']) if model.get('parent_root') else ''})"
    return words


async def expect_same_model(service: Service, journal: Journal, name: str, moved: bool, kept: str) -> None:
    """Keep what the service says it serves as `name`; ServiceDown where the journal's `kept` are of another model.

    moved: it is called otherwise, and is the same model: what is said now takes the place of what was. Nothing is kept
    of a service that does not tell; a warning where it told before.
    """
    before = journal.notes.get(NOTE)
    now = await _asked(service, name)
    if now is None:
        if before is not None:
            warnings.warn(
                f"{service.address.url} does not say what it serves as {name} now; the {kept} kept so far are of "
                f"{in_words(before)}",
                stacklevel=2,
            )
        return
    if before == now:
        return
    if before is not None and not moved:
        raise ServiceDown(_changed(service.address, name, before, now, kept))
    journal.note(NOTE, now)


async def expect_unchanged(address: ServiceAddress, journal: Journal, name: str, moved: bool, kept: str) -> None:
    """As `expect_same_model`, where nothing is to be asked: a service that cannot be reached is no fault.

    Only of services that tell a model's root: elsewhere a name is all that there is.
    """
    before = journal.notes.get(NOTE)
    if before is None or "root" not in before or moved:
        return
    async with Service(address, 1) as service:
        now = await _asked(service, name, tries=1)
    if now is not None and now != before:
        raise ServiceDown(_changed(address, name, before, now, kept))


async def _asked(service: Service, name: str, tries: int = TRIES) -> ServedModel | None:
    for attempt in range(1, tries + 1):
        try:
            return served_model(await service.models(PATIENCE), name)
        except RetryableError:
            if attempt < tries:
                await asyncio.sleep(back_off(attempt, 0.1))
    return None


def _changed(
    address: ServiceAddress, name: str, before: Mapping[str, object], now: Mapping[str, object], kept: str
) -> str:
    return (
        f"{address.url} serves another model as {name} than before: {in_words(now)}; the {kept} kept so far are of "
        f"{in_words(before)}. If it is another, tell them apart (served=WORD, or another name at the server); if it is "
        f"the same one under another path, say moved=true once"
    )


def _text(value: object) -> str:
    return value[:LONGEST].encode("utf-8", "replace").decode() if isinstance(value, str) else ""
