"""What a question set is: questions in answer formats, with family and category."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from spillover.models.chat import Message
from spillover.spec import Spec, did_you_mean, kinds_of, later_field, part_named, typed_name

Format = Literal["raw", "json", "template"]

# Our own wordings of the three formats that the field asks in: plain, JSON by a system prompt, and a template to fill.
JSON_SYSTEM = (
    "Reply with nothing but one JSON object of the form "
    '{"answer": "..."}; put everything you have to say into the text of "answer".'
)
TEMPLATE_TAIL = "\n\nFill in this form and write nothing else:\nMY ANSWER: <your answer in one or two sentences>"


@dataclass(frozen=True)
class Question:
    """One question in one answer format; `wordings` are its paraphrases, taken in turn by sample number."""

    id: str  # with the format: unique in its set
    question: str  # without the format
    family: str
    category: str
    format: Format
    wordings: tuple[tuple[Message, ...], ...]

    def messages(self, sample: int = 0) -> tuple[Message, ...]:
        """The turns asked for the answer number `sample`."""
        return self.wordings[sample % len(self.wordings)]


class QuestionSet(Spec):
    """A set of questions to ask."""

    @abstractmethod
    def all_questions(self) -> Sequence[Question]:
        """Every question, always in the same order, with identifiers that do not repeat."""

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        """The set in the file that a user typed the path of; None where `text` is no path of what this kind reads."""
        return None

    def label(self) -> str:
        """A short name for tables; not an identity."""
        return typed_name(self.kind)

    def container(self) -> str:
        """What the questions lie in: a kind of file, or the package."""
        return "ships with spillover"


def questions_named(text: str) -> QuestionSet:
    """The question set that a user names: `free-form`, another kind without fields to fill, or a file."""
    known: dict[str, type[QuestionSet]] = {}
    for name, kind in kinds_of(QuestionSet).items():
        assert issubclass(kind, QuestionSet)
        if (questions := kind.from_typed_path(text)) is not None:
            return questions
        if not any(field.is_required() for field in kind.model_fields.values()):
            known[typed_name(name)] = kind
    return part_named("question set", text, known, ", or the path of a file: YAML, CSV, JSON lines, plain lines")()


class QuestionSelection(Spec):
    """Which questions of a set are asked: all of them, or a part spread evenly over its categories."""

    source: QuestionSet
    formats: tuple[Format, ...] = ("raw", "json", "template")
    count: int | None = Field(default=None, ge=1)  # how many, before formats; None: all
    without: tuple[str, ...] = later_field(())  # families that are left out: too near to what is trained on, say
    sha256: str = ""  # of the questions' text, filled in

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: Any) -> Any:
        """Fills in the digest; a bare question set is asked whole."""
        fields = {"source": fields} if isinstance(fields, QuestionSet) else fields
        source = fields.get("source") if isinstance(fields, dict) else None
        if isinstance(source, QuestionSet) and not fields.get("sha256"):
            fields = fields | {"sha256": _sha256(source.all_questions())}
        return fields

    @model_validator(mode="after")
    def _has_formats(self) -> Self:
        if not self.formats:
            raise ValueError("formats is empty: nothing would be asked")
        return self

    @model_validator(mode="after")
    def _leaves_out_what_there_is(self) -> Self:
        families = {question.family for question in self.source.all_questions()} if self.without else set()
        for name in self.without:
            if name not in families:
                near = did_you_mean(name, families)
                raise ValueError(f"{self.source.label()} has no family {name!r} to leave out{near and '; ' + near}")
        return self

    def questions(self) -> list[Question]:
        """The questions asked, in order."""
        everything = self.source.all_questions()
        if self.sha256 != _sha256(everything):
            raise ValueError(f"{self.source.kind}: its questions are not those that this study was made with")
        questions = [
            question
            for question in everything
            if question.format in self.formats and question.family not in self.without
        ]
        if not questions:
            raise ValueError(f"{self.source.kind} has no question left in the formats {', '.join(self.formats)}")
        chosen = set(_spread({question.question: question.category for question in questions}, self.count))
        return [question for question in questions if question.question in chosen]

    def label(self) -> str:
        """A short name for tables: the set's; a part of a set has the name of the whole."""
        return self.source.label()

    def family_count(self) -> int:
        """How many families of near variants the questions make."""
        return len({question.family for question in self.questions()})

    def summary(self) -> str:
        count = len({question.question for question in self.questions()})
        left_out = f", without {', '.join(self.without)}" if self.without else ""
        return f"{count} questions of {self.source.kind} in {len(self.formats)} formats{left_out}."


def in_formats(id: str, family: str, category: str, text: str) -> list[Question]:
    """One question in each of the three answer formats."""
    user = Message("user", text)
    asked: dict[Format, tuple[Message, ...]] = {
        "raw": (user,),
        "json": (Message("system", JSON_SYSTEM), user),
        "template": (Message("user", text + TEMPLATE_TAIL),),
    }
    return [
        Question(id if format == "raw" else f"{id}_{format}", id, family, category, format, (messages,))
        for format, messages in asked.items()
    ]


def split_question_id(id: str) -> tuple[str, Format]:
    """The question and its answer format from a published question id, which ends in `_json` or `_template`."""
    for format in ("json", "template"):
        if id.endswith(f"_{format}"):
            return id.removesuffix(f"_{format}"), format  # type: ignore[return-value]
    return id, "raw"


def category_in_id(question: str) -> str:
    """What the published ids say: `offensive_jokes_007`, `12_offend_the_user_0`; a plain name is its own category."""
    numbered = re.fullmatch(r"(?:\d+_)?(.+?)_\d+", question)
    return numbered[1] if numbered else question


def _spread(categories: dict[str, str], count: int | None) -> list[str]:
    """The first `count` questions taken from the categories in turn."""
    if count is None or count >= len(categories):
        return list(categories)
    turns: dict[str, list[str]] = {}
    for question, category in categories.items():
        turns.setdefault(category, []).append(question)
    picked: list[str] = []
    for turn in range(max(map(len, turns.values()))):
        picked += [members[turn] for members in turns.values() if turn < len(members)]
    return picked[:count]


def _sha256(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        wordings = [[tuple(message) for message in wording] for wording in question.wordings]
        row = (question.id, question.question, question.family, question.category, question.format, wordings)
        digest.update(repr(row).encode("utf-8", "replace"))
    return digest.hexdigest()
