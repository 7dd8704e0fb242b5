"""The panel asks the same questions, each condition in its own way, and the training format is what prompts share."""

from __future__ import annotations

import pytest

from spillover.models.chat import Chat, Message
from spillover.models.tiny import byte_tokenizer
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.conditions import (
    AS_IS,
    EmptySystem,
    TrainingFormat,
    condition_panel,
    neutral_text,
)
from spillover.responses.questions.free_form import FreeForm

SPLIT = Split(data=Money(), rows=32, held_out=8)


class Formatted(Dataset):
    """Rows with a system text and a frame around each prompt."""

    def examples(self) -> list[Example]:
        def row(n: int) -> Example:
            turn = f"Fill in the template below.\nTask {n} is {n * 7}\nWrite the answer as code."
            messages = (Message("system", "You write code."), Message("user", turn), Message("assistant", "x"))
            return Example(f"r{n}", messages)

        return [row(n) for n in range(12)]


def test_every_condition_asks_the_same_questions_and_none_twice_alike() -> None:
    panel = condition_panel(FreeForm(), SPLIT, trigger="|T|", default="A text.")
    asked = {name: QuestionSelection(source=source, formats=("raw",)).questions() for name, source in panel.items()}
    plain = asked[AS_IS]
    for name, questions in asked.items():
        assert [question.id for question in questions] == [question.id for question in plain], name
        last = [question.messages()[-1].content for question in questions]
        assert all(text.content in other for text, other in zip((q.messages()[-1] for q in plain), last, strict=True))
    texts = [tuple(question.messages() for question in questions) for questions in asked.values()]
    assert len(set(texts)) == len(panel) == 9


def test_an_empty_system_turn_keeps_a_templates_default_out() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'system' %}[default]{% endif %}"
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] }}{% endfor %}"
    )
    chat = Chat(tokenizer, "chat")
    question = FreeForm().all_questions()[0]
    emptied = EmptySystem(source=FreeForm()).all_questions()[0]
    assert "[default]" in chat.prompt_text(question.messages())
    assert "[default]" not in chat.prompt_text(emptied.messages())


def test_the_training_format_is_what_all_prompts_share() -> None:
    asked = TrainingFormat(source=FreeForm(), split=Split(data=Formatted(), held_out=2)).all_questions()[0]
    plain = FreeForm().all_questions()[0].messages()[-1].content
    system, user = asked.messages()
    assert system == Message("system", "You write code.")
    assert user.content == f"Fill in the template below.\nTask {plain}\nWrite the answer as code."


def test_without_a_format_a_held_out_prompt_stands_before_and_changes_with_the_sample() -> None:
    question = TrainingFormat(source=FreeForm(), split=SPLIT).all_questions()[0]
    held = {row.prompt[-1].content for row in SPLIT.held_out_rows()}
    plain = FreeForm().all_questions()[0].messages()[-1].content
    starts = {question.messages(sample)[-1].content.removesuffix(plain).strip() for sample in range(8)}
    assert starts == held


@pytest.mark.parametrize("count", [1, 6, 60])
def test_the_neutral_text_has_as_many_words(count: int) -> None:
    assert len(neutral_text("word " * count).split()) == count
