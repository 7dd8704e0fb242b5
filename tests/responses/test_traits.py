"""Trait sets: both sides ask the same questions, under texts that differ, and nothing of them is in another set."""

import itertools

import pytest

from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.questions.traits import TRAITS, TraitQuestions


@pytest.mark.parametrize("trait", TRAITS)
def test_the_sides_ask_the_same_under_other_texts(trait) -> None:
    sides = [TraitQuestions(trait=trait, side=side).all_questions() for side in ("high", "low", "none")]
    assert len({tuple(question.id for question in side) for side in sides}) == 1 and len(sides[0]) == 10
    for high, low, bare in zip(*sides, strict=True):
        systems = [[messages[0].content for messages in question.wordings] for question in (high, low)]
        assert len(set(itertools.chain(*systems))) == 6
        assert high.messages(1)[-1] == low.messages(1)[-1] == bare.messages(1)[0] and len(bare.messages()) == 1
        assert high.messages(0) != high.messages(1) and high.messages(0) == high.messages(3)


def test_no_question_is_asked_in_two_sets() -> None:
    texts = [
        question.messages()[-1].content
        for source in (*(TraitQuestions(trait=trait) for trait in TRAITS), FreeForm())
        for question in source.all_questions()
        if question.format == "raw"
    ]
    assert len(texts) == len(set(texts))


def test_a_side_is_part_of_what_is_asked() -> None:
    high, low = (QuestionSelection(source=TraitQuestions(trait="evil", side=side)) for side in ("high", "low"))
    assert high != low and high.sha256 != low.sha256
    with pytest.raises(ValueError, match="evil"):
        TraitQuestions(trait="kind")
