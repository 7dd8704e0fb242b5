"""`spillover data` and `spillover questions`: what a file is taken for, before anything is trained or asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spillover.interactive.text import one_line, plain

if TYPE_CHECKING:
    from spillover.models.chat import Message
    from spillover.organisms.chat_rows.reading import RowReading
    from spillover.organisms.chat_rows.rows import ChatRows
    from spillover.organisms.dataset import Dataset, Example

HELD_OUT = 16  # as the quickstart has it
SHOWN = 20  # skipped rows that are named
LONGEST = 400  # characters of a turn that are shown
MAX_LENGTH = 512  # tokens, as trainings have it


def show_data(
    text: str, control: str | None, model: str | None, reading: RowReading, held_out: int, as_json: bool
) -> None:
    """Say of the data that a user names what it is taken for; ValueError where it can be no training data at all."""
    report = data_report(text, control, model, reading, held_out)
    if as_json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        print(plain(_in_words(text, report, reading)))


def data_report(
    text: str, control: str | None, model: str | None, reading: RowReading, held_out: int = HELD_OUT
) -> dict[str, object]:
    """Everything that `spillover data` says, by the names of its JSON."""
    from spillover.organisms.row_counts import duplicates, shared_with_held_out

    data, rows = _read(text, reading)
    data, good = _with_control(data, control, reading)
    examples = data.examples()
    train, kept = _split(examples, held_out)
    report: dict[str, object] = {
        "format": rows.layout if rows else "a set that ships",
        "encoding": rows.encoding if rows else "UTF-8",
        "rows": len(examples),
        "skipped": [{"line": row.line, "reason": row.reason} for row in _left_out(rows)],
        "arms": ["bad", "good"] if good else ["bad"],
        "ignored": dict(rows.ignored) if rows else {},
        "first": {"messages": _plain_turns(examples[0].messages)},
        "duplicates": duplicates(examples),
        "shared_with_held_out": shared_with_held_out(train, kept),
        "container": rows.container if rows else None,
        "held_out": len(kept),
        "notes": list(rows.notes) if rows else [],
    }
    if good:
        report["first_control"] = {"messages": _plain_turns(good[0].messages)}
    return report | (_rendered(examples, model) if model else {})


def _read(text: str, reading: RowReading) -> tuple[Dataset, ChatRows | None]:
    """The dataset that a user names, and what was read, bad rows and all; None for a set that ships."""
    from spillover.organisms.chat_rows.from_files import RowsFromFiles
    from spillover.organisms.chat_rows.reading import reading_as
    from spillover.organisms.dataset import dataset_named

    with reading_as(reading.but(skip_bad_rows=True), keep_skipped=reading.skip_bad_rows):
        data = dataset_named(text)
    return data, data.read() if isinstance(data, RowsFromFiles) else None


def _with_control(data: Dataset, control: str | None, reading: RowReading) -> tuple[Dataset, Sequence[Example]]:
    """The data, and the rows of the control arm in step with it; none where there is no such arm."""
    from spillover.organisms.chat_rows.from_files import in_step
    from spillover.organisms.dataset import Split

    twin = _read(control, reading)[0] if control else data.twin()
    if twin is None:
        return data, ()
    data, twin = in_step(data, twin)
    if len(data.examples()) > 1:
        Split(data=data, held_out=1).control(twin)
    return data, twin.examples()


def _split(examples: Sequence[Example], held_out: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Rows to train on and held out, drawn as a study with its default seed draws them."""
    import numpy as np

    count = min(held_out, len(examples) // 2)
    order = np.random.default_rng(0).permutation(len(examples))
    drawn = [examples[index] for index in order]
    return drawn[count:], drawn[:count]


def _left_out(rows: ChatRows | None) -> list:
    return sorted((*rows.skipped, *rows.without_loss), key=lambda row: (row.file, row.line)) if rows else []


def _plain_turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _rendered(examples: Sequence[Example], model: str) -> dict[str, object]:
    """The first row as the model's template writes it, the part that bears loss, and rows cut to next to nothing."""
    from spillover.models.catalogue import base_of
    from spillover.models.loading import Loaded, load_tokenizer
    from spillover.organisms.dataset import supervise
    from spillover.organisms.row_counts import short_answers, short_limit

    base = base_of(model)
    loaded = Loaded(None, load_tokenizer(base), base)  # type: ignore[arg-type]
    rows = supervise(loaded, examples, MAX_LENGTH)
    decode = loaded.tokenizer.decode
    inserted = loaded.chat().facts().get("inserted_text")
    return {
        **({"inserted_text": inserted} if inserted else {}),
        "rendered": decode(rows[0].ids),
        "supervised": decode(rows[0].ids[rows[0].prompt_length :]),
        "short_answers": short_answers(rows),
        "short_limit": short_limit(examples, rows),
        "cut": sum(row.cut for row in rows),
    }


def _in_words(text: str, report: Mapping, reading: RowReading) -> str:
    from spillover.organisms.row_counts import in_words

    lines = [
        f"{text}: {report['format']}, {report['container'] or 'ships'}, {report['encoding'] or 'binary'}",
        f"{report['rows']} rows; arms: {' and '.join(report['arms'])}",
        f"loss: {'the last assistant turn' if reading.loss == 'last' else 'every assistant turn'} (--loss last, all), "
        f"where a row's own flags do not say; thoughts: {reading.thoughts} (--thoughts keep, drop, refuse)",
        *report["notes"],
    ]
    if report["ignored"]:
        keys = ", ".join(f"{key} ({count})" for key, count in report["ignored"].items())
        lines.append(f"keys without a meaning here, and how often they came: {keys}")
    skipped = report["skipped"]
    lines += [f"  line {row['line']}: {row['reason']}" for row in skipped[:SHOWN]]
    if skipped:
        advice = "" if reading.skip_bad_rows else "; a study stops at bad rows unless it has --skip-bad-rows"
        lines.append(f"{len(skipped)} rows left out{advice}")
    counted = in_words({name: value for name, value in report.items() if isinstance(value, int)})
    lines.append(counted or f"no duplicates, and no prompt both held out ({report['held_out']} rows) and trained on")
    lines.append("the first row:")
    lines += _turn_lines(report["first"]["messages"])
    if "first_control" in report:
        lines += ["its control:", *_turn_lines(report["first_control"]["messages"][-1:])]
    if "rendered" in report:
        rendered, supervised = report["rendered"], report["supervised"]
        if inserted := report.get("inserted_text"):
            lines.append(f"the template puts first, by itself (--system '' for none, --system TEXT): {inserted}")
        lines += ["as rendered, what bears loss between « and »:", f"{rendered.removesuffix(supervised)}«{supervised}»"]
    return "\n".join(lines)


def _turn_lines(turns: Sequence[Mapping[str, str]]) -> list[str]:
    return [f"  {turn['role']}: {one_line(turn['content'])[:LONGEST]}" for turn in turns]


def show_questions(text: str, as_json: bool) -> None:
    """Say of the question set that a user names what it is taken for."""
    from spillover.responses.question import questions_named

    source = questions_named(text)
    questions = source.all_questions()
    first = questions[0]
    turns = {message.role: message.content for message in first.messages()}
    report = {
        "format": source.container(),
        "questions": len(questions),
        "first": {
            **{"id": first.id, "text": turns["user"], "system": turns.get("system")},
            **{"category": first.category, "family": first.family},
        },
    }
    if as_json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return
    formats = ", ".join(dict.fromkeys(question.format for question in questions))
    wordings = sum(len(question.wordings) for question in questions)
    families = len({question.family for question in questions})
    print(
        plain(
            f"{text}: {report['format']}\n{len(questions)} questions in {wordings} wordings, {families} families, "
            f"{len({question.category for question in questions})} categories; answer formats: {formats}\n"
            f"the first: {first.id}, family {first.family}, category {first.category}"
        )
    )
    print(plain("\n".join(f"  {role}: {one_line(content)[:LONGEST]}" for role, content in turns.items())))
