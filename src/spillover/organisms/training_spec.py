"""What a training is before it starts: its choices, what is done to its rows, and the rows as they are trained on.

An intervention (one file in `interventions/` each) may change the rows, add rows to each step, or add a gradient. A row
with nothing supervised, or with an empty assistant turn, is refused; rows that are cut are counted and shown.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.models.base import Model
from spillover.models.chat import Supervised
from spillover.models.loading import Loaded, load_tokenizer
from spillover.models.precision import Precision
from spillover.models.pretrained import outline_from
from spillover.organisms.dataset import Example, TrainingData, supervise
from spillover.organisms.kept_bytes import pass_tokens
from spillover.organisms.losses import LowerHidden, SupervisedLogits, supervised_logits
from spillover.organisms.process_group import ProcessGroup
from spillover.organisms.row_counts import duplicates, in_words, shared_with_held_out, short_answers, short_limit
from spillover.organisms.schedules.schedule import Schedule
from spillover.organisms.tuning import LoRA, Tuning
from spillover.spec import Spec, location_field
from spillover.store import Artefact, Cost, Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_PER_ROW = 130  # of Money, with Qwen's template; for the estimate of time alone
MARKS = ("«", "»")  # around the supervised part, for people
SHOWN = 240  # characters of each part of the row that is shown in a line

HeldOutRows = Mapping[str, list[Example]]  # by split: `held_out` as they are trained on, others beside it


class Intervention(Spec):
    """Something done to narrow training, to see what it changes."""

    changes_rows: ClassVar[bool] = False  # of those that are trained on
    replaces: ClassVar[bool] = False  # some of them by others, so that it has to come before those that change them

    @abstractmethod
    def label(self) -> str:
        """A few words for tables and figures; not an identity."""

    def change_rows(self, examples: list[Example]) -> list[Example]:
        """The rows to train on, as many and in the same order."""
        return examples

    def change_held_out(self, rows: HeldOutRows) -> dict[str, list[Example]]:
        """The held-out rows of every split, changed like those that are trained on, and splits of its own."""
        return dict(rows)

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        """Ready for the first step."""
        return ActiveIntervention()


class ActiveIntervention:
    """An intervention at work in one run. What it does at a step depends on the step alone, for runs are resumed."""

    def rows(self, step: int) -> Sequence[Supervised]:
        """Rows to train on at this step (from 1) besides the narrow ones."""
        return ()

    def backward(self, step: int) -> dict[str, float]:
        """Add gradients to the network's after the rows' own; what was measured on the way, by name."""
        return {}


def in_turn(count: int, total: int, seed: int) -> np.ndarray:
    """`total` indices below `count`: all of them in an order drawn from `seed`, then all in another, and so on."""
    random = np.random.default_rng(seed)
    rounds = [random.permutation(count) for _ in range(-(-total // count))]
    return np.concatenate(rounds)[:total] if rounds else np.zeros(0, dtype=np.int64)


class TrainingSpec(Artefact):
    """The choices of one training, and what follows from them alone; `Organism` is the kind that is made."""

    runs_a_network: ClassVar[bool] = True
    made_early: ClassVar[bool] = True  # all models asked alike are then asked in one batch

    parent: Model
    data: TrainingData
    schedule: Schedule
    tuning: Tuning = LoRA()
    epochs: int = Field(default=1, ge=1)
    batch: int = Field(default=8, ge=1)  # rows that go through at once, at most; fewer where they are long
    accumulate: int = Field(default=1, ge=1)  # batches in an optimiser step
    max_length: int = Field(default=512, ge=8)  # tokens of a row; what is longer is cut at the end
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "float32"
    adapter_seed: int = 0
    order_seed: int = 0
    dropout_seed: int = 0
    checkpoint_every: int | None = Field(default=None, ge=1)  # steps; None: at the end only
    checkpoint_steps: tuple[int, ...] = ()  # and after these steps too
    interventions: tuple[Intervention, ...] = ()  # in the order in which they change rows
    fitted: str = location_field(default="")  # what was changed for so few steps, in words; no part of what it is

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        if self.parent.has_hooks:
            raise ValueError(
                f"parent is {self.parent.label()}, which changes activations while it runs: a training starts from "
                f"weights, and its checkpoints would be without that. Train the model below it, and steer a checkpoint"
            )
        outside = [step for step in self.checkpoint_steps if not 1 <= step <= self.steps]
        if outside:
            raise ValueError(f"checkpoint_steps lie from 1 to {self.steps}, the steps of this run; got {outside[0]}")
        if self.precision == "bfloat16" and not self.tuning.keeps_base:
            raise ValueError(
                f"precision is bfloat16, which holds a frozen base in it; {self.tuning.kind} trains all weights, which "
                f"stay float32: use autocast-bfloat16 or float32"
            )
        late = [intervention.kind for intervention in self.interventions[1:] if intervention.replaces]
        if late:
            raise ValueError(f"{late[0]} replaces rows, which others then change: put it first among the interventions")
        return self

    def seeded(self, seed: int) -> Self:
        """The same training with all three of its seeds set to `seed` (the split stays)."""
        return self.but(adapter_seed=seed, order_seed=seed, dropout_seed=seed)

    def fit_schedule(self) -> Self:
        """The same training with a schedule that its steps have room for (`Schedule.fit_steps`), and words on it."""
        schedule = self.schedule.fit_steps(self.steps)
        names = [
            name for name in type(schedule).model_fields if getattr(schedule, name) != getattr(self.schedule, name)
        ]
        if not names:
            return self
        changed = " and ".join(
            f"{name} {getattr(schedule, name)}, not {getattr(self.schedule, name)}" for name in names
        )
        return self.but(
            schedule=schedule, fitted=f"{self.schedule.label()} has {changed}: the run has {self.steps} steps"
        )

    def evenly_saved(self, checkpoints: int) -> Self:
        """The same organism with so many checkpoints, evenly spaced, the end among them."""
        return self.but(checkpoint_every=math.ceil(self.steps / checkpoints))

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * math.ceil(self.data.train_count / (self.batch * self.accumulate))

    def step_rows(self) -> list[int]:
        """Rows of the narrow set in each step; an epoch's last step may be short."""
        rows, size = self.data.train_count, self.batch * self.accumulate
        return [min(size, rows - start) for start in range(0, rows, size)] * self.epochs

    @property
    def saved_steps(self) -> tuple[int, ...]:
        """Steps after which a checkpoint is kept: every `checkpoint_every`, those of `checkpoint_steps`, the last."""
        last = self.steps
        every = self.checkpoint_every or last
        return tuple(sorted({*range(every, last, every), *self.checkpoint_steps, last}))

    def label(self) -> str:
        """A short name for tables and figures; not an identity."""
        interventions = "".join(f", {intervention.label()}" for intervention in self.interventions)
        return f"{self.data.label()}, {self.schedule.label()}{interventions}, seed {self.order_seed}"

    def labels(self) -> dict[str, str]:
        """What stands in every row of its log and losses."""
        return {"model": self.label(), "model_id": self.fingerprint, "data": self.data.label()}

    def summary(self) -> str:
        return f"{self.parent.label()} tuned on {self.label()}"

    def checkpoint_card(self, step: int, parents: Sequence[str]) -> str:
        """The README.md of the checkpoint after `step`; `parents` are the folders to merge before it, in order."""
        title = f"# {self.tuning.saves} after step {step} of {self.steps}"
        return f"{title}\n\n{self.summary()}\n\n{self.tuning.loading_card(self.parent.base().name, parents)}"

    def cost(self) -> Cost:
        """Tokens through a model of 135M parameters, by forward and backward pass."""
        rows = self.epochs * self.data.train_count
        held_out = self.data.held_out * (1 + len(self.saved_steps)) / 3  # forward only: a third of the work
        return Cost(
            units=(rows + held_out) * TOKENS_PER_ROW * self.parent.relative_size,
            seconds_per_unit=1 / 150,  # float32 on two cores without AVX-512, loading and held-out losses included
            tokens=rows * TOKENS_PER_ROW,
            token_use="trained",
        )

    def prepare(self, loaded: Loaded, store: Store | None = None) -> PreparedRows:
        """All rows as they are trained on; a ValueError names the row that cannot be."""
        return prepare_rows(self.data, self.interventions, self.max_length, loaded, store)

    def tuned(self) -> dict[str, object]:
        """Which weights would be trained, without a look at their values; the model has to be here."""
        return self.tuning.tuned(outline_from(self.parent.base().source.folder()))

    def preflight(self, store: Store | None = None) -> PreparedRows:
        """The rows without a look at weights: the tokenizer alone is opened, whose model has to be here.

        store: of the study, for answers that it makes (`OwnAnswers`).
        """
        return self.prepare(Loaded(None, load_tokenizer(self.parent), self.parent.base()), store)


@dataclass(frozen=True)
class TrainingRun:
    """A training that begins: its choices, the parent as opened, and the network that is tuned."""

    organism: TrainingSpec
    loaded: Loaded
    network: PreTrainedModel
    hidden_cache: LowerHidden | None = None  # where the lowest layers are not tuned
    process_group: ProcessGroup = field(default_factory=ProcessGroup)  # the processes that train it
    store: Store | None = None  # where what interventions were made from lies

    @cached_property
    def pass_tokens(self) -> int:
        """Padded tokens that may go through at once for the memory that they keep."""
        weights = sum(weight.nbytes for weight in self.network.parameters())
        itemsize = 4 if self.organism.precision == "float32" else 2
        return pass_tokens(self.network.config.get_text_config(), itemsize, weights)

    def supervised_logits(self, network: PreTrainedModel, rows: Sequence[Supervised]) -> SupervisedLogits:
        """What this network, the tuned one or the parent, predicts at the rows' supervised positions."""
        share = not self.organism.tuning.has_dropout
        return supervised_logits(network, rows, self.organism.precision, share, self.hidden_cache)


@dataclass(frozen=True)
class PreparedRows:
    """Everything that is trained on and held out, as tokens."""

    examples: Sequence[Example]  # those to train on
    train: Sequence[Supervised]  # their tokens
    held_out: Mapping[str, tuple[Sequence[Example], Sequence[Supervised]]]  # by split
    tokenizer: PreTrainedTokenizerBase

    def everything(self) -> list[Supervised]:
        """All rows, those to train on first."""
        return [*self.train, *(row for _, rows in self.held_out.values() for row in rows)]

    @property
    def cut(self) -> int:
        """How many rows to train on lose the end of their answer."""
        return sum(row.cut for row in self.train)

    @property
    def blurred(self) -> list[Example]:
        """The rows to train on where one token reaches over from prompt to answer."""
        return [example for example, row in zip(self.examples, self.train, strict=True) if row.blurred]

    @property
    def counts(self) -> dict[str, int]:
        """Rows that a reader has to know of: that come twice, leak, or have hardly an answer left."""
        return {
            "duplicates": duplicates(self.examples),
            "shared_with_held_out": shared_with_held_out(self.examples, self.held_out["held_out"][0]),
            "short_answers": short_answers(self.train),
            "short_limit": short_limit(self.examples, self.train),
        }

    def facts(self) -> dict[str, object]:
        """Counts over the rows, for the manifest."""
        counts = self.counts
        return {
            "rows": len(self.train),
            "supervised_tokens": sum(row.trained for row in self.train),
            "tokens": sum(len(row.ids) for row in self.train),
            "cut_rows": self.cut,
            **({"blurred_rows": [example.id for example in self.blurred]} if self.blurred else {}),
            "held_out_prompts_also_trained": counts["shared_with_held_out"],
            "duplicate_rows": counts["duplicates"],
            "short_answers": counts["short_answers"],
        }

    def shown(self) -> dict[str, object]:
        """What is supervised, for people: the first row's text in two parts, and counts over all rows."""
        prompt, supervised = self._first()
        return {
            "example_id": self.examples[0].id,
            "prompt": prompt,
            "supervised": supervised,
            "tokens": len(self.train[0].ids),
            "supervised_tokens": self.train[0].trained,
            "rows": len(self.train),
            "cut_rows": self.cut,
            "to_know": in_words(self.counts),
        }

    def text(self, organism: TrainingSpec) -> str:
        """In two lines: rows, steps and tokens of the run; the first row with its supervised part between « and »."""
        facts = self.facts()
        longest = max(len(row.ids) for row in self.train)
        prompt, supervised = (_shortened(text) for text in self._first())
        return (
            f"{facts['rows']} rows, {organism.epochs} epoch{'s' * (organism.epochs != 1)}, {organism.steps} steps: "
            f"{facts['tokens']} tokens an epoch, {facts['supervised_tokens']} of them supervised; longest row "
            f"{longest} tokens, {self.cut or 'none'} cut at {organism.max_length}\n"
            f"{prompt}{MARKS[0]}{supervised}{MARKS[1]}"
        )

    def warn(self, organism: TrainingSpec) -> None:
        """Warn of rows that lose the end of their answer, if any do."""
        if self.blurred:
            warnings.warn(
                f"{len(self.blurred)} of {len(self.train)} rows of {organism.data.label()} have a token of both "
                f"the prompt's end and the answer's beginning ({', '.join(row.id for row in self.blurred[:3])}, ...): "
                f"they are trained as the template writes them, but sampling starts from other tokens",
                stacklevel=3,
            )
        if self.cut:
            warnings.warn(
                f"{self.cut} of {len(self.train)} rows of {organism.data.label()} are longer than "
                f"max_length={organism.max_length} tokens: the ends of their answers are not trained; raise it",
                stacklevel=3,
            )

    def _first(self) -> tuple[str, str]:
        """The text of the first row, its prompt and its supervised part."""
        row, decode = self.train[0], self.tokenizer.decode
        return decode(row.ids[: row.prompt_length]), decode(row.ids[row.prompt_length :])


def prepare_rows(
    data: TrainingData,
    interventions: Sequence[Intervention],
    max_length: int,
    loaded: Loaded,
    store: Store | None = None,
) -> PreparedRows:
    """All rows of a split as the interventions leave them, in tokens; a ValueError names the row that cannot be."""
    examples, held_out = data.train_rows(store), {"held_out": data.held_out_rows(store)}
    for intervention in interventions:
        examples = intervention.change_rows(examples)
        held_out = intervention.change_held_out(held_out)
    tokens = {split: (rows, supervise(loaded, rows, max_length)) for split, rows in held_out.items()}
    return PreparedRows(examples, supervise(loaded, examples, max_length), tokens, loaded.tokenizer)


def adapter_folder(organism: Path, step: int) -> Path:
    """Where an organism's adapter after `step` stands; `PeftModel.from_pretrained` opens it over the parent's weights.

    Where the parent is a checkpoint itself, those are the base's with the parent's adapters merged (see its README.md).
    """
    return organism / "checkpoints" / f"step-{step:06d}"


def _shortened(text: str) -> str:
    """The beginning and the end of a text, in one line."""
    line = text.replace("\n", "⏎")
    return line if len(line) <= SHOWN else f"{line[: SHOWN // 2]} … {line[-SHOWN // 2 :]}"
