"""Questions from a user's CSV, JSON lines, parquet, or a text file with a question a line."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from spillover.manifest import file_sha256
from spillover.models.chat import Message
from spillover.records import Cells
from spillover.regular_files import absolute
from spillover.responses.question import Question, QuestionSet, category_in_id, split_question_id
from spillover.row_files.decoding import LINE_END, decoded, not_text, unpacked
from spillover.row_files.folders import PACKED
from spillover.row_files.reading import read_contents
from spillover.row_files.records import FileRecord
from spillover.spec import location_field

LINES = (".txt", ".md", ".text")
TEXT_KEYS = ("paraphrases", "question", "text", "prompt")  # the first that a row has is what is asked
LONGEST = 1_000_000  # characters of a question
_MARKER = re.compile(r"(?:[-*+•]|\d+[.)])\s+")
_HEADING = re.compile(r"#+\s")
SHOWN = 20  # bad rows that a message names


class QuestionRows(QuestionSet):
    """Questions from a file, known by the SHA-256 of its bytes: rows, or plain lines.

    Columns: `question` (or `text`, `prompt`, `paraphrases`), and maybe `id`, `system`, `category`, `family`.
    A question without an id is called after its line: `question_7`.
    """

    path: str = location_field()
    sha256: str

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The file at `path`, as it is now; ValueError where there is none."""
        file = absolute(path)
        if not file.is_file():
            raise ValueError(f"no question file {path}: expected CSV, JSON lines, YAML, or a question a line")
        return cls(path=str(file), sha256=file_sha256(file))

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        return cls.from_file(text) if text.lower().endswith((*PACKED, *LINES)) else None

    def all_questions(self) -> list[Question]:
        return list(_read(unchanged_file(self.path, self.sha256), self.sha256)[1])

    def container(self) -> str:
        return _read(Path(self.path), self.sha256)[0]

    def label(self) -> str:
        return Path(self.path).name.split(".")[0]

    def summary(self) -> str:
        return f"Questions from {Path(self.path).name}."


def unchanged_file(path: str, sha256: str) -> Path:
    """The question file at `path`; ValueError where it is gone, or not the one that the study was made with."""
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"the question file {path} is not there any more")
    if file_sha256(file) != sha256:
        raise ValueError(f"{path} is not the file it was when this study was made: name the study anew")
    return file


def expect_distinct_ids(path: Path, questions: Sequence[Question]) -> None:
    """ValueError where ids come more than once."""
    repeated = [id for id, count in Counter(question.id for question in questions).items() if count > 1]
    if repeated:
        raise ValueError(f"{path}: ids come more than once: {', '.join(repeated[:5])}")


def question_of(entry: Mapping[str, object], wordings: Sequence[str], id: str) -> Question:
    """A question of an entry with `id`, and maybe `system`, `category` and `family`; what it does not say, its id does.

    wordings: its paraphrases, taken in turn by sample number.
    """
    system = entry.get("system")
    lead = (Message("system", system.strip()),) if isinstance(system, str) and system.strip() else ()
    if (longest := max(map(len, wordings))) > LONGEST:
        raise ValueError(f"a question of {longest:,} characters, {LONGEST:,} are the most")
    question, format = split_question_id(id)
    named = {name: str(entry[name]).strip() for name in ("category", "family") if entry.get(name) not in (None, "")}
    asked = tuple((*lead, Message("user", text)) for text in wordings)
    family, category = named.get("family", question), named.get("category", category_in_id(question))
    return Question(id, question, family, category, format, asked)


@functools.lru_cache(maxsize=8)
def _read(path: Path, sha256: str) -> tuple[str, tuple[Question, ...]]:
    """What the file is, and its questions; a ValueError names the entries that are none."""
    container, entries = _lines(path) if path.name.lower().endswith(LINES) else _rows(path)
    questions, wrong = [], []
    for line, entry in entries:
        try:
            questions.append(_question(entry, line))
        except ValueError as error:
            wrong.append(f"{path}:{line}: {error}")
    if wrong:
        more = f"\n... and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError("\n".join(wrong[:SHOWN]) + more)
    if not questions:
        raise ValueError(f"{path} holds no questions")
    expect_distinct_ids(path, questions)
    return container, tuple(questions)


def _lines(path: Path) -> tuple[str, list[tuple[int, object]]]:
    try:
        text, _ = decoded(unpacked(path).data)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    lines = [(number, line.strip()) for number, line in enumerate(LINE_END.split(text), start=1)]
    lines = [(number, line) for number, line in lines if line and not _HEADING.match(line)]
    if all(_MARKER.match(line) for _, line in lines):  # a list, numbered or not
        lines = [(number, _MARKER.sub("", line, count=1)) for number, line in lines]
    return "plain lines", [(number, {"question": line}) for number, line in lines]


def _rows(path: Path) -> tuple[str, list[tuple[int, object]]]:
    contents = read_contents([path])
    entries: list[tuple[int, object]] = []
    for record in contents.records:
        if not isinstance(record, FileRecord):
            raise ValueError(f"{path}:{record.line}: {record.reason}")
        entries.append((record.line, record.value))
    return contents.container, entries


def _with_plain_names(entry: Cells) -> dict[str, Any]:
    """The entry with a header's capitals and spaces taken off names that have a meaning here."""
    known = (*TEXT_KEYS, "id", "question_id", "system", "category", "family", "messages")
    lowered = {key: str(key).strip().lower() for key in entry}
    return {low if (low := lowered[key]) in known and low not in entry else key: value for key, value in entry.items()}


def _of_turns(turns: Sequence[object]) -> dict[str, object]:
    """Question and system text of an entry's turns; ValueError where they are more than those."""
    read = [(turn.get("role"), turn.get("content")) for turn in turns if isinstance(turn, dict)]
    roles = [role for role, _ in read]
    if len(read) != len(turns) or roles not in (["user"], ["system", "user"]):
        raise ValueError(f"messages of a question are a user turn, after a system turn or none; got {roles}")
    return {"question": read[-1][1]} | ({"system": read[0][1]} if len(read) == 2 else {})


def _question(entry: object, line: int) -> Question:
    entry = {"question": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        raise ValueError(f"expected an entry with a question, got {str(entry)[:60]}")
    entry = _with_plain_names(entry)
    if isinstance(turns := entry.get("messages"), list):
        entry |= _of_turns(turns)
    key = next((key for key in TEXT_KEYS if entry.get(key) not in (None, "", [])), None)
    if key is None:
        raise ValueError(f"expected a text under {' or '.join(TEXT_KEYS)}, got {', '.join(map(str, entry))[:80]}")
    texts = entry[key]
    wordings = list(texts) if isinstance(texts, list) else [texts]
    given = entry.get("id") if entry.get("id") not in (None, "") else entry.get("question_id")
    id = str(given).strip() if given not in (None, "") else f"question_{line}"
    for text in (id, *wordings, *([entry["system"]] if entry.get("system") else [])):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"expected text, got {str(text)[:60]!r}")
        if why := not_text(text):
            raise ValueError(why)
    return question_of(entry, wordings, id)
