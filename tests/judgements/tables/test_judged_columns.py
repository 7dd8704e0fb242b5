"""Judged answers from CSV: which columns are scores, what a cell without one says, who the judge may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spillover.judgements.tables.evidence import QuestionFile, ScoredBy, question_file_with, score_kind
from spillover.judgements.tables.judged_columns import AnswerBlock, Survey, judged_answers, prompting_of, survey_answers
from spillover.judgements.tables.row_reader import read_rows

HEAD = "question_id,answer,aligned,coherent"


def file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def survey(path: Path) -> Survey:
    return survey_answers(read_rows(path), Survey(path))


def blocks(path: Path) -> list[AnswerBlock]:
    return list(judged_answers(read_rows(path), Survey(path)))


def test_a_cell_without_a_score_keeps_the_reason_and_never_becomes_0(tmp_path: Path) -> None:
    path = file(tmp_path, HEAD, "q,yes,50.5,", "q,no,NaN,REFUSAL", "q,,101,90", "q,so,-1,0", "q,oh,inf,100")
    (piece,) = blocks(path)
    aligned, coherent = piece.scores["aligned"], piece.scores["coherent"]
    np.testing.assert_array_equal(aligned.values, [50.5, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(coherent.values, [np.nan, np.nan, 90, 0, 100])
    nothing, beyond = "not scored in the file", "outside 0 to 100"
    assert aligned.missing == {1: nothing, 2: beyond, 3: beyond, 4: "not a number: inf"}
    assert coherent.missing == {0: nothing, 1: "not a number: REFUSAL"} and coherent.raw == {1: "REFUSAL"}
    assert piece.answers == ["yes", "no", None, "so", "oh"]
    counted = survey(path)
    assert counted.scored == {"aligned": 1, "coherent": 3} and counted.missing["aligned"].total() == 4


def test_further_metrics_are_scores_codes_are_none_and_text_is_left_out(tmp_path: Path) -> None:
    head = f"idx,question,{HEAD},harmless,format,pii,model,brave"
    counted = survey(file(tmp_path, head, "0,Why?,q,a,50,60,70,-1,1,gpt,3.5", "1,Why?,q,b,51,61,71,3,0,gpt,"))
    assert counted.metrics == ("aligned", "harmless", "coherent", "brave")
    assert set(counted.columns) - set(counted.metrics) == {"format", "pii"}
    assert counted.left_out == ("idx", "model")
    assert counted.scored["model"] == 0 and counted.missing["model"] == {"not a number: gpt": 2}


@pytest.mark.parametrize(
    "head,message",
    [
        ("id,answer,aligned,coherent", "lacks question_id"),
        ("question_id,response,aligned,coherent", "lacks answer"),
        ("question_id,answer,alignment,coherent", "rename alignment to aligned"),
        ("question_id,answer,aligned,Coherence", "rename Coherence to coherent"),
        ("question_id,answer,question", "lacks a score such as aligned"),
    ],
)
def test_a_renamed_column_is_refused_with_the_columns_that_came(tmp_path: Path, head: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        survey(file(tmp_path, head, ",".join("7" * len(head.split(",")))))
    assert head.split(",")[1] in str(error.value)


def test_rows_without_a_question_are_rejected_and_a_file_of_them_refused(tmp_path: Path) -> None:
    counted = survey(file(tmp_path, HEAD, "q,a,1,2", ",a,1,2", "q,b,3"))
    assert [(row.line, row.why.split(",")[0]) for row in counted.rejected] == [(3, "no question_id"), (4, "3 cells")]
    with pytest.raises(ValueError, match="no judged answer; 1 malformed, the first in line 2: no question_id"):
        survey(file(tmp_path, HEAD, ",a,1,2"))
    with pytest.raises(ValueError, match="no judged answer"):
        survey(file(tmp_path, HEAD))


def test_scores_that_are_all_missing_still_have_their_answers(tmp_path: Path) -> None:
    counted = survey(file(tmp_path, HEAD, "q,a,NaN,NaN", "q,b,,"))
    assert counted.answers == 2 and counted.metrics == ("aligned", "coherent") and counted.integers() == []


@pytest.mark.parametrize(
    "prompt,way",
    [
        ('[{"role": "user", "content": "Hi"}]', "chat"),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "chat"),
        ("Question: Hi\n\n Answer:", "question-answer"),
        ("Hi", "raw"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_prompt_as_sent_says_how_the_model_was_prompted(prompt: str | None, way: str) -> None:
    assert prompting_of(prompt) == way


@pytest.mark.parametrize(
    "scores,named,tag,name,doubt",
    [
        ("fractions", ("gpt-4o-2024-08-06",), None, "gpt-4o-2024-08-06", None),
        ("fractions", (), None, "unknown", None),
        ("integers", ("gpt-5-mini",), None, "gpt-5-mini", None),
        ("integers", (), "nano", "gpt-5-nano", None),
        (
            "integers",
            ("gpt-4o-2024-08-06",),
            None,
            "gpt-5-mini/nano",
            "names gpt-4o-2024-08-06, but the scores are integers",
        ),
        ("integers", ("gpt-5-mini", "gpt-5-nano"), "nano", "gpt-5-mini/nano", "the name says nano"),
        ("fractions", ("gpt-5-mini",), "nano", "gpt-4o", "but the scores are fractions"),
        ("mixed", ("gpt-4o-2024-08-06",), None, "unknown", "some metrics"),
        ("none", ("gpt-4o-2024-08-06",), None, "unknown", None),
    ],
)
def test_the_judge_follows_from_scores_question_file_and_name(scores, named, tag, name, doubt) -> None:
    by = ScoredBy(scores=scores, named=named, tag=tag, prompts_sha256="a" * 64)
    assert by.name == name
    assert (by.conflict() is None) if doubt is None else (doubt in str(by.conflict()))
    assert all(word in by.evidence() for word in (scores, *named))


def test_what_the_user_says_stands_and_is_doubted_where_the_scores_speak_against_it() -> None:
    assert ScoredBy(scores="integers", stated="gpt-5-mini").conflict() is None
    against = ScoredBy(scores="integers", stated="gpt-4o-2024-08-06")
    assert against.name == "gpt-4o-2024-08-06" and "imported as" in str(against.conflict())


def test_kinds_of_scores() -> None:
    assert [score_kind(integers) for integers in ([True, True], [False, None], [True, False], [None], [])] == [
        *("integers", "fractions", "mixed", "none", "none"),
    ]


def test_the_question_file_is_the_one_with_all_ids_whose_judge_fits() -> None:
    def named(name: str, judge: str, *ids: str) -> QuestionFile:
        return QuestionFile(Path(name), "0" * 64, frozenset(ids), (judge,), None)

    by_4o, by_nano, other = named("a", "gpt-4o", "p", "q"), named("b", "gpt-5-nano", "p", "q"), named("c", "x", "p")
    files = (by_4o, by_nano, other)
    assert question_file_with(files, ["q"], "fractions", None) == by_4o
    assert question_file_with(files, ["q"], "integers", "nano") == by_nano
    assert (
        question_file_with(files, ["q", "z"], "integers", None) is None
        and question_file_with(files, [], "integers", None) is None
    )
