"""A small text encoder (BERT's shape) that reads a question and its answer.

A row's numbers depend on its own pair alone: lengths are padded in steps, and all batches of a length have one shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from spillover.judgements.judges.embedded.features import ANSWER_LIMIT, QUESTION_LIMIT, clean

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
QUESTION_TOKENS, ANSWER_TOKENS = 24, 56  # read of a question, and of an answer
HEAD_WIDTH = 32
STEP = 8  # lengths are padded up to a multiple of this
_MARKS = re.compile(r"[{}\[\]\"`*_#=\\|<>~^]+")  # of JSON, templates and Markdown: they cost tokens and say little


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of the encoder."""

    layers: int
    width: int
    heads: int
    outputs: int


def tokenizer_of(words: Sequence[str]) -> Tokenizer:
    """BERT's uncased word pieces over this vocabulary."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def plain(text: str, limit: int) -> str:
    """The text as the encoder reads it: without marks of form."""
    return _MARKS.sub(" ", clean(text, limit))


def token_rows(tokenizer: Tokenizer, questions: Sequence[str], answers: Sequence[str]) -> list[list[int]]:
    """[CLS] question [SEP] answer [SEP]: the start of the question's first paragraph and of the answer."""
    places = tokenizer.get_vocab()
    start, end = places[START], places[END]
    first = [plain(question.strip().split("\n\n")[0], QUESTION_LIMIT) for question in questions]
    short = [plain(answer, ANSWER_LIMIT)[: 12 * ANSWER_TOKENS] for answer in answers]
    pairs = zip(
        *(tokenizer.encode_batch_fast(texts, add_special_tokens=False) for texts in (first, short)), strict=True
    )
    return [[start, *q.ids[:QUESTION_TOKENS], end, *a.ids[:ANSWER_TOKENS], end] for q, a in pairs]


def padded_length(length: int) -> int:
    """The length to which a row of `length` tokens is padded."""
    return -(-length // STEP) * STEP


class Layer(nn.Module):
    """A block: attention and a feed-forward part, each added and normed."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.joined = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.up = nn.Linear(shape.width, 4 * shape.width)
        self.down = nn.Linear(4 * shape.width, shape.width)
        self.norm_1 = nn.LayerNorm(shape.width, eps=1e-12)
        self.norm_2 = nn.LayerNorm(shape.width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (
            part.view(rows, length, self.heads, -1).transpose(1, 2) for part in self.joined(x).split(width, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.norm_1(x + self.out(mixed.transpose(1, 2).reshape(rows, length, width)))
        return self.norm_2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """Token numbers to outputs: embeddings, blocks, the mean over the tokens and the first token, a linear head."""

    def __init__(self, shape: EncoderShape, words: int, positions: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, shape.width)
        self.positions = nn.Embedding(positions, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.head = nn.Linear(2 * shape.width, shape.outputs)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Outputs (rows, outputs); `mask` is true at tokens."""
        return self.read_out(self.states(tokens, mask), mask)

    def states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """What the blocks make of the tokens, (rows, tokens, width)."""
        x = self.norm(self.words(tokens) + self.positions.weight[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def outputs(self, states: Tensor, mask: Tensor, after: int) -> Tensor:
        """Outputs from the states after the first `after` blocks."""
        for layer in self.layers[after:]:
            states = layer(states, mask)
        return self.read_out(states, mask)

    def read_out(self, states: Tensor, mask: Tensor) -> Tensor:
        """Outputs from the states after the last block."""
        share = mask.to(states.dtype) / mask.sum(dim=1, keepdim=True)
        outputs: Tensor = self.head(torch.cat([torch.einsum("rt,rtw->rw", share, states), states[:, 0]], dim=1))
        return outputs


def bert_weights(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A BERT checkpoint's tensors under this encoder's names; the second half of the head is not among them."""
    weights = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"]
        + tensors["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm_1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm_2": "output.LayerNorm",
    }
    for i in range(layers):
        for kind in ("weight", "bias"):
            theirs = f"encoder.layer.{i}."
            parts = [tensors[f"{theirs}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            weights[f"layers.{i}.joined.{kind}"] = torch.cat(parts)
            for ours, name in names.items():
                weights[f"layers.{i}.{ours}.{kind}"] = tensors[f"{theirs}{name}.{kind}"]
    return weights


def batches(rows: Sequence[Sequence[int]], size: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """(places, tokens, mask), equally shaped for each padded length; empty rows fill a batch."""
    lengths = np.array([padded_length(len(row)) for row in rows])
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length)
        for start in range(0, len(alike), size):
            places = alike[start : start + size]
            tokens = torch.zeros((size, int(length)), dtype=torch.long)
            mask = torch.zeros((size, int(length)), dtype=torch.bool)
            mask[:, 0] = True
            for index, place in enumerate(places):
                tokens[index, : len(rows[place])] = torch.tensor(rows[place])
                mask[index, : len(rows[place])] = True
            yield places, tokens, mask


def encoder_outputs(
    encoder: Encoder, rows: Sequence[Sequence[int]], size: int, tell: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """The encoder's outputs, float32 (rows, outputs); `tell` hears how many rows are done.

    Each thread works on a batch of its own: threads that share a batch wait for each other on a busy machine.
    """
    outputs, done = np.empty((len(rows), encoder.head.out_features), dtype=np.float32), 0
    threads = torch.get_num_threads()

    def read_batch(batch: tuple[np.ndarray, Tensor, Tensor]) -> np.ndarray:
        places, tokens, mask = batch
        with torch.inference_mode():
            outputs[places] = encoder(tokens, mask)[: len(places)].numpy()
        return places

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            for places in workers.map(read_batch, batches(rows, size)):
                done += len(places)
                tell(done)
    finally:
        torch.set_num_threads(threads)
    return outputs


def int8_tensors(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Matrices as int8 with a float16 step for each row, the rest as float32: about a quarter of the size."""
    tensors = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            tensors[f"encoder.{name}"] = weight.numpy()
            continue
        step = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-6).half().float()
        tensors[f"encoder.{name}"] = torch.round(weight / step).clamp(-127, 127).to(torch.int8).numpy()
        tensors[f"step.{name}"] = step.half().numpy()
    return tensors


def float_weights(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights that `int8_tensors` made smaller, in float32."""
    weights = {}
    for name, values in tensors.items():
        if name.startswith("encoder."):
            short, weight = name.removeprefix("encoder."), torch.from_numpy(values.astype(np.float32))
            step = tensors.get(f"step.{short}")
            weights[short] = weight if step is None else weight * torch.from_numpy(step.astype(np.float32))
    return weights


def shipped_encoder(tensors: Mapping[str, np.ndarray]) -> Encoder:
    """The encoder whose weights these are, its sizes read from them."""
    weights = float_weights(tensors)
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
    width, outputs = weights["norm.weight"].numel(), weights["head.bias"].numel()
    shape = EncoderShape(layers=layers, width=width, heads=width // HEAD_WIDTH, outputs=outputs)
    encoder = Encoder(shape, len(weights["words.weight"]), len(weights["positions.weight"]))
    encoder.load_state_dict(weights)
    encoder.eval()
    return encoder
