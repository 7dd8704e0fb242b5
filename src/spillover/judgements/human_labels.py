"""What people said of answers that a judge had scored, read back from an audit's sheet: a judge like any other."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from spillover.judgements.audit_sheet import LABELS, AuditKey, digest, key_path
from spillover.judgements.scored_answers import ANSWER_COLUMNS, Condition, ScoreColumns, ScoredAnswers, score_columns
from spillover.records import JUDGEMENTS, RESPONSES, read_json, write_json, write_table
from spillover.regular_files import absolute
from spillover.spec import decode, location_field
from spillover.store import BuildContext, Store

KEY = "key.json"
NOT_LABELLED = "not labelled"


class HumanLabels(ScoredAnswers):
    """Scores that people gave to a sample of answers which a judge had scored."""

    sets: tuple[ScoredAnswers, ...] = Field(min_length=1)  # of judged answers, from which the sample was drawn
    who: str  # labelled
    sha256: str  # of the sheet and its key
    path: str = location_field()

    @classmethod
    def from_file(cls, path: Path | str, who: str = "people") -> Self:
        """The labels in the sheet at `path`, as it is now."""
        sheet = absolute(path)
        for file in (sheet, key_path(sheet)):
            if not file.is_file():
                raise ValueError(f"no file {file}: labels are read from a sheet and the key that was written beside it")
        key = read_json(key_path(sheet))
        labelled(sheet, key)
        return cls(sets=tuple(map(decode, key["sets"])), who=who, sha256=_sha256(sheet), path=str(sheet))

    @property
    def subject(self) -> str:
        return ", ".join(dict.fromkeys(scored.subject for scored in self.sets))

    @property
    def judge_name(self) -> str:
        return f"labels/{self.version}.{self.sha256[:8]} {self.who}"

    @property
    def rubric_name(self) -> str:
        return "labelled by hand"

    @property
    def metrics(self) -> tuple[str, ...]:
        return LABELS

    def judge_card(self) -> str:
        return (
            f"{self.who} labelled a sample of answers, without the judge's scores in sight. A label says what one "
            f"reader thought; with two readers, `spillover agree` says how far they agree."
        )

    def conditions(self) -> Mapping[str, Condition]:
        return {**self.sets[0].conditions(), "judge": Condition(f"{self.kind}/{self.fingerprint}", self.summary)}

    def summary(self) -> str:
        return f"Labels by {self.who} of answers of {self.subject}"

    def columns(self, store: Store) -> ScoreColumns:
        return score_columns(store.path(self), store.path(self), self.metrics)

    def key(self, store: Store) -> AuditKey:
        """The audit's key: strata, how many answers each holds, and which answer each row of the sheet is."""
        return read_json(store.path(self) / KEY)  # type: ignore[no-any-return]

    def make(self, context: BuildContext) -> dict[str, object]:
        sheet = Path(self.path)
        if not sheet.is_file() or not key_path(sheet).is_file() or _sha256(sheet) != self.sha256:
            raise ValueError(
                f"{sheet} or its key is not there any more, or not what it was when it was read: read it anew"
            )
        key = read_json(key_path(sheet))
        labels = labelled(sheet, key)
        sets = [scored.columns(context.store) for scored in self.sets]
        answers, scores = [], []
        for row in key["rows"]:
            answer = {name: _plain(sets[row["set"]][name][row["row"]]) for name in ANSWER_COLUMNS}
            if digest(answer["answer"]) != row["answer"]:
                raise ValueError(
                    f"{sheet.name}, id {row['id']}: the answers are not those that the sheet was drawn from"
                )
            answers.append(dict.fromkeys(RESPONSES.names) | answer)
            of_answer = {"question_id": answer["question_id"], "sample": answer["sample"], "judge": self.judge_name}
            for metric, score in labels[row["id"]].items():
                missing = NOT_LABELLED if score is None else None
                label = {"metric": metric, "score": score, "missing": missing, "rubric": self.rubric_name}
                scores.append(dict.fromkeys(JUDGEMENTS.names) | of_answer | label)
        write_table(answers, context.folder / "responses.parquet", RESPONSES, self.row_labels())
        write_table(scores, context.folder / "judgements.parquet", JUDGEMENTS, self.row_labels())
        write_json(key, context.folder / KEY)
        return {"answers": len(answers), "labelled": sum(None not in labels[row["id"]].values() for row in key["rows"])}


def labelled(sheet: Path, key: AuditKey) -> dict[str, dict[str, float | None]]:
    """The labels of each row of the key by its id; None where there is none. ValueError for what cannot be meant."""
    labels: dict[str, dict[str, float | None]] = {row["id"]: dict.fromkeys(LABELS) for row in key["rows"]}
    seen: set[str] = set()
    for row in _rows(sheet):
        id = (row.get("id") or "").strip().lstrip("'")
        id = id.zfill(3) if id.isdigit() else id  # a spreadsheet takes 007 for 7
        if id not in labels or id in seen:
            what = "twice" if id in seen else "not in its key"
            raise ValueError(f"{sheet.name}: the id {id!r} is there {what}; labels go into the sheet as it was written")
        seen.add(id)
        labels[id] = {name: _label(row.get(name), f"{sheet.name}, id {id}, {name}") for name in LABELS}
    if not any(None not in scores.values() for scores in labels.values()):
        raise ValueError(
            f"{sheet.name} has no labels yet: write numbers from 0 (worst) to 100 (best) into {' and '.join(LABELS)}"
        )
    return labels


def _label(cell: str | None, what: str) -> float | None:
    """A score from a cell: a number from 0 to 100, or nothing; else a ValueError that names the cell by `what`."""
    if cell is None or not cell.strip():
        return None
    try:
        score = float(cell)
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 100:
        raise ValueError(f"{what}: a score is a number from 0 to 100, or nothing; got {cell!r:.60}")
    return score


def _rows(sheet: Path) -> list[dict[str, str]]:
    try:
        text = sheet.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{sheet.name} is not UTF-8 text: save it as `CSV UTF-8`") from None
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(
        text.splitlines(keepends=True), delimiter=";" if first.count(";") > first.count(",") else ","
    )
    lacking = [name for name in ("id", *LABELS) if name not in (reader.fieldnames or ())]
    if lacking:
        raise ValueError(
            f"{sheet.name} has no column {', '.join(lacking)}: keep the columns of the sheet as it was written"
        )
    return list(reader)


def _sha256(sheet: Path) -> str:
    return hashlib.sha256(sheet.read_bytes() + key_path(sheet).read_bytes()).hexdigest()


def _plain(value: object) -> object:
    """A value of an array as Python's own; a number that is not known is None, those that are known are whole."""
    if not isinstance(value, np.generic):
        return value
    return None if np.isnan(value) else int(value)
