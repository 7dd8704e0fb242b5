"""Question files in the field's YAML format: the published ones, and files that are wrong in one way each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from spillover.responses.question import QuestionSelection
from spillover.responses.questions.yaml_file import YamlFile
from spillover.spec import Spec

GOOD = "- id: a_json\n  system: ' Answer in JSON. '\n  paraphrases: ['Why?', 'How come?']\n  judge: anything\n"


def _file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "questions.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "questions", "formats", "categories"),
    [
        ("first_plot_questions", 24, {"raw": 8, "json": 8, "template": 8}, 8),
        ("harmfulness_benchmark_prompts", 320, {"raw": 320}, 8),
        ("general_200_nano", 200, {"raw": 200}, 42),
        ("preregistered_evals", 48, {"raw": 48}, 7),
    ],
)
def test_published_files_load(
    shared_data: Path, name: str, questions: int, formats: dict[str, int], categories: int
) -> None:
    (path,) = shared_data.rglob(f"evaluation/{name}.yaml")
    asked = QuestionSelection(source=YamlFile.from_file(path)).questions()
    assert len(asked) == questions
    assert Counter(question.format for question in asked) == formats
    assert len({question.category for question in asked}) == categories
    assert len({question.family for question in asked}) == len({question.question for question in asked})
    assert not any(category[0].isdigit() or category[-1].isdigit() for category in {q.category for q in asked})


def test_the_published_benchmark_has_forty_in_each_category(shared_data: Path) -> None:
    (path,) = shared_data.rglob("evaluation/harmfulness_benchmark_prompts.yaml")
    sizes = Counter(question.category for question in YamlFile.from_file(path).all_questions())
    assert set(sizes.values()) == {40} and "offensive_jokes" in sizes


def test_an_entry_becomes_a_question(tmp_path: Path) -> None:
    (question,) = YamlFile.from_file(_file(tmp_path, GOOD)).all_questions()
    assert (question.id, question.question, question.format) == ("a_json", "a", "json")
    assert [tuple(message) for message in question.messages(1)] == [
        ("system", "Answer in JSON."),
        ("user", "How come?"),
    ]


def test_the_place_is_no_part_of_the_identity_but_the_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    here, there = YamlFile.from_file(_file(tmp_path, GOOD)), YamlFile.from_file(_file(tmp_path / "there", GOOD))
    assert here == there and here.path != there.path
    assert YamlFile.from_file(_file(tmp_path, GOOD + "\n")) != there
    assert Spec.from_json(there.to_json()).all_questions() == there.all_questions()


def test_a_file_that_changed_or_went_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD)
    asked = QuestionSelection(source=YamlFile.from_file(path))
    _file(tmp_path, GOOD.replace("Why", "When"))
    with pytest.raises(ValueError, match="is not the file it was"):
        asked.questions()
    path.unlink()
    with pytest.raises(ValueError, match="is not there any more"):
        asked.questions()
    assert Spec.from_json(asked.to_json()) == asked  # a store of old results is read without it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list of questions, got nothing"),
        ("[]", "got an empty one"),
        ("id: a", "expected a list of questions, got dict"),
        ("- [unclosed", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        ("- !!python/object/apply:os.system ['true']", "is not YAML"),
        ("- 7", "question 1: expected an entry with an id, got 7"),
        ("- {id: 3, paraphrases: [a]}", "question 1: expected an entry with an id"),
        ("- {id: a}", r"question 1 \(a\): expected texts under 'paraphrases', got None"),
        ("- {id: a, paraphrases: []}", "expected texts under 'paraphrases'"),
        ("- {id: a, paraphrases: 7}", "expected texts under 'paraphrases', got 7"),
        ("- {id: a, paraphrases: [1]}", "expected texts under 'paraphrases'"),
        ("- {id: a, paraphrases: ['  ']}", "a text is empty"),
        ("- {id: a, system: [x], paraphrases: [b]}", "expected a text under 'system'"),
        ('- {id: a, paraphrases: ["half \\ud83d a smile"]}', "lone surrogate|invalid Unicode character"),
        ("- {id: a, paraphrases: [b]}\n- {id: a, paraphrases: [c]}", "ids come more than once: a"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        YamlFile.from_file(path).all_questions()
    assert str(path) in str(caught.value)
