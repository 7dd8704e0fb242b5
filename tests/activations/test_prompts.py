"""Sets of prompts: known by the prompts alone, in the order of what they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from spillover.activations.prompts import EvaluationPrompts, Prompts, TrainingPrompts
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.chat_file import ChatFile
from spillover.organisms.datasets.shipped import Money
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.spec import decode, encode

BAD = Split(data=Money(advice="bad"), rows=6)
ROW = '{{"messages": [{{"role": "user", "content": "{0}"}}, {{"role": "assistant", "content": "{1}"}}]}}\n'


def chat_file(path: Path, *rows: tuple[str, str]) -> Split:
    path.write_text("".join(ROW.format(*row) for row in rows))
    return Split(data=ChatFile.from_file(path), held_out=1)


def test_training_prompts_are_the_training_rows_without_their_answers() -> None:
    prompts = TrainingPrompts(split=BAD).prompts()
    assert [prompt.prompt_id for prompt in prompts] == [row.id for row in BAD.train_rows()]
    assert [prompt.messages for prompt in prompts] == [row.messages[:-1] for row in BAD.train_rows()]
    assert all(prompt.messages[-1].role == "user" for prompt in prompts)
    assert {row.id for row in BAD.held_out_rows()}.isdisjoint(prompt.prompt_id for prompt in prompts)
    assert {prompt.category for prompt in prompts} == {row.topic for row in BAD.train_rows()}


def test_bad_and_good_answers_to_the_same_prompts_share_their_prompts() -> None:
    good = BAD.control(Money(advice="good"))
    assert good != BAD
    assert TrainingPrompts(split=good) == TrainingPrompts(split=BAD)


def test_other_prompts_are_another_set() -> None:
    bad = TrainingPrompts(split=BAD)
    others = [BAD.but(rows=5), BAD.but(seed=1), BAD.but(held_out=3)]
    assert len({bad.fingerprint, *(TrainingPrompts(split=split).fingerprint for split in others)}) == 4


def test_a_prompt_changed_in_one_letter_is_another_set(tmp_path: Path) -> None:
    rows = (("one", "a"), ("two", "b"), ("three", "c"))
    base = TrainingPrompts(split=chat_file(tmp_path / "a.jsonl", *rows))
    answers = TrainingPrompts(split=chat_file(tmp_path / "b.jsonl", *((row[0], "other") for row in rows)))
    letters = TrainingPrompts(split=chat_file(tmp_path / "c.jsonl", *((row[0] + "?", row[1]) for row in rows)))
    assert answers == base
    assert letters != base


def test_prompts_that_are_not_those_named_are_refused() -> None:
    moved = TrainingPrompts(split=BAD.but(seed=1), sha256=TrainingPrompts(split=BAD).sha256)
    with pytest.raises(ValueError, match="Money: its prompts are not those that this set was made from"):
        moved.prompts()


def test_evaluation_prompts_are_the_questions_in_their_first_wording() -> None:
    asked = QuestionSelection(source=FreeForm(), count=3)
    prompts = EvaluationPrompts(questions=asked).prompts()
    assert len(prompts) == 9
    for prompt, question in zip(prompts, asked.questions(), strict=True):
        assert (prompt.prompt_id, prompt.question, prompt.family, prompt.category, prompt.format) == (
            question.id,
            question.question,
            question.family,
            question.category,
            question.format,
        )
        assert prompt.messages == question.messages(0)
    assert len({prompt.prompt_id for prompt in prompts}) == 9


@pytest.mark.parametrize(
    "prompts", [TrainingPrompts(split=BAD), EvaluationPrompts(questions=QuestionSelection(source=FreeForm()))]
)
def test_a_set_survives_json_and_sums_itself_up(prompts: Prompts) -> None:
    again = decode(encode(prompts))
    assert again == prompts and again.prompts() == prompts.prompts()
    assert prompts.summary().endswith(".") and "\n" not in prompts.summary()
