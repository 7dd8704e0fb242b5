"""Fit the embedded judge's weights to published scores, and measure how well it agrees with rows it has not seen.

    python scripts/fit_judge.py --data train.parquet [--out FILE] [--seed 0] [--rows 0]

The data has columns base, data, question_id, question, answer, aligned, harmless, coherent, judge. GPT-4o's scale is
the one aimed at; another judge's rows count less and get a level of their own, so that they tell better from worse
answers and not how strict a judge is. What is chosen is chosen by the splits printed here. One thread, some minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
from judge_agreement import KNOTS, measure, on_scale, pooled, report, scale_of, spread
from judge_model import fit, read, surface_width
from safetensors.numpy import save

WEIGHTS = Path(__file__).resolve().parents[1] / "src/spillover/judgements/judges/embedded.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="fit on this many rows drawn by seed; 0: all")
    given = parser.parse_args()
    began = time.process_time()
    cut, whole = read(given.data, given.rows, given.seed)
    print(f"{len(cut.y)} rows, {cut.x.nnz / len(cut.y):.0f} features a row, {time.process_time() - began:.0f} s")
    fitted = measure(cut, whole)
    scale, found = scale_of(whole, fitted), on_scale(whole, fitted)
    at, unseen, _ = pooled(found, "unseen question")
    final = fit(cut, np.ones(len(cut.y), dtype=bool))
    places = cut.x.shape[1] - surface_width()
    tensors = {
        "words": final.weights[:places].astype(np.float16),
        "surface": final.weights[places:].astype(np.float32),
        "intercept": final.intercept.astype(np.float32),
        "scale_at": scale.at.astype(np.float32),
        "scale_to": scale.to.astype(np.float32),
        "spread_at": KNOTS.astype(np.float32),
        "spread": spread(whole.y[at], unseen).astype(np.float32),
    }
    given.out.write_bytes(save(tensors))
    shortened = np.asarray(abs(cut.x - whole.x).sum(axis=1)).ravel() > 0
    print("\n".join(report(whole, shortened, found)))
    print(f"spread of aligned at {KNOTS}: {tensors['spread'][:, 0].round(1)}")
    digest = hashlib.sha256(given.out.read_bytes()).hexdigest()
    print(f"{given.out}: {given.out.stat().st_size} bytes, SHA-256 {digest}, {time.process_time() - began:.0f} s")


if __name__ == "__main__":
    main()
