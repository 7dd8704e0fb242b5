"""What a model says a number is: P(0), ..., P(100) as its next words, by one look at every way to write them.

All tokens of the tree of numbers are known beforehand, so all of them are read at once after the prompt, each seeing
the prompt and its own ancestors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from spillover.judgements.judges.local_model.number_tree import NUMBERS, NumberTree
from spillover.models.forward.attention_mask import attention_mask
from spillover.models.forward.cached_network import BLOCK, TokenIds, TransformersNetwork, read_prompts
from spillover.models.forward.generating_network import GeneratingNetwork
from spillover.models.forward.probing import reads_rows
from spillover.models.forward.row_cache import SPAN_MULTIPLE, RowCache, round_up
from spillover.models.loading import Loaded

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 64  # prompts in the cache at once; changes speed and memory, not numbers
CACHE_BYTES = 1 << 30
LOGIT_BYTES = 1 << 28  # of the tree's logits at once
# Between two ways to the numbers of a prompt, as a share of all probability on numbers.
TREE_TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.05}

_reads_trees: dict[tuple[str, ...], bool] = {}  # by configuration, dtype and device


def number_masses(
    loaded: Loaded,
    tree: NumberTree,
    prompts: Sequence[TokenIds],
    progress: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Probability of each number after each prompt, float64 (prompts, 101); what is left to 1 is no number.

    P(8) is the probability that 8 is written and the next token does not begin with a digit. A prompt's numbers have
    the same bits whatever other prompts there are.
    """
    order = sorted(set(prompts))
    masses: dict[TokenIds, np.ndarray] = {}
    if order:
        with torch.inference_mode():
            for batch, batch_masses in _reader(loaded, tree, order[0]).batches(order):
                masses |= zip(batch, batch_masses, strict=True)
                progress(len(masses) / len(order))
    return np.array([masses[prompt] for prompt in prompts]).reshape(len(prompts), len(NUMBERS))


def _reader(loaded: Loaded, tree: NumberTree, prompt: TokenIds) -> _TreeReader | _PathReader:
    """What reads the tree at once, where that gives what reading its paths one token after another gives.

    Looked at on a prompt when an architecture is first met: positions that come from a mask, or states in the place of
    keys, know no tree.
    """
    key = (loaded.network.config.to_json_string(), str(loaded.network.dtype), str(loaded.device))
    paths = _PathReader(loaded, tree)
    if key not in _reads_trees:
        _reads_trees[key] = False
        if reads_rows(loaded.network):
            tolerance = TREE_TOLERANCE.get(loaded.network.dtype, max(TREE_TOLERANCE.values()))
            ((_, at_once),), ((_, expected),) = _TreeReader(loaded, tree).batches([prompt]), paths.batches([prompt])
            _reads_trees[key] = bool(np.abs(at_once - expected).sum() <= tolerance * expected.sum())
    return _TreeReader(loaded, tree) if _reads_trees[key] else paths


class _PathReader:
    """One model that reads every way to write a number as a text of its own, token by token."""

    def __init__(self, loaded: Loaded, tree: NumberTree) -> None:
        self.network, self.tree, self.device = GeneratingNetwork(loaded.network), tree, loaded.device
        leaves = sorted({*range(1, len(tree.tokens) + 1)} - {*tree.parents})
        lines = [self._line(leaf) for leaf in leaves]
        depth = max(map(len, lines)) - 1
        lines += [lines[-1]] * (-len(lines) % BLOCK)
        self.nodes = [[*line, *[-1] * (depth + 1 - len(line))] for line in lines]  # -1: beyond the path's end
        tokens = [[tree.tokens[node - 1] if node > 0 else 0 for node in line[1:]] for line in self.nodes]
        self.paths = torch.tensor(tokens, device=self.device)

    def batches(self, order: Sequence[TokenIds]) -> Iterator[tuple[Sequence[TokenIds], np.ndarray]]:
        """The prompts one by one, each with its numbers' probabilities (1, 101)."""
        for prompt in order:
            yield [prompt], self._numbers(prompt)

    def _line(self, node: int) -> list[int]:
        """The nodes from the prompt's end to this one."""
        return [*self._line(self.tree.parents[node - 1]), node] if node else [0]

    def _numbers(self, prompt: TokenIds) -> np.ndarray:
        count = len(self.tree.tokens) + 1
        steps, further = np.zeros((1, count - 1)), np.zeros((1, count))
        digits = torch.tensor(self.tree.digits, device=self.device)

        def look(depth: int, logits: Tensor) -> None:
            log_probability = logits - logits.logsumexp(-1, keepdim=True)
            more = log_probability[:, digits].logsumexp(-1).double().exp().tolist()
            for row, line in enumerate(self.nodes):
                if line[depth] >= 0:
                    further[0, line[depth]] = more[row]
                if depth + 1 < len(line) and line[depth + 1] > 0:
                    steps[0, line[depth + 1] - 1] = log_probability[row, self.paths[row, depth]].item()

        self.network.follow(torch.tensor(prompt, device=self.device), self.paths, look)
        return _masses(self.tree, steps, further)


def _masses(tree: NumberTree, steps: np.ndarray, further: np.ndarray) -> np.ndarray:
    """Probabilities of the numbers (rows, 101).

    steps: (rows, nodes - 1) log-probability of each node but the first after its parent; further: (rows, nodes) of any
    digit after each node.
    """
    reached = np.zeros_like(further)
    masses = np.zeros((len(further), len(NUMBERS)))
    for node, parent in enumerate(tree.parents, start=1):
        reached[:, node] = reached[:, parent] + steps[:, node - 1]
    for node, number in enumerate(tree.number):
        if number is not None:
            masses[:, number] += np.exp(reached[:, node]) * np.clip(1 - further[:, node], 0.0, 1.0)
    return masses


class _TreeReader:
    """One model that reads one tree after prompts, all of it at once."""

    def __init__(self, loaded: Loaded, tree: NumberTree) -> None:
        self.loaded, self.tree, self.device = loaded, tree, loaded.device
        self.nodes = len(tree.tokens) + 1
        self.width = round_up(self.nodes, BLOCK)  # tokens read; those after the nodes fill up, and nobody hears them
        self.idle = [0] * (self.width - self.nodes)
        self.depths = torch.tensor([*tree.depths, *self.idle], device=self.device)
        sees = torch.eye(self.width, dtype=torch.bool, device=self.device)
        sees[: self.nodes, : self.nodes] = torch.tensor(tree.ancestors(), device=self.device)
        self.sees = sees
        self.digits = torch.tensor(tree.digits, device=self.device)
        self.parents = torch.tensor(tree.parents, device=self.device)
        self.tokens = torch.tensor(tree.tokens, device=self.device)
        vocabulary = loaded.network.get_output_embeddings().weight.shape[0]
        self.at_once = max(1, LOGIT_BYTES // (self.width * vocabulary * 4))

    def batches(self, order: Sequence[TokenIds]) -> Iterator[tuple[Sequence[TokenIds], np.ndarray]]:
        """The prompts in batches, each with its numbers' probabilities (prompts, 101)."""
        longest = round_up(max(map(len, order)), BLOCK) + self.width
        fitting = CACHE_BYTES // RowCache.row_bytes(self.loaded.network, longest)
        rows = max(1, min(ROWS, fitting, len(order)))
        cache = RowCache(self.loaded.network, rows, longest)
        network = TransformersNetwork(self.loaded.network)
        held: Sequence[TokenIds] = ()
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            held = read_prompts(network, cache, [*batch, *[batch[-1]] * (rows - len(batch))], held)
            masses = [
                self._numbers(cache, range(first, min(first + self.at_once, len(batch))), batch)
                for first in range(0, len(batch), self.at_once)
            ]
            yield batch, np.concatenate(masses)

    def _numbers(self, cache: RowCache, rows: range, batch: Sequence[TokenIds]) -> np.ndarray:
        """Probabilities of the numbers after some rows of the batch: (rows, 101)."""
        lengths = torch.tensor([len(batch[row]) for row in rows], device=self.device)
        slots = (lengths - 1)[:, None] + torch.arange(self.width, device=self.device)
        cache.position.move(torch.tensor(list(rows), device=self.device), slots)
        tokens = torch.tensor([[batch[row][-1], *self.tree.tokens, *self.idle] for row in rows], device=self.device)
        positions = (lengths - 1)[:, None] + self.depths
        logits = self.loaded.network(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._mask(cache, lengths, positions),
            cache=cache,
            use_cache=True,
        ).logits[:, : self.nodes]
        return self._masses(logits.float())

    def _mask(self, cache: RowCache, lengths: Tensor, positions: Tensor) -> Tensor | dict[str, Tensor]:
        """(rows, 1, tokens, span) for each kind of layer: the prompt, within the window, and a node's own ancestors."""
        span = round_up(int(lengths.max()) - 1 + self.width, SPAN_MULTIPLE)
        slots = torch.arange(span, device=self.device)
        within = slots[None, :] - (lengths - 1)[:, None]  # of each slot in the tree; negative in the prompt
        in_tree = ((within >= 0) & (within < self.width))[:, None, None, :]
        own = self.sees[:, within.clamp(0, self.width - 1)].transpose(0, 1)[:, None]
        sees = (own & in_tree) | (within < 0)[:, None, None, :]
        masks = {
            kind: sees if window is None else sees & (in_tree | (slots > positions[:, None, :, None] - window))
            for kind, window in cache.position.windows.items()
        }
        return attention_mask(self.loaded.network, masks)

    def _masses(self, logits: Tensor) -> np.ndarray:
        """From logits (rows, nodes, vocabulary) to probabilities (rows, 101)."""
        whole = logits.logsumexp(-1)
        steps = (logits[:, self.parents, self.tokens] - whole[:, self.parents]).double().cpu().numpy()
        further = (logits[:, :, self.digits].logsumexp(-1) - whole).double().exp().cpu().numpy()
        return _masses(self.tree, steps, further)
