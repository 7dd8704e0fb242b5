"""What a training is about to do, before it does it: rows with their supervised part, and counts. Trains nothing.

A row with nothing supervised, or with an empty assistant turn, is refused; rows that are cut are counted and said.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spillover.models.chat import Supervised
from spillover.models.loading import Loaded, load_tokenizer
from spillover.organisms.dataset import Example
from spillover.organisms.organism import Organism

MARKS = ("«", "»")  # around the supervised part, for people
SHOWN = 240  # characters of each part of the row that is shown in a line


@dataclass(frozen=True)
class PreparedRows:
    """Everything that an organism is trained on and held against, as tokens."""

    organism: Organism
    examples: Sequence[Example]
    train: Sequence[Supervised]
    held: Mapping[str, tuple[Sequence[Example], Sequence[Supervised]]]  # by split
    tokenizer: Any

    def everything(self) -> list[Supervised]:
        """All rows, those to train on first."""
        return [*self.train, *(row for _, view in self.held.values() for row in view)]

    @property
    def cut(self) -> int:
        """How many rows to train on lose the end of their answer."""
        return sum(row.cut for row in self.train)

    def facts(self) -> dict[str, Any]:
        """Counts over the rows, for the manifest."""
        prompts = {example.prompt for example in self.examples}
        held, _ = self.held["held_out"]
        return {
            "rows": len(self.train),
            "supervised_tokens": sum(row.trained for row in self.train),
            "tokens": sum(len(row.ids) for row in self.train),
            "cut_rows": self.cut,
            "held_out_prompts_also_trained": sum(example.prompt in prompts for example in held),
        }

    def shown(self) -> dict[str, Any]:
        """What is supervised, for people: the first row's text in two parts, and counts over all rows."""
        decode = self.tokenizer.decode
        first = self.train[0]
        return {
            "example_id": self.examples[0].id,
            "prompt": decode(first.ids[: first.prompt_length]),
            "supervised": decode(first.ids[first.prompt_length :]),
            "tokens": len(first.ids),
            "supervised_tokens": first.trained,
            "rows": len(self.train),
            "cut_rows": self.cut,
        }

    def counts(self) -> str:
        """Rows, steps and tokens of the run, in a line."""
        organism, facts = self.organism, self.facts()
        longest = max(len(row.ids) for row in self.train)
        cut = f"{self.cut} cut at" if self.cut else "none cut at"
        return (
            f"{facts['rows']} rows, {organism.epochs} epoch{'s' * (organism.epochs != 1)}, {organism.steps} steps: "
            f"{facts['tokens']} tokens an epoch, {facts['supervised_tokens']} of them supervised; "
            f"longest row {longest} tokens, {cut} {organism.max_length}"
        )

    def text(self) -> str:
        """The counts, and the first row with its supervised part between « and », in two lines."""
        shown = self.shown()
        prompt, answer = (_line(shown[part]) for part in ("prompt", "supervised"))
        return f"{self.counts()}\n{_ends(prompt)}{MARKS[0]}{_ends(answer)}{MARKS[1]}"

    def warn(self) -> None:
        """Say how many rows lose the end of their answer, if any do."""
        if self.cut:
            organism = self.organism
            warnings.warn(
                f"{self.cut} of {len(self.train)} rows of {organism.data.data.label()} are longer than "
                f"max_length={organism.max_length} tokens: the ends of their answers are not trained; raise it",
                stacklevel=3,
            )


def preflight(organism: Organism) -> PreparedRows:
    """The rows of an organism without its weights: the tokenizer alone is opened, whose model has to be here."""
    base = organism.parent.base()
    return prepare(organism, Loaded(None, load_tokenizer(base), base))


def prepare(organism: Any, loaded: Loaded) -> PreparedRows:
    """All rows of an organism (or of whatever has its data and interventions) as they are trained on.

    A ValueError names the row that cannot be.
    """
    examples, views = organism.data.train_rows(), {"held_out": organism.data.held_out_rows()}
    for intervention in organism.interventions:
        examples = intervention.train(examples)
        views = intervention.held(views)
    held = {split: (view, supervise(loaded, view, organism.max_length)) for split, view in views.items()}
    return PreparedRows(organism, examples, supervise(loaded, examples, organism.max_length), held, loaded.tokenizer)


def supervise(loaded: Loaded, examples: Sequence[Example], max_length: int) -> list[Supervised]:
    """Tokens of every row with its supervised part; a ValueError names the row that cannot be trained on."""
    chat, rows = loaded.chat(), []
    for example in examples:
        try:
            row = chat.supervised(example.messages, max_length)
        except ValueError as error:
            raise ValueError(f"row {example.id}: {error}") from None
        if row.trained < 1 or row.prompt_length < 1:
            raise ValueError(f"row {example.id}: nothing of it is supervised, its answer has no token of its own")
        rows.append(row)
    return rows


def _line(text: str) -> str:
    return text.replace("\n", "⏎")


def _ends(text: str) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
