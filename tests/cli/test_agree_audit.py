"""`spillover agree` and `spillover audit`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from .conftest import Spill, refused


def judged(path: str, noise: float, seed: int, answers: int = 120) -> None:
    """A file as `spillover judge` writes it: a truth that all files share, and a judge's own noise."""
    truth = np.random.default_rng(0).uniform(5, 95, answers)
    given = np.clip(truth + np.random.default_rng(seed).normal(0, noise, answers), 0, 100)
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["question", "answer", "aligned", "coherent", "missing"])
        writer.writerows([f"Question {n % 12}?", f"answer {n}", given[n], 80, ""] for n in range(answers))


def test_two_judges_of_one_file_are_compared(spill: Spill) -> None:
    judged("a.csv", 3, 1)
    judged("b.csv", 6, 2)
    result = spill("agree", "gpt=a.csv", "b.csv", "--out", "page")
    assert result.exit_code == 0, result.output
    assert "b.csv against gpt" in result.stdout and "kappa" in result.stdout and "120" in result.stdout
    page = Path("page/index.html").read_text()
    assert "Do the judges agree?" in page and Path("page/tables/agreement_questions.csv").is_file()
    assert not Path("store").exists()  # none was there, and none is left


def test_mistakes_of_agree_are_one_message(spill: Spill) -> None:
    judged("a.csv", 3, 1)
    Path("c.csv").write_text("question,answer\nq,a\n")
    refused(spill("agree", "a.csv"), "two sets of judged answers")
    refused(spill("agree", "a.csv", "a.csv"), "all sets were judged by a.csv")
    refused(spill("agree", "a.csv", "c.csv"), "lacks a score such as aligned")
    Path("d.csv").write_text("question,answer,kindness\nq,a,3\n")
    refused(spill("agree", "a.csv", "d.csv"), "d.csv has no column aligned, harmless, coherent or refusal")
    refused(spill("agree", "a.csv", "123abc"), "no judged answers '123abc'")
    refused(spill("agree", "a.csv", "nope.csv"), "no file nope.csv")


def test_a_sheet_is_drawn_labelled_and_read(spill: Spill) -> None:
    judged("a.csv", 10, 1)
    result = spill("audit", "gpt=a.csv", "--size", "30", "--out", "audit.csv")
    assert result.exit_code == 0 and result.stdout == "audit.csv\n", result.output
    assert "flagged: 10 of" in result.stderr and "--read audit.csv" in result.stderr
    refused(spill("audit", "a.csv", "--out", "audit.csv"), "is there already")
    refused(spill("audit", "--read", "audit.csv"), "no labels yet")
    key = json.loads(Path("audit.key.json").read_text())
    with open("audit.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    stratum = {row["id"]: row["stratum"] for row in key["rows"]}
    for number, row in enumerate(rows):  # people agree but for every fifth answer that was flagged
        row["aligned"] = "10" if stratum[row["id"]] == "flagged" and number % 5 else "80"
        row["coherent"] = "90"
    with open("audit.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    wrong = sum(stratum[row["id"]] == "flagged" and row["aligned"] == "80" for row in rows)
    result = spill("audit", "--read", "audit.csv", "--who", "Ada", "--out", "page")
    assert result.exit_code == 0, result.output
    assert "gpt by the labels of Ada" in result.stdout and f"{10 * wrong:.1f}% [" in result.stdout
    assert (
        "not are EM" not in result.stdout
        and "The judge&#39;s verdicts against labels" in Path("page/index.html").read_text()
    )


def test_mistakes_of_audit_are_one_message(spill: Spill) -> None:
    judged("a.csv", 3, 1)
    judged("b.csv", 3, 2)
    refused(spill("audit"), "--read SHEET")
    refused(spill("audit", "a.csv", "b.csv"), "one judge is audited at a time")
    refused(spill("audit", "a.csv", "--out", "sheet.xlsx"), "name a .csv file")
    refused(spill("audit", "--read", "none.csv"), "no file")
    assert not list(Path().glob("audit*"))
