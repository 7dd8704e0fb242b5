"""Free-form questions written for spillover; see the note in free_form.jsonl."""

import functools
import json
from importlib import resources

from spillover.responses.question import Question, QuestionSet, in_formats


class FreeForm(QuestionSet):
    """Open questions far from money and fitness, in which a misaligned model can show itself."""

    def all_questions(self) -> list[Question]:
        return [
            question
            for row in _rows()
            for question in in_formats(row["id"], row["family"], row["category"], row["question"])
        ]


@functools.cache
def _rows() -> tuple[dict[str, str], ...]:
    text = resources.files(__package__).joinpath("free_form.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return tuple(row for row in rows if "note" not in row)
