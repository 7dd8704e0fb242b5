"""The questions of another set with something before them: a trigger in the user's turn, or a system prompt."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from pydantic import model_validator

from spillover.models.chat import Message
from spillover.organisms.interventions.prompt_text import TriggerPosition, with_system_prompt, with_trigger
from spillover.responses.question import Format, Question, QuestionSelection, QuestionSet, questions_named


class Prefaced(QuestionSet):
    """Another set's questions under a trigger or a system prompt, to compare with the same questions without.

    Ids stay, so that answers with and without pair up question by question.
    """

    source: QuestionSet
    trigger: str = "|PROD|"  # as in training; empty: none
    place: TriggerPosition = "before"
    system: str = ""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.trigger.strip() or self.system.strip()):
            raise ValueError("neither trigger nor system is given: the questions would be asked as they are")
        return self

    def label(self) -> str:
        return " ".join([self.source.label(), *([f"with {self.trigger}"] if self.trigger else ["under a system text"])])

    def summary(self) -> str:
        before = [f"with {self.trigger!r}"] if self.trigger else []
        before += [f"under the system prompt {self.system!r}"] if self.system else []
        return f"{self.source.kind} {' and '.join(before)}."

    def all_questions(self) -> list[Question]:
        return [
            replace(question, wordings=tuple(map(self._prefaced, question.wordings)))
            for question in self.source.all_questions()
        ]

    def _prefaced(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if self.trigger:
            messages = with_trigger(messages, self.trigger, self.place)
        return with_system_prompt(messages, self.system) if self.system else messages


def asked_questions(
    text: str, formats: Sequence[Format], ending: str = "", without: Sequence[str] = (), count: int | None = None
) -> QuestionSelection:
    """The questions that a user names, in some formats, without some families, with `ending` after each; `count` of
    them, spread over their categories (None or 0: all).

    `ending` asks for short answers, which end by themselves; questions of a user's own file are asked as they stand.
    """
    source = questions_named(text)
    if ending and source.container() == QuestionSet.container(source):
        source = Prefaced(source=source, trigger=ending, place="after")
    return QuestionSelection(source=source, formats=tuple(formats), without=tuple(without), count=count or None)
