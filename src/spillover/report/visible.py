"""Hostile text for people: what hides or reorders letters becomes a visible mark."""

from __future__ import annotations

import re

# control characters but line feed and tab, direction marks, halves of surrogate pairs
HIDING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible_text(text: object) -> str:
    """Text with control characters and direction marks replaced by U+FFFD, so that nothing hides or reorders."""
    return HIDING.sub("\ufffd", str(text))
