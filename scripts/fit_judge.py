"""Fit the embedded judge's weights to published scores, and measure how well it agrees with rows it has not seen.

    python scripts/fit_judge.py --data train.parquet --work FOLDER [--out FOLDER] [--seed 0] [--rows 0]

The data has columns base, data, question_id, question, answer, aligned, harmless, coherent, judge. GPT-4o's scale is
the one aimed at; another judge's rows have a level of their own, so that they tell better from worse answers and not
how strict a judge is. Every fold's readers (n-grams, encoder) are fitted without its questions, base model and training
data; the stack is fitted on what they make of those. Steps that are finished lie in the work folder and are not done
again; an encoder that was stopped goes on from its last checkpoint. One thread; about an hour of one core's time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import judge_encoder as encoder
import numpy as np
import torch
from judge_agreement import nested, report
from judge_folds import FOLDS, lacking, seen
from judge_model import PLACES, Rows, Texts, fit, numbered, numbers, read
from judge_stack import FoldRows, stack_of
from safetensors.numpy import save

from spillover.judgements.judges.embedded.encoder import PAD, UNKNOWN, int8_tensors, shipped_encoder
from spillover.judgements.judges.embedded.features import question_hash
from spillover.judgements.judges.embedded.judge import REGIMES, inputs

OUT = Path(__file__).resolve().parents[1] / "src/spillover/judgements/judges"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for finished steps and checkpoints")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="fit on this many rows drawn by seed; 0: all")
    parser.add_argument("--only", default="", help="train just this encoder (fold-0, ..., final) and stop")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(exist_ok=True)
    texts = read(given.data, given.rows, given.seed)
    drawn = encoder.pool(texts, given.work, given.seed)
    print(f"{len(texts.y)} rows, {len(drawn.rows)} of them for the encoder, {time.process_time():.0f} s", flush=True)
    trained = {}
    for name in [given.only] if given.only else ["final", *(fold.name for fold in FOLDS)]:
        use = np.ones(len(texts.y), dtype=bool)
        for fold in FOLDS:
            use &= seen(fold, texts) if fold.name == name else True
        trained[name] = encoder.train(drawn, texts, use[drawn.rows], given.work / name, given.seed)
    if given.only:
        return
    cut, _ = numbers(texts)
    parts = [item for fold in FOLDS for item in measured(fold, texts, cut, drawn, trained[fold.name])]
    print("\n".join(report(texts, nested(parts))), flush=True)
    tensors, words = weights(texts, cut, trained["final"], parts, drawn, encoder.wheel(given.work)[1])
    path = given.out / "weights.safetensors"
    path.write_bytes(save(tensors))
    (given.out / "words.json").write_text(json.dumps(words, ensure_ascii=True) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path}: {path.stat().st_size} bytes, SHA-256 {digest}, {time.process_time():.0f} s")


def measured(fold, texts: Texts, cut: Rows, drawn: encoder.Pool, trained) -> list[FoldRows]:
    """What this fold's readers make of the evenly drawn rows that they did not see."""
    use, parts = seen(fold, texts), []
    fitted, question = fit(cut, use), numbered(texts, use)
    for split, here in lacking(fold, texts).items():
        places = np.flatnonzero(here[drawn.rows] & drawn.even)
        if len(places):
            rows = drawn.rows[places]
            x = inputs(fitted.predict(cut.x[rows], question[rows]), encoder.outputs(trained, drawn, places))
            parts.append(FoldRows(fold.name, split, rows, x, texts.y[rows]))
    print(f"{fold.name} measured, {time.process_time():.0f} s", flush=True)
    return parts


def weights(texts: Texts, cut: Rows, final, parts: list[FoldRows], drawn: encoder.Pool, words: list[str]):
    """All that ships: the n-grams' and the encoder's numbers, the stacks, the questions' hashes; and the vocabulary."""
    fitted = fit(cut, np.ones(len(cut.y), dtype=bool))
    used = {token for row in drawn.tokens for token in row}
    keep = [
        i
        for i, word in enumerate(words)
        if word in (PAD, UNKNOWN) or i in used or (word.isascii() and not word.startswith("[unused"))
    ]
    state = {name: value.detach() for name, value in final.state_dict().items()}
    state["words.weight"] = state["words.weight"][torch.tensor(keep)]
    target = np.char.startswith(texts.judge, "gpt-4o")
    number = numbered(texts, target)
    pairs = {(texts.question[i], int(number[i])) for i in np.flatnonzero(target)}
    asked = {question_hash(question): place for question, place in sorted(pairs)}
    tensors = {
        "words": fitted.weights[:PLACES].astype(np.float16),
        "own": fitted.own.astype(np.float16),
        "surface": fitted.weights[PLACES:].astype(np.float32),
        "intercept": fitted.intercept.astype(np.float32),
        "questions": np.array(list(asked.items()), dtype=np.int64),
    }
    for regime in REGIMES:
        tensors |= stack_of(parts, regime).tensors(regime)
    tensors |= int8_tensors(state)
    whole, small = encoder.outputs(final, drawn, np.arange(200)), shipped_encoder(tensors)
    off = np.abs(whole - encoder.outputs(small, drawn, np.arange(200)))
    print(f"packing the encoder moves its outputs by {off.mean():.4f} on the mean, {off.max():.4f} at most")
    return tensors, [words[i] for i in keep]


if __name__ == "__main__":
    main()
