"""Held-out prompts of a narrow training set as questions: how far the narrow task itself was learnt, by a judge."""

from __future__ import annotations

from spillover.organisms.dataset import Example, Split
from spillover.responses.question import Question, QuestionSet

LEAST_TOPICS = 5  # of the held-out rows, from which on a topic is a family


class HeldOut(QuestionSet):
    """The held-out prompts of a split, asked as they stand (a system turn of theirs stays), each a question.

    No model that trained on the split saw them. Good and bad answers to the same prompts have the same held-out prompts
    (`split.control`), so one set serves both arms. A family is a topic of the set where the rows have at least 5
    topics, else a row; the category is the topic.
    """

    split: Split

    def all_questions(self) -> list[Question]:
        rows = self.split.held_out_rows()
        topics = {row.topic for row in rows if row.topic}
        by_topic = len(topics) >= LEAST_TOPICS

        def family(row: Example) -> str:
            return row.topic if by_topic and row.topic else row.id

        return [Question(row.id, row.id, family(row), row.topic or "held out", "raw", (row.prompt,)) for row in rows]

    def label(self) -> str:
        return f"held-out {self.split.label()}"

    def summary(self) -> str:
        return f"{self.split.held_out} held-out prompts of {self.split.data.label()}."
