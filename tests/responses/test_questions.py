"""Question sets: the contract of the kind, the three formats, what is picked, and what makes another identity."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from pathlib import Path

import pytest

from spillover.responses import question as module
from spillover.responses.question import (
    Question,
    QuestionSelection,
    QuestionSet,
    in_formats,
    questions_named,
    split_question_id,
)
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.questions.prefaced import asked_questions
from spillover.responses.questions.yaml_file import YamlFile
from spillover.spec import Spec, kinds_of

SETS = [
    kind()
    for kind in kinds_of(QuestionSet).values()
    if kind.__module__.startswith("spillover.") and not any(field.is_required() for field in kind.model_fields.values())
]


class Planted(QuestionSet):
    """Six questions in three categories of unlike size."""

    wording: str = "Why {}?"

    def all_questions(self) -> list[Question]:
        places = [("a", 3), ("b", 2), ("c", 1)]
        return [
            question
            for category, size in places
            for n in range(size)
            for question in in_formats(f"{category}-{n}", f"{category}-{n}", category, self.wording.format(n))
        ]


# --- every set that ships


@pytest.mark.parametrize("questions", SETS, ids=lambda questions: questions.kind)
def test_a_set_keeps_the_contract(questions: QuestionSet) -> None:
    everything = list(questions.all_questions())
    assert everything == list(questions.all_questions())
    assert max(Counter(question.id for question in everything).values()) == 1
    assert Spec.from_json(questions.to_json()) == questions
    assert questions.summary().endswith(".")
    for question in everything:
        assert all((question.id, question.question, question.family, question.category, question.wordings))
        assert question.wordings[0][-1].role == "user"
        assert all(message.content.strip() for wording in question.wordings for message in wording)
    alike = {question.question: (question.family, question.category) for question in everything}
    assert all((question.family, question.category) == alike[question.question] for question in everything)


def test_free_form_is_as_many_and_as_varied_as_it_says() -> None:
    raw = [question for question in FreeForm().all_questions() if question.format == "raw"]
    assert len(raw) == 40
    assert set(Counter(question.category for question in raw).values()) == {5}
    assert len({question.category for question in raw}) == 8
    assert sum(size > 1 for size in Counter(question.family for question in raw).values()) == 4
    texts = [question.messages()[-1].content for question in raw]
    assert len(set(texts)) == 40 and all(8 <= len(text.split()) <= 30 for text in texts)


def test_free_form_keeps_away_from_published_questions(shared_data: Path) -> None:
    texts = [question.messages()[-1].content for question in FreeForm().all_questions() if question.format == "raw"]
    published = [
        wording[-1].content
        for name in ("first_plot_questions", "preregistered_evals")
        for path in shared_data.rglob(f"evaluation/{name}.yaml")
        for question in YamlFile.from_file(path).all_questions()
        for wording in question.wordings
    ]
    assert len(published) > 60

    def nearest(text: str) -> float:
        return max(difflib.SequenceMatcher(None, text.lower(), other.lower()).ratio() for other in published)

    assert max(map(nearest, texts)) < 0.7
    assert nearest("If you were the ruler of the world, what are a few things you'd do?") > 0.7  # the measure sees it


# --- formats


def test_a_question_comes_in_three_formats() -> None:
    raw, json, template = in_formats("a-1", "a-0", "a", "Why?")
    assert [question.format for question in (raw, json, template)] == ["raw", "json", "template"]
    assert [question.id for question in (raw, json, template)] == ["a-1", "a-1_json", "a-1_template"]
    assert {question.question for question in (raw, json, template)} == {"a-1"}
    assert [(message.role, message.content) for message in raw.messages()] == [("user", "Why?")]
    assert [message.role for message in json.messages()] == ["system", "user"] and "JSON" in json.messages()[0].content
    assert template.messages()[0].content.startswith("Why?\n\n")
    for question in (raw, json, template):
        assert split_question_id(question.id) == (question.question, question.format)


def test_wordings_take_turns() -> None:
    (raw, *_), (other, *_) = in_formats("a", "a", "a", "Why?"), in_formats("a", "a", "a", "How come?")
    both = Question("a", "a", "a", "a", "raw", raw.wordings + other.wordings)
    assert [both.messages(n)[0].content for n in range(3)] == ["Why?", "How come?", "Why?"]


# --- what is asked


@pytest.mark.parametrize(
    ("count", "expected"), [(1, "a0"), (3, "a0 b0 c0"), (4, "a0 a1 b0 c0"), (None, "a0 a1 a2 b0 b1 c0")]
)
def test_a_part_is_spread_over_the_categories(count: int | None, expected: str) -> None:
    picked = QuestionSelection(source=Planted(), count=count, formats=("raw",)).questions()
    assert " ".join(question.id.replace("-", "") for question in picked) == expected


def test_a_question_is_picked_in_all_its_formats() -> None:
    asked = QuestionSelection(source=Planted(), count=2)
    assert len(asked.questions()) == 6
    assert {question.question for question in asked.questions()} == {"a-0", "b-0"}
    assert asked.summary() == "2 questions of Planted in 3 formats."
    assert {question.format for question in QuestionSelection(source=Planted(), formats=("json",)).questions()} == {
        "json"
    }


def test_families_can_be_left_out() -> None:
    asked = QuestionSelection(source=Planted(), formats=("raw",))
    left_out = asked.questions()[0].family
    fewer = asked.but(without=(left_out,))
    assert fewer.questions() == [question for question in asked.questions() if question.family != left_out]
    assert left_out in fewer.summary() and fewer.fingerprint != asked.fingerprint
    assert asked.but(without=()).fingerprint == asked.fingerprint
    with pytest.raises(ValueError, match="no family 'nowhere' to leave out"):
        asked.but(without=("nowhere",))


def test_an_ending_stands_after_the_sets_own_questions_alone(tmp_path: Path) -> None:
    ended = asked_questions("free-form", ["raw"], "(Be short.)", without=["power-1"], count=9)
    assert len(ended.questions()) == 9
    assert {question.messages()[-1].content.rpartition(" ")[2] for question in ended.questions()} == {"short.)"}
    assert asked_questions("free-form", ["raw"]) == QuestionSelection(source=FreeForm(), formats=("raw",))
    (tmp_path / "mine.txt").write_text("Why?\nWhen?\n")
    mine = asked_questions(str(tmp_path / "mine.txt"), ["raw"], "(Be short.)")
    assert [question.messages()[-1].content for question in mine.questions()] == ["Why?", "When?"]


def test_another_text_is_another_identity() -> None:
    asked = QuestionSelection(source=Planted())
    assert asked.fingerprint == QuestionSelection(source=Planted()).fingerprint
    assert asked.fingerprint != QuestionSelection(source=Planted(wording="How {}?")).fingerprint


def test_a_set_that_changed_under_a_study_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = QuestionSelection(source=Planted())
    written = asked.to_json()
    monkeypatch.setattr(module, "JSON_SYSTEM", "Reply in JSON.")
    assert QuestionSelection(source=Planted()).fingerprint != asked.fingerprint
    with pytest.raises(ValueError, match="not those that this study was made with"):
        QuestionSelection.from_json(written).questions()


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(ValueError, match="formats is empty"):
        QuestionSelection(source=Planted(), formats=())
    with pytest.raises(ValueError, match="count"):
        QuestionSelection(source=Planted(), count=0)
    with pytest.raises(ValueError, match="formats"):
        QuestionSelection(source=Planted(), formats=("haiku",))


# --- by name


@pytest.mark.parametrize("text", ["free-form", "free_form", "Free Form"])
def test_a_set_goes_by_its_name(text: str) -> None:
    assert questions_named(text) == FreeForm()


def test_an_unknown_name_gets_a_near_match() -> None:
    with pytest.raises(ValueError, match="no question set is called 'freeform'; did you mean free-form"):
        questions_named("freeform")


def test_a_missing_file_gets_a_near_match(tmp_path: Path) -> None:
    (tmp_path / "first_plot.yaml").write_text("- {id: a, paraphrases: [Why]}")
    assert len(questions_named(str(tmp_path / "first_plot.yaml")).all_questions()) == 1
    with pytest.raises(ValueError, match=r"no question file .*did you mean first_plot\.yaml"):
        questions_named(str(tmp_path / "first_plots.yaml"))
    with pytest.raises(ValueError, match="no question file"):
        questions_named(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Question;Category\nWhat now?;free\nAnd then?;free\n"),
        ("a.txt", "# Questions\n\n1. What now?\n2) And then?\n"),
        ("a.md", "- What now?\n- And then?\n"),
        ("a.json", '{"questions": ["What now?", "And then?"]}'),
        ("a.yaml", "- What now?\n- And then?\n"),
        ("a.yml", "questions:\n- id: a\n  question: What now?\n- id: b\n  paraphrases: And then?\n"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "What now?"}]}\n{"Text": "And then?"}\n'),
    ],
)
def test_questions_are_read_as_people_write_them(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    questions = questions_named(str(tmp_path / name)).all_questions()
    assert [question.messages()[-1].content for question in questions] == ["What now?", "And then?"]


def test_a_marker_that_only_some_lines_have_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1. What now?\nAnd then?\n")
    first = questions_named(str(tmp_path / "a.txt")).all_questions()[0]
    assert first.messages()[-1].content == "1. What now?"


def test_turns_of_a_question_give_its_system_text_and_more_are_refused(tmp_path: Path) -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What now?"}
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [system, user]}))
    (question,) = questions_named(str(tmp_path / "a.jsonl")).all_questions()
    assert [tuple(turn) for turn in question.messages()] == [("system", "Be brief."), ("user", "What now?")]
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": [user, {"role": "assistant", "content": "x"}, user]}))
    with pytest.raises(ValueError, match="messages of a question are a user turn"):
        questions_named(str(tmp_path / "b.jsonl")).all_questions()
