"""Eight checkpoints of one base, four answers each: in one batch against one after another. SmolLM2-135M, float32.

Adapters of rank 32 on every projection, drawn at random. One after another is what a loop over checkpoints does: copy
the base, merge, answer; and, for the arithmetic alone, the same with everything opened off the clock.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._training import CLOCK
from benchmarks.comparison import Comparison
from benchmarks.sampling import MODEL, Tokens, as_many, equal
from spillover.models.catalogue import base_of
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.packed_network import PackedNetwork, packed_network
from spillover.models.forward.probing import askable
from spillover.models.loading import Loaded, load_base, with_checkpoint
from spillover.models.lora_weights import read_lora
from spillover.organisms.tuning import LoRA
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms

CHECKPOINTS, ANSWERS, TOKENS, QUESTIONS = 8, 4, 64, 3
SPREAD = 0.01  # of the random matrices that start at zero


def comparisons() -> Iterator[Comparison]:
    """The whole job; the arithmetic alone, against our own loop on merged weights and on adapters kept apart."""
    bench = Bench()
    note = f"{CHECKPOINTS} checkpoints x {ANSWERS} answers x {TOKENS} tokens"
    yield Comparison(
        "checkpoints_whole_job",
        lambda number: bench.together(number, bench.load_together()),
        lambda number: [bench.alone(number, bench.open_merged(index)) for index in range(CHECKPOINTS)],
        check=lambda ours, theirs: as_many(_flat(ours), _flat(theirs)),
        reach=3,
        rounds=2,
        clock=CLOCK,
        note=f"{note}; opening on the clock on both sides: read and pack adapters once, against copy, merge, pack",
    )
    ready, apart = bench.load_together(), [bench.load_together(slice(index, index + 1)) for index in range(CHECKPOINTS)]
    merged = bench.open_merged(0)
    yield Comparison(
        "checkpoints_arithmetic_merged",
        lambda number: bench.together(number, ready),
        lambda number: [bench.alone(number, merged) for _ in range(CHECKPOINTS)],
        check=lambda ours, theirs: as_many(_flat(ours), _flat(theirs)),
        rounds=2,
        clock=CLOCK,
        note=f"{note}; all opened off the clock; theirs is the first checkpoint merged, eight times",
    )
    yield Comparison(
        "checkpoints_arithmetic_apart",
        lambda number: bench.together(number, ready),
        lambda number: [bench.alone(number, models) for models in apart],
        check=lambda ours, theirs: equal(_flat(ours), _flat(theirs)),
        rounds=2,
        clock=CLOCK,
        note=f"{note}; all opened off the clock; theirs asks each by itself; equal token by token",
    )


class Bench:
    """The base, written out once, and the folders of its adapters."""

    def __init__(self) -> None:
        import torch

        self.scratch = tempfile.TemporaryDirectory()
        self.base = base_of(MODEL)
        self.network, tokenizer = load_base(self.base)
        self.loaded = Loaded(self.network, tokenizer, self.base)
        with torch.inference_mode():
            llama = packed_network(self.network)
        assert llama is not None
        self.llama: PackedNetwork = llama
        self.folders = [self._adapter(index) for index in range(CHECKPOINTS)]
        chat = self.loaded.chat()
        asked = QuestionSelection(source=FreeForm(), formats=("raw",)).questions()[:QUESTIONS]
        self.prompts = [(question.id, tuple(chat.prompt(question.messages(0)))) for question in asked][:1]

    def load_together(self, which: slice = slice(None)) -> LoadedModels:
        """These checkpoints beside the base that is there."""
        adapters = [read_lora([folder]) for folder in self.folders[which]]
        beside = self.llama.with_adapters([adapter for adapter in adapters if adapter is not None])
        assert beside is not None
        return LoadedModels(beside, self.loaded)

    def open_merged(self, index: int) -> LoadedModels:
        """One checkpoint merged into a copy of the base."""
        import torch

        network = with_checkpoint(copy.deepcopy(self.network), self.folders[index]).eval().requires_grad_(False)
        with torch.inference_mode():
            return LoadedModels(askable(network), Loaded(network, self.loaded.tokenizer, self.base))

    def together(self, number: int, opened: LoadedModels) -> list[list[Tokens]]:
        """Answers of all, by checkpoint."""
        answers = self._write(number, opened, range(CHECKPOINTS))
        return [answers[start : start + ANSWERS] for start in range(0, len(answers), ANSWERS)]

    def alone(self, number: int, opened: LoadedModels) -> list[Tokens]:
        """Answers of one."""
        return self._write(number, opened, range(1))

    def _write(self, number: int, opened: LoadedModels, groups: Sequence[int]) -> list[Tokens]:
        drafts = [
            Draft(prompt, uniforms(number, name, sample, TOKENS), group=group)
            for group in groups
            for name, prompt in self.prompts
            for sample in range(ANSWERS)
        ]
        rules = Rules(TOKENS, 1.0, 1.0, frozenset(), (), self.loaded.tokenizer.decode)  # none ends early
        write_answers(opened, drafts, rules, 128, lambda share: None)
        return [draft.tokens for draft in drafts]

    def _adapter(self, seed: int) -> Path:
        import torch

        network: Any = LoRA().trainable_network(copy.deepcopy(self.network), seed, MODEL)
        drawn = torch.Generator().manual_seed(seed)
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.data = SPREAD * torch.randn(weight.shape, generator=drawn)
        LoRA().save(network, folder := Path(self.scratch.name) / str(seed), "")
        return folder


def _flat(answers: Sequence[Sequence[Tokens]]) -> list[Tokens]:
    return [answer for of_checkpoint in answers for answer in of_checkpoint]
