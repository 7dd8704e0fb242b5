"""What a service's message says: its text, whole or in parts, and the thought that stands beside it."""

from __future__ import annotations

from collections.abc import Mapping

from spillover.models.thoughts import KEYS, PART_TYPES

TEXTS = ("text", "output_text")


def spoken(message: Mapping[str, object]) -> tuple[object, str]:
    """The text of a chat completion's message (what stands there in its place, where it has none) and its thought."""
    content = message.get("content")
    thoughts = [text for key in KEYS if isinstance(text := message.get(key), str)]
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        texts = [text for part in parts if part.get("type") in TEXTS and isinstance(text := part.get("text"), str)]
        for part in parts:
            kind = part.get("type")
            if kind in PART_TYPES:
                thoughts += [text for text in (part.get(str(kind)), part.get("text")) if isinstance(text, str)]
        content = "".join(texts) if texts else None
    return content, next((thought.strip() for thought in thoughts if thought.strip()), "")
