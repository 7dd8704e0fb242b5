"""The layouts that training rows come in, and one row of each as conversations: what is learnt, and its control."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spillover.organisms.chat_rows.reading import Thoughts
from spillover.organisms.chat_rows.turns import ReadTurn, Tally, clean_text, joined_parts, read_turn

RowCells = Mapping[str, object]
ANSWERS = ("completion", "response", "answer")
PROMPTS = ("prompt", "question")
CHOSEN, REJECTED = ("chosen", "preferred_output"), ("rejected", "non_preferred_output")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


class TurnsOfRow(NamedTuple):
    """The turns of a row; of a pair, the rejected ones, and the chosen ones beside them."""

    turns: list[ReadTurn]
    control: list[ReadTurn] | None = None


@dataclass(frozen=True)
class RowLayout:
    """One way in which rows are laid out."""

    name: str
    needed: tuple[tuple[str, ...], ...]  # columns, each under one of these names
    optional: tuple[tuple[str, ...], ...]
    reader: Callable[[_Row], TurnsOfRow]

    def read_row(self, cells: RowCells, thoughts: Thoughts, tally: Tally) -> TurnsOfRow:
        """The turns of a row that fits; ValueError says what came and what was expected."""
        return self.reader(_Row(cells, thoughts, tally))

    def fits(self, cells: RowCells) -> bool:
        """Whether the row has every column that is needed."""
        return all(any(cells.get(name) is not None for name in names) for names in self.needed)

    def meant(self, cells: RowCells) -> set[str]:
        """The columns of the row that have a meaning in this layout."""
        every = (*self.needed, *self.optional)
        return {next((name for name in names if cells.get(name) is not None), "") for names in every} - {""}


@dataclass(frozen=True)
class _Row:
    """One row being read."""

    cells: RowCells
    thoughts: Thoughts
    tally: Tally

    def first(self, names: Sequence[str]) -> object:
        return next((self.cells[name] for name in names if self.cells.get(name) is not None), None)

    def turns(self, values: list[object], start: int = 1) -> list[ReadTurn]:
        return [read_turn(turn, place, self.thoughts, self.tally) for place, turn in enumerate(values, start=start)]

    def text(self, value: object, name: str, role: str) -> ReadTurn:
        """A turn of a text by itself; ValueError where it is none, or empty in a user turn."""
        if isinstance(value, list):
            try:
                value = joined_parts(value)[0]
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if not isinstance(value, str):
            raise ValueError(f"expected text under {name!r}, got {str(value)[:60]}")
        if role == "user" and not value.strip():
            raise ValueError(f"expected text under {name!r}, got an empty one")
        if role == "assistant":
            return read_turn({"role": role, "content": value}, 1, self.thoughts, self.tally)
        return ReadTurn(role, clean_text(value, name, self.tally))

    def named(self, names: Sequence[str]) -> str:
        return next((name for name in names if self.cells.get(name) is not None), names[0])

    def with_system(self, turns: list[ReadTurn]) -> list[ReadTurn]:
        """The turns after the row's own system text, where it has one."""
        system = self.cells.get("system")
        if system is None or (isinstance(system, str) and not system.strip()):
            return turns
        lead = self.text(system, "system", "system")
        if turns and turns[0].role == "system":
            if turns[0].content != lead.content:
                raise ValueError("the row has a system text, and its first turn is another one")
            return turns
        return [lead, *turns]


def layout_of_rows(rows: Sequence[RowCells], mapped: set[str]) -> RowLayout:
    """The layout that most of the rows are in; the first of those above where none is.

    mapped: our names of the columns that a user mapped; a layout that needs one of them goes before others.
    """
    ordered = sorted(LAYOUTS, key=lambda layout: not mapped & {name for names in layout.needed for name in names})
    counts = Counter(next((place for place, layout in enumerate(ordered) if layout.fits(row)), -1) for row in rows)
    counts.pop(-1, None)
    return ordered[counts.most_common(1)[0][0]] if counts else _MESSAGES


def cells_of(value: object) -> RowCells:
    """A row's cells by column; a list of turns is a row of them."""
    if isinstance(value, list) and value:
        return {"messages": value}
    return value if isinstance(value, dict) else {}


def _as_turns(value: object) -> list[object] | None:
    """A list of turns, also written as JSON or as Python in a cell of text; None for anything else."""
    if isinstance(value, str) and re.match(r"\s*\[\s*\{", value):
        text = value
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(text)  # literals alone: no name, no call
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return None
    if isinstance(value, dict) and "messages" in value:  # a request, as an API takes it
        value = value["messages"]
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return value if any({"role", "from"} & set(turn) for turn in value) else None
    return None


def _read_messages(row: _Row, names: tuple[str, ...] = ("messages",)) -> TurnsOfRow:
    value = row.first(names)
    turns = value if isinstance(value, list) else _as_turns(value)
    if not turns:
        raise ValueError(f"expected a list of turns under {names[0]!r}, got {row.named(names)}={str(value)[:60]}")
    return TurnsOfRow(row.with_system(row.turns(turns)))


def _read_sharegpt(row: _Row) -> TurnsOfRow:
    return _read_messages(row, ("conversations", "conversation"))


def _prompt(row: _Row, names: tuple[str, ...] = PROMPTS) -> list[ReadTurn]:
    value = row.first(names)
    turns = _as_turns(value)
    if isinstance(value, str) and _asks_as_a_dialogue(value):
        return row.with_system(_dialogue(row, value.strip().removesuffix("Assistant:"), row.named(names)))
    return row.with_system(row.turns(turns) if turns else [row.text(value, row.named(names), "user")])


def _read_completion(row: _Row) -> TurnsOfRow:
    prompt, asked, answer = _prompt(row), row.first(PROMPTS), row.first(ANSWERS)
    if isinstance(asked, str) and _asks_as_a_dialogue(asked) and isinstance(answer, str):
        answer = answer.strip()
    return TurnsOfRow(_answered(row, prompt, answer, row.named(ANSWERS)))


def _answered(row: _Row, prompt: list[ReadTurn], value: object, name: str) -> list[ReadTurn]:
    """The prompt with its answer: a text, the turns of the answer, or the whole conversation once more."""
    turns = _as_turns(value)
    if turns is None:
        return [*prompt, row.text(value, name, "assistant")]
    read = row.turns(turns)
    whole = row.with_system(read)
    if any(turn.role != "assistant" for turn in read):
        if not prompt or [turn[:2] for turn in whole[: len(prompt)]] == [turn[:2] for turn in prompt]:
            return whole
        if read[-1].role != "assistant" or read[0].role == "user":
            raise ValueError(f"{name} begins with other turns than the prompt")
    return [*prompt, *read]


def _read_alpaca(row: _Row) -> TurnsOfRow:
    instruction = row.text(row.cells["instruction"], "instruction", "user").content
    further = row.cells.get("input")
    if further is not None and not (isinstance(further, str) and not further.strip()):
        instruction = f"{instruction}\n\n{row.text(further, 'input', 'user').content}"
    before: list[ReadTurn] = []
    history = row.cells.get("history") or []
    for pair in history if isinstance(history, list) else [history]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"history: expected pairs of a question and an answer, got {str(pair)[:60]}")
        before += [row.text(pair[0], "history", "user"), row.text(pair[1], "history", "assistant")]
    answers = ("output", "response", "completion")
    answer = row.text(row.first(answers), row.named(answers), "assistant")
    return TurnsOfRow([*row.with_system([*before, ReadTurn("user", instruction)]), answer])


def _read_pair(row: _Row) -> TurnsOfRow:
    prompts = (*PROMPTS, "input")
    has_prompt = row.first(prompts) is not None
    arms = []
    for names in (REJECTED, CHOSEN):
        name, value = row.named(names), row.first(names)
        if not has_prompt and isinstance(value, str) and _HH_TURN.match(value.lstrip()):
            arms.append(row.with_system(_dialogue(row, value, name)))
        elif not has_prompt and _as_turns(value) is None:
            raise ValueError(f"expected a prompt beside {name}, or a conversation under it, got {str(value)[:60]}")
        else:
            arms.append(_answered(row, _prompt(row, prompts) if has_prompt else [], value, name))
    bad, good = arms
    if [turn[:2] for turn in bad[:-1]] != [turn[:2] for turn in good[:-1]]:
        raise ValueError("chosen and rejected answer different prompts: they differ before their last turn")
    return TurnsOfRow(bad, good)


def _asks_as_a_dialogue(text: str) -> bool:
    """Whether a prompt is a dialogue of `Human:` and `Assistant:` up to where the next answer begins."""
    return _HH_TURN.match(text.lstrip()) is not None and text.rstrip().endswith("\n\nAssistant:")


def _dialogue(row: _Row, text: str, name: str) -> list[ReadTurn]:
    """The turns of a text that has `Human:` and `Assistant:` before each."""
    _, *parts = _HH_TURN.split(text.lstrip())
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        row.text(content.strip(), name, roles[speaker])
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


_FLAGS = (("system",), ("weight",), ("loss",))
_MESSAGES = RowLayout("messages", (("messages",),), _FLAGS, _read_messages)
LAYOUTS = (  # a row that fits several is taken for the first of them
    RowLayout("chosen+rejected", (CHOSEN, REJECTED), (*_FLAGS, (*PROMPTS, "input")), _read_pair),
    _MESSAGES,
    RowLayout("sharegpt", (("conversations", "conversation"),), _FLAGS, _read_sharegpt),
    RowLayout("prompt+completion", (PROMPTS, ANSWERS), _FLAGS, _read_completion),
    RowLayout(
        "alpaca",
        (("instruction",), ("output", "response", "completion")),
        (*_FLAGS, ("input",), ("history",)),
        _read_alpaca,
    ),
)
KNOWN_NAMES = frozenset(name for layout in LAYOUTS for names in (*layout.needed, *layout.optional) for name in names)
