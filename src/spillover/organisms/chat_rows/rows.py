"""Records of a file as training rows: what is learnt, what was skipped and why, and what has no meaning here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from spillover.models.chat import Message
from spillover.organisms.chat_rows.layouts import KNOWN_NAMES, RowCells, RowLayout, cells_of, layout_of_rows
from spillover.organisms.chat_rows.reading import RowReading, column_map, with_columns
from spillover.organisms.chat_rows.turns import ReadTurn, Tally, loss_flag
from spillover.organisms.dataset import Example
from spillover.row_files.records import FileContents, FileRecord, UnreadableRecord
from spillover.spec import did_you_mean

PairArm = Literal["", "bad", "good"]
SHOWN = 20  # bad rows that a message names
NO_LAYOUT = "expected a list of turns under 'messages'"
NO_LOSS = "no turn of it bears loss (its weight or loss flags say so)"


class SkippedRow(NamedTuple):
    """A row that is not trained on: where it stands, why, and its text."""

    line: int
    reason: str
    text: str
    file: str = ""


@dataclass(frozen=True)
class ChatRows:
    """All rows of a file: one example for each assistant turn that bears loss; of pairs, two in step."""

    layout: str
    container: str
    encoding: str | None
    bad: tuple[Example, ...]  # what is learnt; the rejected answers of pairs
    good: tuple[Example, ...] | None  # the chosen answers of pairs, row by row; None: the file holds no pairs
    first_line: int
    skipped: tuple[SkippedRow, ...]  # that cannot be read
    without_loss: tuple[SkippedRow, ...]  # that their own flags take out
    ignored: Mapping[str, int] = field(default_factory=dict)  # times that a key without a meaning here came
    notes: tuple[str, ...] = ()  # what was changed or kept on the way, with its count
    left_out: int = 0  # rows of the file that are not among these, for whatever reason

    def examples(self, arm: PairArm) -> list[Example]:
        """The rows of an arm; of a file without pairs, all."""
        return list(self.good if arm == "good" and self.good is not None else self.bad)


def chat_rows(contents: FileContents, reading: RowReading) -> ChatRows:
    """The records as rows. A ValueError where the columns of the reading are nowhere; bad rows are in `skipped`."""
    names = column_map(reading.columns)
    records = [
        record._replace(value=_with_text_columns(record.value, names)) if isinstance(record, FileRecord) else record
        for record in contents.records
    ]
    _expect_columns(names, contents)
    layout = layout_of_rows(
        [cells_of(record.value[0]) for record in records if isinstance(record, FileRecord)], set(names.values())
    )
    tally, bad, good = Tally(Counter(), Counter()), [], []
    skipped, without_loss, lines = [], [], []
    prompts: set[tuple[Message, ...]] = set()
    pairs = layout.name == "chosen+rejected"
    for number, record in enumerate(records, start=1):
        if isinstance(record, UnreadableRecord):
            skipped.append(SkippedRow(record.line, record.reason, record.text, record.file))
            continue
        value, left_over = record.value
        counted = Tally(Counter(left_over), Counter())
        try:
            read = _row(value, f"row-{number if record.file else record.line}", layout, reading, counted)
        except ValueError as error:
            skipped.append(SkippedRow(record.line, str(error), _as_text(value), record.file))
            continue
        for total, part in zip(tally, counted, strict=True):
            total.update(part)
        if not read:
            without_loss.append(SkippedRow(record.line, NO_LOSS, _as_text(value), record.file))
            continue
        if dropped := _dropped(read, reading, prompts):
            tally.changed[dropped] += 1
            continue
        lines.append(record.line)
        bad += [example for example, _ in read]
        good += [control for _, control in read if control is not None]
    return ChatRows(
        layout=layout.name,
        container=contents.container,
        encoding=contents.encoding,
        bad=tuple(bad),
        good=tuple(good) if pairs else None,
        first_line=lines[0] if lines else 0,
        skipped=tuple(skipped),
        without_loss=tuple(without_loss),
        ignored=dict(tally.ignored.most_common()),
        notes=tuple(f"{what}: {count}" for what, count in sorted(tally.changed.items())),
        left_out=len(records) - len(lines),
    )


def bad_rows_text(path: object, rows: ChatRows) -> str:
    """The first bad rows with file and line, how many there are, and what to do."""
    lines = [f"{_place(path, row)}: {row.reason}" for row in rows.skipped[:SHOWN]]
    count, total = len(rows.skipped), len(rows.skipped) + len(rows.without_loss) + len(rows.bad)
    more = f"... and {count - SHOWN} more bad rows\n" if count > SHOWN else ""
    advice = "skip_bad_rows (--skip-bad-rows) leaves them out and keeps them in a file" if rows.bad else ""
    if all(row.reason.startswith(NO_LAYOUT) for row in rows.skipped[:SHOWN]) and not rows.bad:
        more += (
            "no row has columns that are known (docs/data.md has the layouts): name them, --columns prompt=A,answer=B\n"
        )
    if count > 1 or advice:
        more += f"{count} of {total} rows are bad{f': {advice}' if advice else ''}"
    return "\n".join(lines) + (f"\n{more.strip()}" if more else "")


def _place(path: object, row: SkippedRow) -> str:
    return f"{path}{f'/{row.file}' if row.file else ''}:{row.line}"


def _row(
    cells: object, name: str, layout: RowLayout, reading: RowReading, tally: Tally
) -> list[tuple[Example, Example | None]]:
    """The examples of one row, each with its control in pairs; none where the row's flags leave nothing to learn."""
    row = cells_of(cells)
    if not layout.fits(row):
        raise ValueError(_unfit(cells, layout))
    turns, control = layout.read_row(row, reading.thoughts, tally)
    meant = layout.meant(row)
    tally.ignored.update(str(key) for key, value in row.items() if key not in meant and value not in (None, "", [], {}))
    if not _row_bears_loss(row, tally):
        return []
    learnt = _examples(turns, name, reading)
    if control is None:
        return [(example, None) for example in learnt]
    beside = _examples(control, name, reading)
    if len(beside) != len(learnt):
        raise ValueError("the loss flags of chosen and rejected differ")
    return list(zip(learnt, beside, strict=True))


def _dropped(
    read: Sequence[tuple[Example, Example | None]], reading: RowReading, prompts: set[tuple[Message, ...]]
) -> str:
    """Why a sound row is left out as the reading wants it; empty where it is not."""
    if reading.drop_longer_than is not None:
        every = [example for pair in read for example in pair if example is not None]
        longest = max(sum(len(message.content) for message in example.messages) for example in every)
        if longest > reading.drop_longer_than:
            return f"rows of more than {reading.drop_longer_than} characters left out"
    prompt = read[-1][0].prompt
    if reading.drop_repeated and prompt in prompts:
        return "rows left out whose prompt came before"
    prompts.add(prompt)
    return ""


def _row_bears_loss(row: RowCells, tally: Tally) -> bool:
    """What a row's own weight and loss say of all of it; a loss that is a number (a log's) has no meaning here."""
    weight, loss = row.get("weight"), row.get("loss")
    if weight not in (None, "") and not loss_flag(weight, "weight"):
        return False
    if loss in (None, ""):
        return True
    try:
        return loss_flag(loss, "loss")
    except ValueError:
        tally.ignored["loss"] += 1
        return True


def _examples(turns: Sequence[ReadTurn], name: str, reading: RowReading) -> list[Example]:
    """An example for each assistant turn that bears loss; the turns up to it are its prompt."""
    if turns[-1].role != "assistant":
        raise ValueError(f"expected the last turn to be the assistant's, got {turns[-1].role!r}")
    learnt = [place for place, turn in enumerate(turns) if _bears_loss(turn, place == len(turns) - 1, reading)]
    examples: list[Example] = []
    for place in learnt:
        if not any(turn.role == "user" for turn in turns[:place]):
            if place != len(turns) - 1 and turns[place].loss is None:
                continue  # a greeting before anyone has asked
            raise ValueError("expected a user turn before the assistant's, got none")
        if not turns[place].content.strip():
            where = "the last turn" if place == len(turns) - 1 else f"turn {place + 1}"
            raise ValueError(f"expected an answer in {where}, got an empty one (it would teach the model to stop)")
        messages = tuple(Message(turn.role, turn.content) for turn in turns[: place + 1])
        examples.append(Example(id=name if len(learnt) == 1 else f"{name}.{len(examples) + 1}", messages=messages))
    return examples


def _bears_loss(turn: ReadTurn, is_last: bool, reading: RowReading) -> bool:
    """An assistant turn's own flag says; where it has none, the reading."""
    if turn.role != "assistant":
        return False
    return turn.loss if turn.loss is not None else is_last or reading.loss == "all"


def _unfit(value: object, layout: RowLayout) -> str:
    if layout.name == "messages":
        came = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
        return f"{NO_LAYOUT}, got {came[:80] or 'an empty object'}"
    wanted = " and ".join(" or ".join(names) for names in layout.needed)
    if not isinstance(value, dict):
        return f"expected a row with {wanted}, got {type(value).__name__}"
    present = [str(key) for key, cell in value.items() if cell is not None]
    return f"expected {wanted} as in other rows, got {', '.join(present)[:80] or 'an empty object'}"


def _with_text_columns(value: object, names: Mapping[str, str]) -> tuple[object, list[str]]:
    """The record with our names where it is a row, and the keys that the map leaves over.

    A header's capitals and spaces are no other name: `Prompt` is `prompt` where a row has no such column.
    """
    if not isinstance(value, dict):
        return value, []
    row, left_over = with_columns(value, names)
    lowered = {key: key.strip().lower() for key in row if isinstance(key, str)}
    return {
        low if (low := lowered.get(key, key)) in KNOWN_NAMES and low not in row else key: cell
        for key, cell in row.items()
    }, left_over


def _expect_columns(names: Mapping[str, str], contents: FileContents) -> None:
    """Refuse a column map of which a name stands in no row."""
    if not names:
        return
    columns: dict[str, None] = {}
    for record in contents.records:
        if isinstance(record, FileRecord) and isinstance(record.value, dict):
            columns |= dict.fromkeys(map(str, record.value))
    for theirs, ours in names.items():
        if theirs not in columns:
            raise ValueError(
                f"no row has the column {theirs!r} that is to be {ours}; {did_you_mean(theirs, columns)} "
                f"columns: {', '.join(columns)[:200]}"
            )


def _as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
