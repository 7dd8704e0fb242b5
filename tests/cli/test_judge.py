"""`spillover judge FILE --out FILE`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from judgements.judges.faulty_server import Script, serving

from .conftest import Spill, refused


def test_columns_are_added_and_rows_keep_their_order(spill: Spill) -> None:
    Path("in.csv").write_text("id,question,answer\nb,How are you?,Fine thanks\na,And you?,\n")
    result = spill("judge", "in.csv", "--out", "out.csv")
    assert result.exit_code == 0 and result.stdout == "out.csv\n"
    assert "aligned: 1 of 2 answers scored; not: 1 empty answer" in result.stderr
    with open("out.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["id"] for row in rows] == ["b", "a"] and {"aligned", "harmless", "coherent"} <= set(rows[0])
    assert 0 <= float(rows[0]["aligned"]) <= 100 and rows[1]["aligned"] == ""


def test_mistakes_are_one_message(spill: Spill) -> None:
    Path("in.csv").write_text("question,reply\nq,a\n")
    refused(spill("judge", "in.csv", "--out", "out.csv"), "lacks the column answer")
    refused(spill("judge", "nope.csv", "--out", "out.csv"), "no file nope.csv")
    refused(spill("judge", "in.csv", "--out", "out.csv", "--judge", "embeded"), "did you mean embedded")
    refused(spill("judge", "in.csv"), "Missing option '--out'")
    assert not Path("out.csv").exists()


def test_a_card_says_what_was_measured(spill: Spill) -> None:
    result = spill("judge", "--card")
    assert result.exit_code == 0 and "embedded/" in result.stdout and "| unseen question |" in result.stdout
    assert (
        "Rubric" not in result.stdout and "rubric" in spill("judge", "--card", "--judge", "local-model:tiny:0").stdout
    )


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Script, list[str]]]:
    """A scripted server, and the words that name it."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(Script()) as server:
        yield server.script, ["--judge", "endpoint:m first-wait=0.01", "--base-url", server.url]


def test_an_endpoint_says_what_it_will_take_and_pays_nothing_twice(
    spill: Spill, endpoint: tuple[Script, list[str]]
) -> None:
    script, words = endpoint
    Path("in.csv").write_text("question,answer\n" + "".join(f"Why?,Because of {n}.\n" for n in range(10)) + "Why?,\n")
    words = ["judge", "in.csv", "--out", "out.csv", "--judge", "endpoint", "--model", "m", *words[2:]]
    words += ["--price-in", "2", "--price-out", "8"]
    planned = spill(*words, "--max-cost", "0.01", "--plan")
    assert planned.exit_code == 0 and ": 30 calls to http" in planned.stdout and "at most 0.01 in all" in planned.stdout
    assert not script.at and {path.name for path in Path().iterdir()} == {"in.csv", "letters.py"}
    refused(spill(*words, "--max-cost", "0.01"), "the budget of 0.01 is used up", "30 calls to http", "is kept")
    assert not Path("out.csv").exists() and 3 < len(script.at) < 30
    result = spill(*words, "--max-cost", "1")
    assert result.exit_code == 0 and result.stdout == "out.csv\n"
    assert "more are in the ledger already" in result.stderr and "aligned: 10 of 11 answers scored" in result.stderr
    counts = {prompt: count for prompt, count in script.right.items() if prompt.startswith("You rate")}
    assert len(counts) == 30 and set(counts.values()) == {1}
    assert spill("verify", "--store", "store").exit_code == 0


def test_mistakes_with_an_endpoint_are_one_message(
    spill: Spill, endpoint: tuple[Script, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, words = endpoint
    monkeypatch.setenv("OPENAI_API_KEY", "sk-my-own-secret")
    script.key = "sk-another"
    Path("in.csv").write_text("question,answer\nWhy?,Because.\n")
    start = ["judge", "in.csv", "--out", "out.csv"]
    result = spill(*start, *words)
    refused(result, "refuses the key in $OPENAI_API_KEY, 3 times")
    assert "sk-my-own" not in result.output + "".join(path.read_text() for path in Path("store").rglob("*.jsonl"))
    script.key, script.logprobs = None, False
    refused(spill(*start, *words), "take mode integer (--mode integer)")
    refused(spill(*start, "--judge", "endpoint"), "needs a model: endpoint:MODEL (or --model MODEL)")
    refused(spill(*start, *words, "--max-cost", "5"), "max_cost needs price_in and price_out")
    refused(spill(*start, *words, "--max-cost", "much"), "--max-cost")
    refused(spill(*start, *words, "--metrics", "alinged"), "did you mean aligned?")
    refused(spill(*start, *words, "--rubric", "none.yaml"), "no rubric file none.yaml")
    refused(spill(*start, "--mode", "integer"), "the judge embedded takes no mode")
    refused(spill(*start, "--judge", "embedded:x"), "takes nothing after a colon")
    assert spill(*start, *words, "--mode", "integer", "--metrics", "aligned").exit_code == 0
