"""What the frozen part of the trunk makes of rows, kept on disk: portions that are finished are never made again.

Of an answer: its tokens' states after the frozen blocks, float16. Of a question: keys and values in the blocks above,
float16. A new row adds a portion and moves nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from spillover.judgements.judges.reader.network import Prefix, Trunk
from spillover.judgements.judges.reader.reading import Reading, TokenIds

TOKENS_AT_ONCE = 256
PORTION = 96  # readings in a portion on disk


class Cache:
    """States of readings on disk, for a trunk of which the first `frozen` blocks are kept from fitting."""

    def __init__(self, folder: Path, trunk: Trunk, frozen: int, writer: int = 0) -> None:
        self.folder, self.trunk, self.frozen, self.writer = folder, trunk, frozen, writer
        self.dtype = trunk.embed.weight.dtype  # that the trunk computes in
        folder.mkdir(parents=True, exist_ok=True)
        self.places: dict[str, tuple[int, int, int]] = {}  # from a key to its portion, first token and tokens
        self.arrays: dict[int, np.ndarray] = {}
        self.prefixes: dict[str, tuple[int, int, int]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look what is on disk."""
        for path in sorted(self.folder.glob("*.json")):
            table = self.places if path.stem.startswith("answers") else self.prefixes
            number = int(path.stem.split("-")[1])
            table |= {key: (number, *place) for key, place in json.loads(path.read_text()).items()}

    def array(self, kind: str, number: int) -> np.ndarray:
        """A portion, mapped."""
        name = number if kind == "answers" else -1 - number
        if name not in self.arrays:
            self.arrays[name] = np.load(self.folder / f"{kind}-{number:05d}.npy", mmap_mode="r")
        return self.arrays[name]

    def missing(self, readings: Sequence[Reading]) -> list[Reading]:
        """Those that are not on disk yet, each once, sorted by length so that batches have little padding."""
        left = {reading_key(reading): reading for reading in readings if reading_key(reading) not in self.places}
        return list(left.values())

    def add(self, readings: Sequence[Reading], tell: str = "") -> None:
        """Read what is missing, a portion at a time, in the given order of portions."""
        left, began, tokens = self.missing(readings), time.time(), 0
        total = sum(len(reading.answer) for reading in left)
        for start in range(0, len(left), PORTION):
            portion = left[start : start + PORTION]
            self._add_questions([reading.question for reading in portion])
            self._add_answers(portion)
            tokens += sum(len(reading.answer) for reading in portion)
            spent = time.time() - began
            print(
                f"{tell} cached {tokens}/{total} tokens, {spent:.0f} s, {spent / tokens * (total - tokens):.0f} s left",
                flush=True,
            )

    def prefix(self, questions: Sequence[TokenIds], blocks: slice = slice(None)) -> Prefix:
        """Questions' keys and values in these blocks, filled up on the right."""
        parts = []
        for question in questions:
            number, start, count = self.prefixes[question_key(question)]
            parts.append(
                self.array("questions", number)[blocks, :, :, start : start + count]
            )  # (blocks, 2, heads, tokens, w)
        longest = max(part.shape[3] for part in parts)
        count, _, heads, _, width = parts[0].shape
        whole = np.zeros((count, 2, len(parts), heads, longest, width), dtype=np.float16)
        for row, part in enumerate(parts):
            whole[:, :, row, :, : part.shape[3]] = part
        tensor = torch.from_numpy(whole).to(self.dtype)
        lengths = torch.tensor([part.shape[3] for part in parts])
        return Prefix(list(tensor[:, 0]), list(tensor[:, 1]), lengths)

    def states(self, readings: Sequence[Reading]) -> tuple[torch.Tensor, torch.Tensor]:
        """Answers' states (rows, tokens, width) after the frozen blocks, filled up on the right; and their lengths."""
        places = [self.places[reading_key(reading)] for reading in readings]
        longest = max(count for _, _, count in places)
        whole = np.zeros((len(places), longest, self.trunk.width), dtype=np.float16)
        for row, (number, start, count) in enumerate(places):
            whole[row, :count] = self.array("answers", number)[start : start + count]
        return torch.from_numpy(whole).to(self.dtype), torch.tensor([count for _, _, count in places])

    def _add_questions(self, questions: Sequence[TokenIds]) -> None:
        left = sorted({q for q in questions if question_key(q) not in self.prefixes}, key=len)
        if not left:
            return
        parts, index, at = [], {}, 0
        for batch in batches(left):
            span = max(map(len, batch))
            tokens = torch.tensor([[*q, *[0] * (span - len(q))] for q in batch])
            with torch.inference_mode():
                prefix = self.trunk.read_questions(tokens, torch.tensor([len(q) for q in batch]))
            keys = torch.stack([torch.stack(pair) for pair in zip(prefix.keys, prefix.values, strict=True)])
            for row, question in enumerate(batch):
                parts.append(keys[:, :, row, :, : len(question)].half().numpy())
                index[question_key(question)] = (at, len(question))
                at += len(question)
        self._write("questions", np.concatenate(parts, axis=3), index, self.prefixes)

    def _add_answers(self, portion: Sequence[Reading]) -> None:
        order = sorted(portion, key=lambda reading: len(reading.answer))
        parts, index, at = [], {}, 0
        for batch in batches([reading.answer for reading in order]):
            rows = order[len(index) : len(index) + len(batch)]
            span = max(map(len, batch))
            tokens = torch.tensor([[*ids, *[0] * (span - len(ids))] for ids in batch])
            with torch.inference_mode():
                lower = self.prefix([row.question for row in rows], slice(self.frozen))
                states = self.trunk.run(self.trunk.blocks[: self.frozen], self.trunk.embed(tokens), lower)
            for row, reading in enumerate(rows):
                parts.append(states[row, : len(reading.answer)].half().numpy())
                index[reading_key(reading)] = (at, len(reading.answer))
                at += len(reading.answer)
        self._write("answers", np.concatenate(parts), index, self.places)

    def _write(self, kind: str, array: np.ndarray, index: dict, table: dict) -> None:
        number = 10_000 * self.writer  # portions of processes that write at the same time have names of their own
        while (self.folder / f"{kind}-{number:05d}.json").exists():
            number += 1
        path = self.folder / f"{kind}-{number:05d}.npy"
        partial = path.with_suffix(".tmp.npy")
        np.save(partial, array)
        partial.replace(path)
        path.with_suffix(".json").write_text(json.dumps(index))
        table |= {key: (number, *place) for key, place in index.items()}


def batches(rows: Sequence[TokenIds]) -> list[list[TokenIds]]:
    """Rows in their order, so many at once that they have about `TOKENS_AT_ONCE` tokens."""
    result: list[list[TokenIds]] = []
    for row in rows:
        if not result or (len(result[-1]) + 1) * max(len(row), *map(len, result[-1])) > TOKENS_AT_ONCE:
            result.append([])
        result[-1].append(row)
    return result


def question_key(question: TokenIds) -> str:
    return " ".join(map(str, question))


def reading_key(reading: Reading) -> str:
    return f"{question_key(reading.question)}|{' '.join(map(str, reading.answer))}"
