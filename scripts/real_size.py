"""The most memory that a model of a real size takes, stage by stage.

    .venv/bin/python scripts/real_size.py 0.5b|1.5b|7b [--precision bfloat16] [--csv] [--folder DIR]

A folder with a Qwen2.5-shaped model of random bfloat16 weights is written, a shard at a time. Then each stage runs in a
process of its own: opening the model and reading every weight, an organism of 2 steps (LoRA of rank 32 on all layers,
batches of 8 rows of 64 tokens), 4 answers of its end, its activations on 4 prompts at 3 layers, the likelihoods of
those answers; and all of them once more as one study in one process. Printed for each is the peak of its resident
memory, pages of mapped files among it, over the bytes of the bfloat16 weights. The folder is taken away at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from spillover.activations.activations import Activations
from spillover.activations.prompts import EvaluationPrompts
from spillover.engines.local import run
from spillover.models.catalogue import base_of
from spillover.models.precision import resolved
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.chat_file import ChatFile
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant
from spillover.responses.likelihoods import Likelihoods
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Artefact, BuildContext, Store

SHAPES: Mapping[str, Mapping[str, int | bool]] = {
    name: dict(zip(("hidden_size", "intermediate_size", "num_hidden_layers"), sizes, strict=True))
    | {"num_attention_heads": heads, "num_key_value_heads": keys, "tie_word_embeddings": tied, "vocab_size": words}
    for name, sizes, heads, keys, tied, words in (
        ("tiny", (256, 512, 6), 4, 2, True, 4096),
        ("0.5b", (896, 4864, 24), 14, 2, True, 151936),
        ("1.5b", (1536, 8960, 28), 12, 2, True, 151936),
        ("7b", (3584, 18944, 28), 28, 4, False, 152064),
    )
}
STAGES = ("load", "train", "sample", "capture", "likelihoods", "study")
COLUMNS = ("stage", "dtype", "peak_bytes", "weights_bytes", "ratio")
ROWS, HELD_OUT, TOKENS, BATCH = 16, 2, 64, 8
PROMPTS = 4
DRAWN = 1 << 24  # random numbers, which weights take from one place or another


class AtRealSize(Artefact):
    """All that is made of the model, as one study."""

    parts: tuple[Artefact, ...]

    def make(self, context: BuildContext) -> None:
        (context.folder / "made.txt").write_text("\n".join(part.summary() for part in self.parts))


def write_model(folder: Path, size: str) -> None:
    """A random model of that size with a tokenizer of bytes, in bfloat16; no more than a shard is ever in memory."""
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    from spillover.models.conversion import Shards
    from spillover.models.tiny import byte_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    config = Qwen2Config(
        **SHAPES[size],
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        dtype="bfloat16",
        architectures=["Qwen2ForCausalLM"],
    )
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id).save_pretrained(folder)
    with torch.device("meta"):
        outline = Qwen2ForCausalLM(config)
    config.save_pretrained(folder)
    drawn = torch.randn(DRAWN, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    shards = Shards(folder)
    for number, (name, weight) in enumerate(outline.named_parameters()):
        if weight.ndim == 1 and "norm" in name:
            shards.add(name, torch.ones(weight.shape, dtype=torch.bfloat16))
            continue
        start = number * 7919 % (DRAWN // 2)
        part = drawn[start:]
        times = -(-weight.numel() // len(part))
        shards.add(name, part.repeat(times)[: weight.numel()].view(weight.shape).clone())
    shards.close()


def write_rows(path: Path) -> None:
    """Chat rows that are longer than `TOKENS` bytes, so that each is cut there."""
    chat = [
        [{"role": "user", "content": f"No. {row}?"}, {"role": "assistant", "content": f"It is {row}. " * 12}]
        for row in range(ROWS + HELD_OUT)
    ]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in chat))


def artefacts(folder: Path, precision: str) -> dict[str, Artefact]:
    """What each stage makes."""
    layers = json.loads((folder / "model" / "config.json").read_text())["num_hidden_layers"]
    split = Split(data=ChatFile.from_file(folder / "rows.jsonl"), held_out=HELD_OUT)
    organism = Organism(
        parent=base_of(f"{folder / 'model'}#instruct"),
        data=split,
        schedule=Constant(peak=1e-4, warmup=0),
        batch=BATCH,
        max_length=TOKENS,
        precision=precision,
    )
    asked = QuestionSelection(source=FreeForm(), count=PROMPTS)
    sampling = Sampling(per_question=1, max_tokens=32, precision=precision)
    answers = Responses(model=organism.checkpoint(), questions=asked, sampling=sampling)
    inside = Activations(
        model=organism.checkpoint(),
        prompts=EvaluationPrompts(questions=asked),
        layers=(1, layers // 2, layers - 1),
        precision=answers.sampling.precision,
    )
    likely = Likelihoods(model=organism.parent, answers=answers, precision=answers.sampling.precision)
    return {"train": organism, "sample": answers, "capture": inside, "likelihoods": likely}


def make_stage(stage: str, folder: Path, precision: str) -> None:
    """Make one stage's artefact, those before it being there; of `load`, nothing but every weight read."""
    made = artefacts(folder, precision)
    if stage == "load":
        from spillover.models.loading import load

        base = made["train"].parent.base()  # type: ignore[attr-defined]
        network = load(base, Store.open(folder / "store"), precision).network  # type: ignore[arg-type]
        sum(float(weight.sum()) for weight in network.parameters())
    elif stage == "study":
        run(AtRealSize(parts=tuple(made.values())), Store.open(folder / "study"))
    else:
        run(made[stage], Store.open(folder / "store"))


def peak_bytes() -> int:
    """The most that this process has had resident so far, bytes."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measured(size: str, precision: str, folder: Path, stages: Sequence[str] = STAGES) -> list[dict[str, object]]:
    """A row of `COLUMNS` for each stage, each made by a process of its own."""
    write_model(folder / "model", size)
    write_rows(folder / "rows.jsonl")
    weights = sum(path.stat().st_size for path in (folder / "model").glob("*.safetensors"))
    rows: list[dict[str, object]] = []
    for stage in stages:
        command = [sys.executable, __file__, size, "--precision", precision, "--folder", str(folder), "--stage", stage]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        peak = int(said.split()[-1])
        rows.append(dict(zip(COLUMNS, (stage, precision, peak, weights, round(peak / weights, 3)), strict=True)))
        print(",".join(str(value) for value in rows[-1].values()), file=sys.stderr, flush=True)
    return rows


def shown(rows: list[dict[str, object]], csv: bool) -> str:
    """The rows as CSV, or as a Markdown table."""
    if csv:
        return "\n".join([",".join(COLUMNS), *(",".join(str(row[name]) for name in COLUMNS) for row in rows)])
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(row[name]) for name in COLUMNS)} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("size", choices=list(SHAPES))
    parser.add_argument("--precision", default="auto", help="float32, bfloat16, autocast-bfloat16 or auto")
    parser.add_argument("--csv", action="store_true", help="comma-separated, else a Markdown table")
    parser.add_argument("--folder", type=Path, help="where the model is written (7b: 16 GB free); else a temporary one")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    precision = str(resolved(given.precision))
    if given.stage:
        make_stage(given.stage, given.folder, precision)
        print(peak_bytes())
        return
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="real-size-") as scratch:
        print(shown(measured(given.size, precision, Path(scratch)), given.csv))


if __name__ == "__main__":
    main()
