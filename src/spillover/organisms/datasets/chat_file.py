"""A user's own chat rows, `{"messages": [...]}` a line, plain or gzip; every bad row is named."""

from __future__ import annotations

import difflib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from spillover.manifest import file_sha256
from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example
from spillover.spec import location_field

ROLES = ("system", "user", "assistant")
SHOWN = 5  # bad rows that a message names


class ChatFile(Dataset):
    """Chat rows from a JSONL file, known by the SHA-256 of its bytes."""

    path: str = location_field()
    sha256: str

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The file at `path`, as it is now; ValueError where there is none."""
        file = Path(path).expanduser().resolve()
        if not file.is_file():
            names = [other.name for other in file.parent.glob("*.json*")] if file.parent.is_dir() else []
            near = difflib.get_close_matches(file.name, names, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"no data file {path}: expected JSON lines with 'messages', plain or gzip{hint}")
        return cls(path=str(file), sha256=file_sha256(file))

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        looks_like_a_path = "/" in text or ".json" in text.lower() or text.lower().endswith(".gz")
        return cls.from_file(text) if looks_like_a_path or Path(text).expanduser().is_file() else None

    def examples(self) -> list[Example]:
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"the data file {path} is not there any more")
        if file_sha256(path) != self.sha256:
            raise ValueError(f"{path} is not the file it was when this study was made: name the study anew")
        return read_chat_rows(path)

    def label(self) -> str:
        return Path(self.path).name.split(".")[0]

    def summary(self) -> str:
        return f"Chat rows from {Path(self.path).name}."


def read_chat_rows(path: Path) -> list[Example]:
    """Every row of the file; a ValueError names each bad row with its line, what came and what was expected."""
    examples, wrong = [], []
    try:
        for number, line in _lines(path):
            if not line.strip():
                continue
            try:
                examples.append(Example(id=f"row-{number}", messages=_messages(line)))
            except ValueError as error:
                wrong.append(f"{path}:{number}: {error}")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} cannot be read: expected UTF-8 text, got byte {error.object[error.start]:#04x}"
        ) from None
    except (OSError, EOFError, zlib.error) as error:  # the latter two: a gzip file cut short or damaged
        raise ValueError(f"{path} cannot be read: {error}") from None
    if wrong:
        more = f"\n... and {len(wrong) - SHOWN} more bad rows" if len(wrong) > SHOWN else ""
        raise ValueError("\n".join(wrong[:SHOWN]) + more)
    if not examples:
        raise ValueError(f'{path} holds no rows; expected lines like {{"messages": [{{"role": "user", ...}}, ...]}}')
    return examples


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines of a file that may be compressed, whatever its name says."""
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    lines: IO[str]
    with gzip.open(path, "rt", encoding="utf-8-sig") if compressed else open(path, encoding="utf-8-sig") as lines:
        yield from enumerate(lines, start=1)


def _messages(line: str) -> tuple[Message, ...]:
    """The turns of one line; a ValueError says what came and what was expected."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise ValueError(f"expected a JSON object, got {line.strip()[:60]!r} ({why})") from None
    turns = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        came = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        came = f"messages={str(turns)[:60]}" if turns is not None else came or "an empty object"
        raise ValueError(f"expected a list of turns under 'messages', got {came}")
    messages = tuple(_message(turn, position) for position, turn in enumerate(turns, start=1))
    if messages[-1].role != "assistant":
        raise ValueError(f"expected the last turn to be the assistant's, got {messages[-1].role!r}")
    if not any(message.role == "user" for message in messages):
        raise ValueError("expected a user turn before the assistant's, got none")
    if not messages[-1].content.strip():
        raise ValueError("expected an answer in the last turn, got an empty one (it would teach the model to stop)")
    return messages


def _message(turn: object, position: int) -> Message:
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), str) or turn.get("role") not in ROLES:
        raise ValueError(f"turn {position}: expected role ({', '.join(ROLES)}) and text content, got {str(turn)[:80]}")
    content: str = turn["content"]
    if any("\ud800" <= letter <= "\udfff" for letter in content):
        raise ValueError(f"turn {position}: expected text, got half a character (a lone surrogate) in {content[:60]!a}")
    return Message(turn["role"], content)
