"""The answers that a page carries: whole in the tables, as long as fits in the page, most moved by rule."""

import base64
import csv
import gzip
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from answer_pages import HOSTILE, WORDS, four_models, write_page

from spillover.report.answers import packed
from spillover.report.answers_section import most_moved
from spillover.report.questions_section import question_part
from spillover.report.report import measured_agreement


def unpacked(data: str) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(data)))


def test_every_answer_is_carried_with_its_scores() -> None:
    models = four_models()
    answers = packed(models)
    content = unpacked(answers.data)
    assert answers.carried == answers.total == len(content["rows"]["answer"]) == 480
    assert [model["name"] for model in content["models"]] == [model.label for model in models]
    row = 3 * 120 + 20  # the bad model's first answer to q2
    assert content["rows"]["answer"][row] == models[3].scores["answer"][20]
    assert content["scores"]["aligned"][row] == pytest.approx(models[3].scores["aligned"][20], abs=0.051)
    assert content["scores"]["aligned"][7] is None and content["reasons"][content["rows"]["missing"][7]]
    assert content["spreads"] == {"aligned": [12.0] * 480}


def test_hostile_answers_lose_what_hides_and_long_ones_their_end() -> None:
    rows = unpacked(packed(four_models()).data)["rows"]
    texts = rows["answer"][360 : 360 + len(HOSTILE)]
    assert texts[0] == HOSTILE[0] and not set("\u202e\x1b\x00\u2028") & set(texts[3])
    assert len(texts[5]) == 20_000 and rows["cut_here"][365] == 1 and sum(rows["cut_here"]) == 1


def test_answers_are_shortened_and_then_left_out_until_they_fit() -> None:
    models, rng = four_models(), np.random.default_rng(0)
    for model in models:
        model.scores["answer"][:] = [" ".join(rng.choice(WORDS, 400)) for _ in range(120)]
    whole = packed(models)
    shorter = packed(models, budget=len(whole.data) // 3)
    assert shorter.longest < whole.longest and shorter.carried == shorter.total == shorter.shortened
    assert len(shorter.data) < len(whole.data) / 2
    fewer = packed(models, budget=6_000)
    assert fewer.carried < fewer.total and fewer.carried % (4 * 12) == 0  # the first to every question
    assert packed(models).data == whole.data


def test_tables_hold_everything_whole(tmp_path) -> None:
    models = four_models()
    write_page(tmp_path, models)
    rows = pq.read_table(tmp_path / "tables" / "answers.parquet").to_pylist()
    assert len(rows) == 480 and len(rows[365]["answer"]) == 1_000_000 and rows[7]["aligned"] is None
    assert rows[0]["aligned_spread"] == 12.0
    csv.field_size_limit(2_000_000)
    with open(tmp_path / "tables" / "answers.csv", newline="", encoding="utf-8") as handle:
        assert len(list(csv.DictReader(handle))) == 480


def test_the_most_moved_answer_of_each_question_is_shown_against_the_base() -> None:
    models = four_models()
    blocks = most_moved(models)
    changes = [models[3].scores["aligned"][row] - models[0].scores["aligned"][row] for row in range(120)]
    least = min(range(120), key=lambda row: changes[row] if changes[row] == changes[row] else 0)
    assert blocks[0].note.startswith(f"q{least // 10}, sample {least % 10}: aligned moved by")
    assert [answer.model for answer in blocks[0].answers] == [model.label for model in models]
    assert len({block.note.split(",")[0] for block in blocks}) == len(blocks) == 8


def test_questions_stand_by_family_with_their_text_and_largest_fall_first() -> None:
    part = question_part(four_models(), None)
    assert part is not None and len(part.rows) == 12
    families = [row.family for row in part.rows]
    assert families == [family for family in dict.fromkeys(families) for _ in range(2)]
    assert part.rows[0].text.startswith("What about number") and len(part.rows[0].dots) == 4


def test_the_measured_agreement_is_a_sentence_of_the_card() -> None:
    card = "It reads 3 words. On new questions it correlates with people by 0.65; it is small."
    assert measured_agreement(card) == "On new questions it correlates with people by 0.65"
    assert "not in its card" in measured_agreement("A judge.")
