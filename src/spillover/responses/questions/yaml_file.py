"""Question files in the field's YAML format (`id`, `paraphrases`, optional `system`), loaded from the user's disk."""

from pathlib import Path
from typing import Any, Self

from spillover.models.chat import Message
from spillover.responses.question import Question, QuestionSet, format_of
from spillover.spec import where
from spillover.store import file_sha256


class YamlFile(QuestionSet):
    """Questions from a YAML file, known by the SHA-256 of its bytes; the answer format is read off each id's ending."""

    path: str = where()
    sha256: str

    @classmethod
    def at(cls, path: Path | str) -> Self:
        """The file at `path`, as it is now."""
        found = Path(path).expanduser().resolve()
        if not found.is_file():
            raise ValueError(f"no question file {path}")
        return cls(path=str(found), sha256=file_sha256(found))

    def all_questions(self) -> list[Question]:
        import yaml

        path = Path(self.path)
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise ValueError(f"the question file {path} is not the one this study was made with")
        try:
            rows = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
        if not isinstance(rows, list) or not rows:
            raise ValueError(f"{path}: expected a list of questions, got {type(rows).__name__}")
        questions = [_question(row, f"{path}, question {number}") for number, row in enumerate(rows, start=1)]
        repeated = {q.id for q in questions if sum(other.id == q.id for other in questions) > 1}
        if repeated:
            raise ValueError(f"{path}: ids come more than once: {', '.join(sorted(repeated)[:5])}")
        return questions


def _question(row: Any, place: str) -> Question:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise ValueError(f"{place}: expected an entry with an id, got {str(row)[:80]}")
    wordings = row.get("paraphrases")
    if not isinstance(wordings, list) or not wordings or not all(isinstance(text, str) for text in wordings):
        raise ValueError(f"{place} ({row['id']}): expected texts under 'paraphrases', got {str(wordings)[:80]}")
    system = (Message("system", row["system"].strip()),) if isinstance(row.get("system"), str) else ()
    question, format = format_of(row["id"])
    stem, _, number = question.rpartition("_")
    category = stem if number.isdigit() and stem else question
    asked = tuple((*system, Message("user", text)) for text in wordings)
    return Question(row["id"], question, question, category, format, asked)
