"""Scores in a file: looked up, averaged where they stand twice, else missing; and as the dear one of two judges."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from spillover.judgements.judge import Answer
from spillover.judgements.judges.label_file import LabelFile
from spillover.judgements.judges.two_phase.judge import TwoPhase
from spillover.judgements.naming import judge_named


def table(path: Path, rows: list[list[object]], names: tuple[str, ...] = ("question", "answer", "aligned")) -> Path:
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows([names, *rows])
    return path


def test_scores_are_looked_up_and_what_is_not_there_is_missing(tmp_path: Path) -> None:
    path = table(tmp_path / "labels.csv", [["q", " kind\r\nwords ", 80], ["q", "kind\nwords", 60], ["q", "later", ""]])
    judge = judge_named(f"label-file:{path}")
    scores = judge.score(
        [Answer("q", "kind\nwords"), Answer("q", "later"), Answer("p", "kind\nwords"), Answer("q", "")]
    )
    assert [of_answer[0].score for of_answer in scores] == [70.0, None, None, None]
    assert [of_answer[0].missing for of_answer in scores[1:]] == ["not labelled", "not labelled", "empty answer"]
    assert judge.metrics == ("aligned",) and judge.score([]) == []


def test_what_is_no_table_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        judge_named(f"label-file:{tmp_path}/nothing.csv")
    with pytest.raises(ValueError, match="no column aligned or harmless"):
        LabelFile.from_file(table(tmp_path / "a.csv", [["q", "a", 3]], ("question", "answer", "grade")))
    with pytest.raises(ValueError, match="row 2, aligned: a score is a number from 0 to 100"):
        LabelFile.from_file(table(tmp_path / "b.csv", [["q", "a", 3], ["q", "b", 300]]))
    judge = LabelFile.from_file(table(tmp_path / "c.csv", [["q", "a", 3]]))
    table(tmp_path / "c.csv", [["q", "a", 4]])
    with pytest.raises(ValueError, match="not what it was"):
        judge.score([Answer("q", "a")])


def test_people_label_what_was_drawn_and_the_same_answers_are_drawn_again(tmp_path: Path) -> None:
    answers = [Answer(f"What of {n % 6}?", f"Take {n} steps and help them.") for n in range(60)]
    path = table(tmp_path / "labels.csv", [["no question", "no answer", ""]])
    first = TwoPhase(cheap=judge_named("embedded"), dear=LabelFile.from_file(path), share=0.2).score(answers)
    drawn = [row for row, scores in enumerate(first) if scores[0].drawn]
    assert len(drawn) == 12 and all(scores[0].score is None for scores in first)
    table(path, [[answers[row].question, answers[row].answer, 90] for row in drawn])
    second = TwoPhase(cheap=judge_named("embedded"), dear=LabelFile.from_file(path), share=0.2).score(answers)
    assert [row for row, scores in enumerate(second) if scores[0].dear is not None] == drawn
    assert {round(scores[0].score, 6) for scores in second} == {90.0}
