"""The question set that a user names."""

from __future__ import annotations

from pathlib import Path

from spillover.responses.question import QuestionSet
from spillover.responses.questions.yaml_file import YamlFile
from spillover.spec import kinds_of, part_named, typed_name


def questions_named(text: str) -> QuestionSet:
    """The question set that a user names: `free-form`, another kind without fields to fill, or a YAML file."""
    path = Path(text).expanduser()
    if path.is_file() or path.suffix.lower() in (".yaml", ".yml") or "/" in text:
        return YamlFile.from_file(text)
    known = {
        typed_name(name): kind
        for name, kind in kinds_of(QuestionSet).items()
        if not any(field.is_required() for field in kind.model_fields.values())
    }
    question_set = part_named("question set", text, known, ", or the path of a YAML file of questions")()
    assert isinstance(question_set, QuestionSet)
    return question_set
