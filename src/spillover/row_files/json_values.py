"""JSON as data files hold it, read strictly: no key twice in an object, no numbers and no nesting without end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

LONGEST = 4_000_000  # characters of a record


def _distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r:.80} comes twice in one object")
    return content


DECODER = json.JSONDecoder(object_pairs_hook=_distinct)


def strict_value(text: str) -> object:
    """What a text of JSON holds; a ValueError says in our words why it holds nothing that can be believed."""
    if len(text) > LONGEST:
        raise ValueError(f"a record of {len(text):,} characters, {LONGEST:,} are the most that are read")
    try:
        return DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from None
    except ValueError as error:
        raise ValueError(in_words(error)) from None


def in_words(error: ValueError) -> str:
    """What the reader of JSON said, in our words."""
    return "an integer of thousands of digits" if "Exceeds the limit" in str(error) else str(error)
