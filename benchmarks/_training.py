"""One model under one tuning, trained our way and in others', with a clock that stops while things are got ready."""

from __future__ import annotations

import contextlib
import copy
import functools
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from spillover.models.catalogue import base_of
from spillover.models.chat import Supervised
from spillover.models.loading import load
from spillover.organisms import training
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.hidden_cache import FILE, FrozenActivations, HiddenCache, LowerLayers
from spillover.organisms.interventions.prompt_text import Inoculation
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Linear
from spillover.organisms.training_spec import PreparedRows, TrainingRun
from spillover.organisms.tuning import LoRA
from spillover.store import Store

BATCH = 4
HELD_OUT = 3  # taken before the first step and after each: as 24 of them, at ten checkpoints of 240 rows
LAYER = 20  # of SmolLM2's 30: the lowest that is tuned
OUR_FLOPS = 4.0  # a trained token and a frozen weight: forward, and backward to the input


class Clock:
    """CPU seconds of this process, less those spent on getting ready."""

    def __init__(self) -> None:
        self.ready = 0.0

    def __call__(self) -> float:
        return time.process_time() - self.ready

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Work that is not counted."""
        began = time.process_time()
        yield
        self.ready += time.process_time() - began


CLOCK = Clock()


class Bench:
    """One model under one tuning, its rows, and the adapter at which every run begins."""

    def __init__(self, model: str, rows: int, tuning: LoRA, system: str = "") -> None:
        data = Split(data=Money(), rows=rows, held_out=HELD_OUT)
        schedule = Linear(peak=2e-4, warmup=0)
        self.organism = Organism(
            parent=base_of(model), data=data, schedule=schedule, tuning=tuning, batch=BATCH, weight_decay=0.0
        )
        if system:
            self.organism = self.organism.but(interventions=(Inoculation(system=system),))
        self.store = Store.open(tempfile.mkdtemp(prefix="spillover-bench-"))
        self.loaded = load(self.organism.parent, self.store)
        self.rows: PreparedRows = self.organism.prepare(self.loaded)
        self.network = tuning.trainable_network(self.loaded.network, 0, model)
        self.start = {name: w.detach().clone() for name, w in self.network.named_parameters() if w.requires_grad}
        self.batches = list(training._steps(self.organism, self.rows.train))
        self.rates = self.organism.schedule.rates(self.organism.steps)

    def again(self, network: Any) -> list[Any]:
        """The weights that are trained, back where they began."""
        weights = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
        for name, weight in weights:
            weight.data.copy_(self.start[name])
            weight.grad = None
        return [weight for _, weight in weights]

    def ours(self, hidden_cache: HiddenCache | None = None, held_out: bool = False) -> list[float]:
        """The loss of each step of spillover's own loop; with `held_out`, those of held-out rows around each too."""
        import torch

        with CLOCK.stopped():
            optimizer = torch.optim.AdamW(self.again(self.network), lr=0.0, weight_decay=0.0)
            run = TrainingRun(self.organism, self.loaded, self.network, hidden_cache)
        losses = self._held_out(run, 0) if held_out else []
        for step, rows in enumerate(self.batches, start=1):
            self.network.train()
            losses.append(training._step(run, optimizer, step, float(self.rates[step - 1]), rows, ())[0]["loss"])
            losses += self._held_out(run, step) if held_out else []
        return losses

    def _held_out(self, run: TrainingRun, step: int) -> list[float]:
        return [row["loss"] for row in training.held_out_losses(run, self.rows, step)]

    @functools.cached_property
    def other(self) -> Any:
        """A network of its own for the peer, which puts hooks into it."""
        return copy.deepcopy(self.network)

    def trl(self, **settings: Any) -> list[float]:
        """The loss of each step of trl's SFTTrainer with these settings besides batch, order, rate and float32."""
        with CLOCK.stopped():
            self.again(self.other)
            trainer = self._trainer(settings)
        trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    def _trainer(self, settings: dict[str, Any]) -> Any:
        from datasets import Dataset, disable_progress_bars
        from transformers import PrinterCallback
        from trl import SFTConfig, SFTTrainer

        disable_progress_bars()
        rows = [row for batch in self.batches for row in batch]
        data = Dataset.from_list([{"input_ids": list(row.ids), "completion_mask": _mask(row)} for row in rows])
        config = SFTConfig(
            output_dir=str(self.store.root / "trl"),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            learning_rate=self.organism.schedule.peak,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            completion_only_loss=True,
            **settings,
        )
        tokenizer = self.loaded.tokenizer
        trainer = SFTTrainer(model=self.other, args=config, train_dataset=data, processing_class=tokenizer)
        trainer.remove_callback(PrinterCallback)
        return trainer

    def full_logits(self) -> list[float]:
        """The same loop with the model's own forward pass: logits and loss at every position."""
        import torch

        with CLOCK.stopped():
            optimizer = torch.optim.AdamW(self.again(self.network), lr=0.0, weight_decay=0.0)
            self.network.train()
        losses = []
        for rate, rows in zip(self.rates, self.batches, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            trained, total = sum(row.trained for row in rows), 0.0
            for part in training.passes(rows, BATCH, self.loaded.device):
                picked = [rows[index] for index in part]
                share = sum(row.trained for row in picked) / trained
                loss = self.network(**_labelled(picked), use_cache=False).loss * share
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_([w for w in self.network.parameters() if w.requires_grad], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(total)
        return losses

    @functools.cached_property
    def hidden_cache(self) -> HiddenCache:
        """What comes out below the lowest tuned layer, made off the clock as for the first run of a sweep."""
        organism = self.organism
        activations = FrozenActivations(
            parent=organism.parent, data=organism.data, layer=LAYER, max_length=organism.max_length
        )
        began = time.process_time()
        folder = self.store.get(activations)
        seconds = time.process_time() - began
        print(
            f"# train_frozen_below_{LAYER}: once for a whole sweep, {seconds:.3g} CPU seconds went into them",
            flush=True,
        )
        return HiddenCache(LowerLayers(self.network, LAYER), folder / FILE, self.rows.everything())

    def with_frozen(self, held_out: bool = False) -> list[float]:
        """Our loop with them."""
        with CLOCK.stopped():
            hidden_cache = self.hidden_cache
        return self.ours(hidden_cache, held_out)

    def flops(self, supervised_alone: bool) -> float:
        """Operations of all steps, with logits at supervised positions alone or at all of them."""
        tokens, supervised = self.tokens()
        head = self.network.get_input_embeddings().weight.numel()
        body = sum(weight.numel() for weight in self.network.parameters()) - head
        return OUR_FLOPS * (body * tokens + head * (supervised if supervised_alone else tokens))

    def tokens(self) -> tuple[int, int]:
        """Tokens of all rows, and how many of them are supervised."""
        return sum(len(row.ids) for row in self.rows.train), sum(row.trained for row in self.rows.train)

    def say_bound(self) -> None:
        """Print how much faster fewer logits alone can make it, by arithmetic."""
        tokens, supervised = self.tokens()
        bound = self.flops(supervised_alone=False) / self.flops(supervised_alone=True)
        print(f"# train: {supervised} of {tokens} tokens supervised; by arithmetic {bound:.2f} times", flush=True)

    def say_share_of_peak(self, seconds: float) -> None:
        """Print which share of the machine's own matrix product our loop reaches."""
        tokens, _ = self.tokens()
        flops, peak = self.flops(supervised_alone=True), matrix_peak()
        print(
            f"# train: {tokens / seconds:.3g} tokens per CPU second, {flops / seconds / 1e9:.3g} GFLOP/s, "
            f"{flops / seconds / peak:.0%} of the {peak / 1e9:.3g} of one large float32 product here and now",
            flush=True,
        )


@functools.cache
def matrix_peak() -> float:
    """Floating-point operations in a CPU second of a large float32 product."""
    import torch

    left, right = torch.ones(1024, 1024), torch.ones(1024, 1024)
    left @ right
    began = time.process_time()
    for _ in range(10):
        left @ right
    return 10 * 2 * 1024**3 / (time.process_time() - began)


def _mask(row: Supervised) -> list[int]:
    return [0] * row.prompt_length + [1] * row.trained


def _labelled(rows: Sequence[Supervised]) -> dict[str, Any]:
    """Ids, mask and labels of a padded batch, as transformers wants them."""
    import torch

    shape = (len(rows), max(len(row.ids) for row in rows))
    ids, mask, labels = (torch.full(shape, fill) for fill in (0, 0, -100))
    for place, row in enumerate(rows):
        length, start = len(row.ids), row.prompt_length
        ids[place, :length], mask[place, :length] = torch.tensor(row.ids), 1
        labels[place, start:length] = torch.tensor(row.ids[start:])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
