"""Question files in the field's YAML format: `id`, `paraphrases`, and maybe `system`, `category`, `family`."""

import difflib
import functools
import re
from pathlib import Path
from typing import Self

from spillover.manifest import file_sha256
from spillover.regular_files import absolute
from spillover.responses.question import Question, QuestionSet
from spillover.responses.questions.question_rows import (
    LINES,
    TEXT_KEYS,
    expect_distinct_ids,
    question_of,
    unchanged_file,
)
from spillover.row_files.decoding import decoded, unpacked
from spillover.row_files.folders import PACKED
from spillover.row_files.yaml_text import yaml_value
from spillover.spec import location_field


class YamlFile(QuestionSet):
    """Questions from a YAML file, known by the SHA-256 of its bytes; the answer format is read off each id's ending."""

    path: str = location_field()
    sha256: str

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The file at `path`, as it is now."""
        file = absolute(path)
        if not file.is_file():
            near = difflib.get_close_matches(file.name, [other.name for other in file.parent.glob("*.y*ml")], n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"no question file {path}: expected YAML with 'id' and 'paraphrases'{hint}")
        return cls(path=str(file), sha256=file_sha256(file))

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        if text.lower().endswith((*PACKED, *LINES)):  # `QuestionRows`
            return None
        path = Path(text).expanduser()
        looks_like_a_path = path.suffix.lower() in (".yaml", ".yml") or "/" in text
        return cls.from_file(text) if looks_like_a_path or path.is_file() else None

    def all_questions(self) -> list[Question]:
        return list(_read(unchanged_file(self.path, self.sha256), self.sha256))

    def container(self) -> str:
        return "YAML"

    def label(self) -> str:
        return Path(self.path).stem

    def summary(self) -> str:
        return f"Questions from {Path(self.path).name}."


@functools.lru_cache(maxsize=8)
def _read(path: Path, sha256: str) -> tuple[Question, ...]:
    try:
        rows = yaml_value(decoded(unpacked(path).data)[0])
    except ValueError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    if isinstance(rows, dict) and len(rows) == 1 and isinstance(next(iter(rows.values())), list):  # questions: [...]
        rows = next(iter(rows.values()))
    if not isinstance(rows, list) or not rows:
        came = "an empty one" if rows == [] else "nothing" if rows is None else type(rows).__name__
        raise ValueError(f"{path}: expected a list of questions, got {came}")
    questions = [
        _question(_entry(row, number), f"{path}, question {number}") for number, row in enumerate(rows, start=1)
    ]
    expect_distinct_ids(path, questions)
    return tuple(questions)


def _entry(row: object, number: int) -> object:
    """An entry in full: a text alone is a question called by its number, one text is a list of one."""
    row = {"id": f"question_{number}", "paraphrases": row} if isinstance(row, str) else row
    if not isinstance(row, dict):
        return row
    key = next((key for key in TEXT_KEYS if row.get(key) not in (None, "", [])), "")
    texts = row.get(key)
    return row | ({"paraphrases": [texts]} if isinstance(texts, str) else {"paraphrases": texts} if texts else {})


def _question(row: object, place: str) -> Question:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"].strip():
        raise ValueError(f"{place}: expected an entry with an id, got {_shown(row)}")
    place = f"{place} ({row['id']})"
    wordings = row.get("paraphrases")
    if not isinstance(wordings, list) or not wordings or not all(isinstance(text, str) for text in wordings):
        raise ValueError(f"{place}: expected texts under 'paraphrases', got {_shown(wordings)}")
    system = row.get("system")
    if not isinstance(system, str | None):
        raise ValueError(f"{place}: expected a text under 'system', got {_shown(system)}")
    for text in (row["id"], *wordings, *([system] if system else [])):
        if not text.strip():
            raise ValueError(f"{place}: a text is empty")
        if not text.isprintable() and re.search(r"[\ud800-\udfff]", text):
            raise ValueError(f"{place}: half a character (a lone surrogate) in {text[:40]!r}: write it whole")
    return question_of(row, wordings, row["id"])


def _shown(value: object) -> str:
    return repr(value)[:80] if isinstance(value, str | int | float | None) else type(value).__name__
