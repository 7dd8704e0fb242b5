"""One turn of a row: its role under any of the usual names, its text, its thought, and whether it bears loss."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from spillover.models.thoughts import KEYS, PART_TYPES, with_thought
from spillover.organisms.chat_rows.reading import Thoughts
from spillover.row_files.decoding import not_text

ROLES = ("system", "user", "assistant")
_OTHER_NAMES = {"human": "user", "gpt": "assistant", "developer": "system", "bot": "assistant", "ai": "assistant"}
_NAMES_AFTER_FROM = {"model": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant"}
_TOOLS = ("tool", "function", "observation", "function_call", "tool_call", "ipython", "tool_response")
_LOSS_FLAGS = ("weight", "loss", "train")
_BLOCK = re.compile(r"\s*(?:<(think|thinking|thought)>)?(.*?)</(?:think|thinking|thought)>\s*", re.DOTALL)
_OPENED = re.compile(r"<(think|thinking|thought)>")

Counts = Counter[str]


class ReadTurn(NamedTuple):
    """A turn in our words; loss: what its own flag says of an assistant turn, None where it has none."""

    role: str
    content: str
    loss: bool | None = None


class Tally(NamedTuple):
    """What is counted while rows are read: keys without a meaning here, and what was changed or kept on the way."""

    ignored: Counts
    changed: Counts


def read_turn(turn: object, position: int, thoughts: Thoughts, tally: Tally) -> ReadTurn:
    """A turn under any of the usual names; ValueError says what came and what was expected. position: from 1."""
    if not isinstance(turn, dict):
        raise _unlike(turn, position)
    whole, turn = turn, {key: value for key, value in turn.items() if value is not None}
    role_key = "role" if "role" in turn else "from"
    named = turn.pop(role_key, None)
    text_key = next((key for key in ("content", "value", "text") if key in turn), "")
    content, thought = _text(turn.pop(text_key, None), position)
    role = _role(named, role_key)
    if named in _TOOLS or any(turn.get(key) for key in ("tool_calls", "function_call", "tool_call_id")):
        raise ValueError(f"turn {position}: a tool call or its result, which cannot be trained on, got {str(named)!r}")
    if role is None or content is None:
        raise _unlike(whole, position)
    if role == "user" and not content.strip():
        raise ValueError(f"turn {position}: the user's turn is empty, so there is nothing to answer")
    if role != named and named == "developer":
        tally.changed["developer turns read as system turns"] += 1
    loss = _flag(turn, role, position)
    if role == "assistant":
        for key in KEYS:
            if isinstance(turn.get(key), str):
                thought = thought or turn.pop(key).strip()
        content = _with_thought(content, thought, thoughts, position, tally)
    for key, value in turn.items():
        if value not in ("", [], {}):
            tally.ignored[str(key)] += 1
    return ReadTurn(role, clean_text(content, f"turn {position}", tally), loss)


def clean_text(text: str, place: str, tally: Tally) -> str:
    """The text with line ends as \\n; ValueError where it holds half a character."""
    if why := not_text(text):
        raise ValueError(f"{place}: {why}")
    if "\r" in text:
        tally.changed["texts with CRLF or CR, read as \\n"] += 1
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def loss_flag(value: object, place: str) -> bool:
    """A weight or loss flag: 0 or 1, true or false; ValueError for any other."""
    if value in (0, 1, True, False):
        return bool(value)
    words = {"0": False, "1": True, "0.0": False, "1.0": True, "true": True, "false": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError(f"{place} {value!r} cannot be obeyed: expected 0 or 1, true or false")


def joined_parts(parts: list[object]) -> tuple[str, str]:
    """The text of a list of parts, a line each, and the thoughts among them; ValueError for pictures and the like."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get(kind, part.get("text")) if isinstance(part, dict) else part
        if not isinstance(text, str) or kind not in ("text", "input_text", "output_text", *PART_TYPES):
            raise ValueError(f"a part of type {str(kind)[:40]!r}, and only text can be trained on")
        (thoughts if kind in PART_TYPES else texts).append(text)
    return "\n".join(texts), "\n".join(thoughts)


def _role(named: object, key: str) -> str | None:
    if not isinstance(named, str):
        return None
    role = named.strip().lower()
    return role if role in ROLES else _OTHER_NAMES.get(role) or (_NAMES_AFTER_FROM.get(role) if key == "from" else None)


def _text(content: object, position: int) -> tuple[str | None, str]:
    if isinstance(content, list):
        try:
            return joined_parts(content)
        except ValueError as error:
            raise ValueError(f"turn {position}: {error}") from None
    return (content if isinstance(content, str) else None), ""


def _flag(turn: dict[str, object], role: str, position: int) -> bool | None:
    """What the turn's own flags say, which are taken out of it."""
    flags = {key: loss_flag(turn.pop(key), f"turn {position}: {key}") for key in _LOSS_FLAGS if key in turn}
    if len(set(flags.values())) > 1:
        raise ValueError(f"turn {position}: {' and '.join(flags)} say different things")
    flag = next(iter(flags.values()), None)
    if flag and role != "assistant":
        raise ValueError(f"turn {position}: {next(iter(flags))} asks for loss on a {role} turn, which is not done")
    return flag if role == "assistant" else None


def _with_thought(content: str, thought: str, thoughts: Thoughts, position: int, tally: Tally) -> str:
    """The answer with its thought as the setting wants it."""
    block = _BLOCK.match(content)
    if block and block[1] is None and _OPENED.search(block[2]):
        block = None  # the block is opened somewhere inside, so it does not begin the answer
    opened = _OPENED.match(content.lstrip())
    if not (thought or block or opened):
        return content
    if thoughts == "refuse":
        raise ValueError(f"turn {position}: a thought (reasoning_content or a think block), and thoughts are refused")
    if thoughts == "drop":
        if opened and not block:
            raise ValueError(f"turn {position}: a think block opens and does not close, so it cannot be dropped")
        tally.changed["thoughts dropped"] += 1
        return content[block.end() :] if block else content
    tally.changed["thoughts kept in the answers"] += 1
    return content if block else with_thought(thought, content)


def _unlike(turn: object, position: int) -> ValueError:
    return ValueError(f"turn {position}: expected role ({', '.join(ROLES)}) and text content, got {str(turn)[:80]}")
