"""Responses as an artefact: rows, facts, estimates, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from spillover.models.base import Base
from spillover.records import RESPONSES, read_table, write_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampler import TABLE, SampledAnswer, read_answers, response_row, write_responses
from spillover.responses.samplers import local_sampler as local_sampler
from spillover.responses.samplers.decoding import Draft, Rules
from spillover.responses.sampling import Sampling
from spillover.store import Store

ASKED = QuestionSelection(source=FreeForm(), count=4)


def _spec(tiny: Base, **sampling: object) -> Responses:
    return Responses(
        model=tiny, questions=ASKED, sampling=Sampling(**{"per_question": 2, "max_tokens": 12, **sampling})
    )


def _rows(store: Store, spec: Responses) -> list[dict[str, object]]:
    return read_table(store.get(spec) / "responses.parquet").to_pylist()


def test_every_answer_is_a_row_with_its_key(store: Store, tiny: Base) -> None:
    spec = _spec(tiny)
    rows = _rows(store, spec)
    assert read_table(store.get(spec) / "responses.parquet").schema.equals(RESPONSES)
    assert [(row["question_id"], row["sample"]) for row in rows] == [
        (question.id, sample) for question in ASKED.questions() for sample in (0, 1)
    ]
    assert {row["format"] for row in rows} == {"raw", "json", "template"}
    for row in rows:
        assert row["finish_reason"] in ("stop", "length") and 0 <= row["tokens"] <= 12
        assert (row["finish_reason"] == "length") == (row["tokens"] == 12)
        assert row["prompt_tokens"] > len(row["prompt"]) and row["seed"] == 0  # a token is a byte here


def test_what_shaped_the_answers_is_recorded(store: Store, tiny: Base) -> None:
    spec = _spec(tiny, temperature=0.7, top_p=0.9)
    rows, facts = _rows(store, spec), store.manifest(spec)["facts"]
    assert facts["effective_sampling"] == spec.sampling.effective()
    assert facts["effective_sampling"]["top_k"] == 0 and facts["effective_sampling"]["temperature"] == 0.7
    assert facts["answers"] == len(rows) == sum(facts["finish_reasons"].values())
    assert facts["tokens"] == sum(row["tokens"] for row in rows)
    assert facts["prompting"] == "chat" and len(facts["template_sha256"]) == 64
    assert facts["stop_tokens"] and facts["stop_texts"] == []


def test_a_pretrained_model_is_asked_in_its_own_way_with_a_stop_rule(store: Store, tiny: Base) -> None:
    spec = _spec(tiny.but(role="pretrained"))
    rows, facts = _rows(store, spec), store.manifest(spec)["facts"]
    assert facts["prompting"] == "question-answer" and "\nQuestion:" in facts["stop_texts"]
    assert facts["template_sha256"] is None
    assert {row["answer"] for row in rows} != {row["answer"] for row in _rows(store, _spec(tiny))}
    assert _spec(tiny, prompting="raw").prompting == "raw"


def test_a_part_of_the_questions_gets_the_same_answers(store: Store, tiny: Base) -> None:
    whole = {(row["question_id"], row["sample"]): row for row in _rows(store, _spec(tiny))}
    part = Responses(
        model=tiny,
        questions=QuestionSelection(source=FreeForm(), count=2, formats=("json", "raw")),
        sampling=Sampling(per_question=3, max_tokens=12),
    )
    rows = _rows(store, part)
    assert len(rows) == 12
    assert all(row == whole[row["question_id"], row["sample"]] for row in rows if row["sample"] < 2)


def test_rows_at_once_do_not_change_a_byte(store: Store, tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _spec(tiny)
    expected = (store.get(spec) / "responses.parquet").read_bytes()
    store.discard(spec)
    monkeypatch.setattr(local_sampler, "ROWS", 8)
    assert (store.get(spec) / "responses.parquet").read_bytes() == expected
    assert (store.get(_spec(tiny, seed=1)) / "responses.parquet").read_bytes() != expected


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(store: Store, tiny: Base, tmp_path: Path) -> None:
    specs = [_spec(tiny, precision=precision) for precision in ("float32", "bfloat16")]
    told = (
        "import sys; from spillover.spec import Spec; from spillover.store import Store; "
        "[print(Store.open(sys.argv[1]).get(Spec.from_json(text))) for text in sys.argv[2:]]"
    )
    done = subprocess.run(
        [sys.executable, "-c", told, str(tmp_path / "other"), *(spec.to_json() for spec in specs)],
        env={**os.environ, "SPILLOVER_THREADS": "1", "PYTHONHASHSEED": "7"},
        check=True,
        capture_output=True,
        text=True,
    )
    for spec, folder in zip(specs, done.stdout.split()[-2:], strict=True):
        there, here = Path(folder) / "responses.parquet", store.get(spec) / "responses.parquet"
        assert there.read_bytes() == here.read_bytes()


def test_prompts_that_leave_no_room_are_refused_before_anything_is_sampled(store: Store, tiny: Base) -> None:
    with pytest.raises(ValueError, match=r"longest prompt has \d+ tokens and max_tokens is 1000.* holds 1024"):
        store.get(_spec(tiny, max_tokens=1000))
    assert not store.has(_spec(tiny, max_tokens=1000))


def test_the_estimate_grows_with_the_work(tiny: Base) -> None:
    small, large = _spec(tiny), _spec(tiny.but(parameters=135_000_000), per_question=4, max_tokens=24)
    assert 0 < small.cost().units < large.cost().units
    assert large.cost().units == pytest.approx(12 * (40 + 4 * 24))


# --- what an answer's text may hold


def _text(text_drawn: str, finish: str = "length", stops: tuple[str, ...] = ()) -> str:
    tokenizer = SimpleNamespace(decode=lambda tokens, skip_special_tokens: text_drawn)
    draft = Draft((1,), None, [1, 2, 3], finish)
    answer = draft.answer(Rules(3, 1.0, 1.0, frozenset(), stops, tokenizer.decode))
    return str(response_row(ASKED.questions()[0], 0, answer, 0)["answer"])


HOSTILE = "\x00\x1b[31m \ud83d </script>\u2028=1+1\ufeff"


def test_hostile_text_is_kept_as_it_is_and_fits_a_table(tmp_path: Path) -> None:
    text = _text(HOSTILE)
    assert text == HOSTILE.replace("\ud83d", "?").strip()
    row = dict.fromkeys(RESPONSES.names) | {"answer": text, "prompt": text}
    write_table([row], tmp_path / "rows.parquet", RESPONSES)
    assert read_table(tmp_path / "rows.parquet").to_pylist() == [row]
    with pytest.raises((UnicodeEncodeError, pa.ArrowInvalid)):  # what it guards against
        write_table([row | {"answer": HOSTILE}], tmp_path / "rows.parquet", RESPONSES)


def test_an_answer_ends_before_its_stop_text(tmp_path: Path) -> None:
    stops = ("\nQuestion:", "\nQ:")
    assert _text(" Yes.\nQ: why\nQuestion: b", "stop_text", stops) == "Yes."
    assert _text(" Yes.\nQ: why", "length", ()) == "Yes.\nQ: why"
    assert _text('{"answer": "a"}\n') == '{"answer": "a"}'


def test_answers_are_read_without_their_thoughts(tiny: Base, tmp_path: Path) -> None:
    """A column of its own where there are any, and none where there are not."""
    responses = _spec(tiny)
    plain = [SampledAnswer("Yes.", "stop", 2, 9)] * responses.count
    write_responses(responses, plain, tmp_path)
    assert "thought" not in read_table(tmp_path / TABLE).column_names
    assert [row["thought"] for row in read_answers(tmp_path / TABLE)] == [None] * responses.count
    thought = SampledAnswer("Yes.", "stop", 9, 9, thought="Hm.")
    cut = SampledAnswer("", "length", 9, 9, thought="Hm, well")
    with pytest.warns(UserWarning, match="answers are empty: their thoughts were not done at max_tokens"):
        facts = write_responses(responses, [thought, *[cut] * (responses.count - 1)], tmp_path)
    assert facts["unfinished_thoughts"] == responses.count - 1
    first, second, *_ = read_answers(tmp_path / TABLE)
    assert (first["answer"], first["thought"], second["answer"]) == ("Yes.", "Hm.", "")
