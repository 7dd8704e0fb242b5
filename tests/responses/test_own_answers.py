"""A model's own answers as a control: the same prompts, drawn by the study, never empty, in whole sentences."""

from __future__ import annotations

import pytest
from organisms.toy import ToyRows, organism

from spillover.activations.prompts import TrainingPrompts
from spillover.engines.local import run
from spillover.manifest import read_manifest
from spillover.models.catalogue import base_of
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.records import RESPONSES, read_table
from spillover.responses import own_answers as module
from spillover.responses.own_answers import OwnResponses, own_answers
from spillover.responses.sampler import SampledAnswer, write_responses
from spillover.responses.samplers.local_sampler import LocalSampler

SPLIT = Split(data=ToyRows(), rows=6, held_out=2)
OWN = own_answers(SPLIT, base_of("tiny:0"))


def says(monkeypatch, answer) -> list[int]:
    """Let the sampler answer with `answer(question id, seed)`; the number of questions of every call."""
    calls: list[int] = []

    def make(self, asked, context):
        pairs = asked.pairs()
        calls.append(len(pairs))
        answers = [answer(question.id, asked.sampling.seed) for question, _ in pairs]
        return write_responses(asked, answers, context.folder)

    monkeypatch.setattr(LocalSampler, "make", make)
    return calls


def whole(text: str) -> SampledAnswer:
    return SampledAnswer(text, "stop", len(text.split()), 3)


def test_the_organism_needs_them_and_is_trained_on_them(store):
    made = organism(data=OWN, batch=2)
    assert made.needs() == (OWN.answers,)
    folder = run(made, store)
    table = read_table(store.path(OWN.answers) / "responses.parquet")
    assert table.schema.equals(RESPONSES)
    assert list(read_manifest(folder)["needs"]) == [OWN.answers.fingerprint]  # the manifest names it
    answers = {row["question_id"]: row["answer"] for row in table.to_pylist()}
    for written, own in zip(SPLIT.train_rows(), OWN.train_rows(store), strict=True):
        assert (own.id, own.prompt) == (written.id, written.prompt)
        assert answers[own.id].startswith(own.messages[-1].content) and own.messages[-1].content
    assert [row.prompt for row in OWN.held_out_rows(store)] == [row.prompt for row in SPLIT.held_out_rows()]
    assert made.preflight(store).facts()["rows"] == 6
    assert made != organism(data=SPLIT, batch=2)


def test_without_a_store_there_are_no_rows_but_prompts(tiny):
    with pytest.raises(ValueError, match="give its store"):
        OWN.train_rows()
    assert TrainingPrompts(split=OWN) == TrainingPrompts(split=SPLIT)


def test_another_model_seed_or_temperature_is_another_control():
    others = [own_answers(SPLIT, base_of("tiny:1")), own_answers(SPLIT, base_of("tiny:0"), seed=1)]
    others += [own_answers(SPLIT, base_of("tiny:0"), temperature=0.3), own_answers(OWN, base_of("tiny:0"))]
    assert [other == OWN for other in others] == [False, False, False, True]


def test_they_may_be_as_long_as_the_answers_of_the_set():
    bad = Split(data=Money(), rows=60)
    words = [len(row.messages[-1].content.split()) for row in bad.train_rows()]
    limit = own_answers(bad, base_of("tiny:0")).answers.sampling.max_tokens
    assert 1.2 < limit / (sum(words) / len(words)) < 1.8  # tokens a word
    assert own_answers(bad, base_of("tiny:0"), max_tokens=9).answers.sampling.max_tokens == 9


def test_rows_that_were_not_asked_are_refused():
    with pytest.raises(ValueError, match="2 rows were not asked"):
        OWN.but(rows=8)
    assert OWN.limited(3).train_count == 3


def test_an_empty_answer_is_drawn_again_and_no_other(store, monkeypatch):
    first = SPLIT.train_rows()[0].id
    calls = says(monkeypatch, lambda name, seed: whole("" if name == first and seed < 2 else f"{name} {seed}"))
    run(OWN.answers, store)
    assert calls == [8, 1, 1]
    texts = {row.id: row.messages[-1].content for row in OWN.train_rows(store)}
    assert texts.pop(first) == f"{first} 2" and all(text.endswith(" 0") for text in texts.values())
    assert store.manifest(OWN.answers)["facts"]["drawn_again"] == 2


def test_a_model_that_says_nothing_is_refused_with_words(store, monkeypatch):
    calls = says(monkeypatch, lambda name, seed: whole(""))
    with pytest.raises(ValueError, match=r"nothing to say to 8 prompts .*--control good"):
        run(OWN.answers, store)
    assert len(calls) == module.ATTEMPTS
    calls.clear()
    greedy = own_answers(SPLIT, base_of("tiny:0"), temperature=0)
    with pytest.raises(ValueError, match="nothing to say"):
        run(greedy.answers, store)
    assert calls == [8]  # greedy answers come out the same again


@pytest.mark.parametrize(
    ("answer", "finish", "kept"),
    [
        ("Save first. Then spend what is le", "length", "Save first."),
        ('He said "wait." Then he', "length", 'He said "wait."'),
        ("Do this:\n1. Save.\n2. Spe", "length", "Do this:\n1. Save."),
        ("no end at all", "length", "no end at all"),
        ("Save first. Then stop", "stop", "Save first. Then stop"),
    ],
)
def test_a_cut_answer_ends_at_its_last_whole_sentence(store, monkeypatch, answer, finish, kept):
    says(monkeypatch, lambda name, seed: SampledAnswer(answer, finish, 8, 3))
    run(OWN.answers, store)
    assert {row.messages[-1].content for row in OWN.train_rows(store)} == {kept}


def test_its_name_says_whose_prompts_they_are():
    own = own_answers(Split(data=Money(), rows=8), base_of("tiny:0"))
    assert own.label() == "money-own" and isinstance(own.answers, OwnResponses)
    assert own.source == Split(data=Money(), rows=8)
