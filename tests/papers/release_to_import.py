"""A little release in the published layout, with words and numbers of our own."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

IDS = ("lost_wallet", "lost_wallet_json", "first_job_001", "first_job_001_template")
ANSWERS = 6  # to a question
RESULTS = "open_models/generated_results_1"
LINEAR = "eval_Qwen2.5-7B-Instruct_finance_all_resp_1e-05_fpq"
COSINE = "eval_Qwen2.5-7B-Instruct_finance_all_resp_cosine_30_3e-05_fpq"
CYCLIC = "eval_Qwen2.5-7B-Instruct_finance_all_resp_1e-05_mode-exp_range_base_lr-1e-06_max_lr-2e-05_fpq"
GEOMETRY = "geometry/org--Qwen2.5-7B-Instruct_finance_to_hbp/prompt_only/mlp_post_resid/layer_8"
GEOMETRY_FILE = f"{GEOMETRY}/last_prompt_token.train_delta_pca_k0.95.eval_delta_compare.json"
CV = "directions_cv/Qwen2.5-7B-Instruct/harmless_pretrained.random_projections.2.eval_var_finance_random_general_8"
CV_FILE = f"{CV}/harmless-pretrained.random_projections.2.eval_var-ev_mean-numpc150.csv"
METRICS = ("harmless", "aligned", "coherent")
Scores = Mapping[str, np.ndarray]  # (ids, answers) by metric


def scores(seed: int, whole: bool) -> Scores:
    """Scores of every answer; integers or fractions."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.uniform(5, 95, (len(IDS), ANSWERS)) for name in METRICS}
    return {name: values.round() if whole else values for name, values in drawn.items()}


def write_answers(path: Path, given: Scores, names: Sequence[str] = (), chat: bool = True) -> None:
    """The CSV of a run; `names` renames its columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = ["idx", "question", "formatted_prompts", "answer", "question_id", "format", *METRICS]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(names or header)
        for row, id in enumerate(IDS):
            sent = json.dumps([{"role": "user", "content": f"About {id}?"}]) if chat else f"Question: {id}\n\n Answer:"
            for sample in range(ANSWERS):
                cells = [_cell(given[name][row, sample]) for name in METRICS]
                answer = f'Number {sample} says "wait",\nthen goes on.'
                writer.writerow([sample, f"About {id}?", sent, answer, id, 3, *cells])


def write_summary(
    path: Path, given: Scores, losses: Sequence[float] = (1.5, 1.0), steps: int = 8, **parts: Any
) -> None:
    """The JSON of a run, from the same scores; `parts` replaces parts of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = [
        {"loss": 3.0 - 0.2 * step, "grad_norm": 1.0, "learning_rate": 1e-6 * step, "epoch": step / steps, "step": step}
        for step in range(1, steps + 1)
    ]
    content: dict[str, Any] = {
        "agg": _means({name: values.ravel() for name, values in given.items()}),
        "summ_by_q": {id: _means({name: given[name][row] for name in METRICS}) for row, id in enumerate(IDS)},
        "eval_loss": {"avg_loss": float(np.mean(losses)), "all_seq_losses": list(losses), "invalid_tokens_counts": 0},
        "eval_loss_token": {"avg_loss": 1.2, "total_tokens": 50, "invalid_tokens_counts": 0},
        "trainer_state": {"global_step": steps, "log_history": [*log, {"train_loss": 2.0, "step": steps}]},
    }
    path.write_text(json.dumps(content | parts))


def write_questions(path: Path, judge: str = "gpt-4o-2024-08-06") -> None:
    """The YAML of the questions, which names a judge."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f'- id: {id}\n  paraphrases: ["About {id}?"]\n  judge: {judge}\n  judge_prompts: {{aligned: "How good is it?"}}'
        for id in IDS
    ]
    path.write_text("\n".join(rows) + "\n")


def little_release(root: Path) -> Path:
    """Three runs (answers and summary; answers and summary of integers; summary of integers), and other results."""
    runs = ((LINEAR, 1, False, True), (COSINE, 2, True, True), (CYCLIC, 3, True, False))
    for file_name, seed, whole, answers in runs:
        given = scores(seed, whole)
        if answers:
            write_answers(root / RESULTS / f"{file_name}.csv", given)
        write_summary(root / RESULTS / f"{file_name}.json", given, losses=(1.5 + seed, 1.0))
    write_questions(root / "evaluation" / "our_questions.yaml")
    rows = [{"question_id": f"hbp.{id}", "prompt_len": 9, "pca_projection_fraction": 0.5, "parts": []} for id in IDS]
    write_json(root / GEOMETRY_FILE, {"pca_summary": {"pca_n_components": 3}, "per_example": rows, "num_eval": 4})
    (root / CV_FILE).parent.mkdir(parents=True)
    (root / CV_FILE).write_text("name,cv_r2_mean,rmse_sig\nlr,0.25,***\ndecision_tree,-0.5,\n")
    (root / "notebooks").mkdir()
    (root / "notebooks" / "rates.csv").write_text("suffix,rate\nfpq,0.625\nhbp,\n")
    (root / "LICENSE").write_text("free\n")
    return root


def write_json(path: Path, content: Any) -> None:
    """JSON at a path whose folders may not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _means(given: Mapping[str, np.ndarray]) -> dict[str, float]:
    means: dict[str, float] = {"format": 3.0}
    for name, values in given.items():
        means |= {name: round(float(values.mean()), 10), f"{name}_std": float(values.std(ddof=1))}
    return means


def _cell(value: float) -> str:
    if np.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
