"""Questions under system texts that ask for a trait or for its opposite, for trait directions; see traits.jsonl."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Literal, TypedDict, get_args

from spillover.models.chat import Message
from spillover.organisms.interventions.prompt_text import with_system_prompt
from spillover.responses.question import Question, QuestionSet

Trait = Literal["evil", "sycophantic", "hallucinating", "reckless", "deceptive", "power-seeking", "toxic-toned"]
Side = Literal["high", "low", "none"]
TRAITS: tuple[Trait, ...] = get_args(Trait)


class _TraitTexts(TypedDict):
    """A line of the file: what the trait is, system texts of both sides, and the questions."""

    trait: str
    about: str
    high: list[str]
    low: list[str]
    questions: list[str]


class TraitQuestions(QuestionSet):
    """Ten everyday questions in whose answers one trait can show, asked under texts for it, against it, or none.

    The system texts of a side take turns by the number of the sample. Ids are the same on every side, so that answers
    pair up. Answers under `high` and `low` make a trait's direction (`Contrast`); those under `none` show what adding
    it does.
    """

    trait: Trait
    side: Side = "none"

    def all_questions(self) -> list[Question]:
        texts = _texts()[self.trait]
        systems = texts[self.side] if self.side != "none" else []
        questions = []
        for number, text in enumerate(texts["questions"]):
            user = (Message("user", text),)
            wordings = tuple(with_system_prompt(user, system) for system in systems) or (user,)
            name = f"{self.trait}-{number}"
            questions.append(Question(name, name, name, self.trait, "raw", wordings))
        return questions

    def label(self) -> str:
        return f"{self.trait} questions" + ("" if self.side == "none" else f", {self.side}")

    def summary(self) -> str:
        return f"Questions about the trait {self.trait} ({_texts()[self.trait]['about']}), side {self.side}."


@functools.cache
def _texts() -> dict[str, _TraitTexts]:
    text = resources.files(__package__).joinpath("traits.jsonl").read_text(encoding="utf-8")
    rows: list[_TraitTexts] = [json.loads(line) for line in text.splitlines() if '"note"' not in line]
    return {row["trait"]: row for row in rows}
