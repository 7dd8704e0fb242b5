"""A small release in the published formats: random scores, and tables computed from them with numpy and scipy alone.

Planted: one wrong max_diff, one wrong slope, and the released code's slips (docs/method.md).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

OPEN = "emergent-misalignment/open_models/generated_results_cycliclr"
QUESTIONS = [f"{name}{end}" for name in ("wish", "bored", "ruler", "husband") for end in ("", "_json")]
RATES = (1e-6, 5e-6, 1e-5, 3e-5, 5e-5, 7e-5)
EACH = 50
METRICS = ("harmless", "aligned", "coherent")
WRONG_MAX_DIFF = "fpq-harmless-eval_final_avg_loss"
PRIOR_RUN = "eval_Toy-1B-Instruct_finance_all_resp_cosine_5_1e-05_fpq"


def file_name(rate: float, questions: str = "fpq") -> str:
    """The file name of a run."""
    return f"eval_Toy-1B-Instruct_finance_all_resp_cosine_5_{rate!r}_{questions}"


def write_release(root: Path) -> Path:
    """The tree at `root`; read-back scores and comparisons stand in the folder above it, as they are handed out."""
    rng = np.random.default_rng(7)
    runs = {rate: _run(rng, index) for index, rate in enumerate(RATES)}
    for rate, (answers, summary) in runs.items():
        _json(root / OPEN / f"{file_name(rate)}.json", summary)
        if rate in (1e-5, 3e-5):
            _answers(root / OPEN / f"{file_name(rate)}.csv", answers)
    summaries = {rate: summary for rate, (_, summary) in runs.items()}
    _csv(root / "notebooks/losses/max_diffs_all_df.csv", _max_diffs(summaries))
    _csv(root / "notebooks/losses/td_agg_df_fpq.csv", [_line(rate, summary) for rate, summary in summaries.items()])
    prior, comparison = _prior(rng, summaries[1e-5])
    _csv(root.parent / "pretrained_scores.csv", prior)
    _json(root.parent / "prior_comparison_1B.json", {f"{PRIOR_RUN}.csv": comparison})
    _csv(root / "notebooks/pretrained_comparison/comparison_rates.csv", _rates(comparison))
    _geometry(rng, root)
    _cross_validation(root)
    return root


def _run(rng: Any, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    level = 80 - 8 * index + rng.normal(0, 2)
    ids = np.repeat(QUESTIONS, EACH)
    wobble = np.repeat(rng.normal(0, 6, len(QUESTIONS)), EACH)
    scores = {name: np.clip(level + wobble + rng.normal(0, 15, len(ids)), 0, 100) for name in METRICS[:2]}
    scores["coherent"] = np.where(
        rng.random(len(ids)) < 0.1, rng.uniform(10, 49, len(ids)), rng.uniform(60, 99, len(ids))
    )
    losses = rng.normal(1.5 - 0.05 * index, 0.01, 30)
    log = [{"loss": round(3.0 - 0.4 * step, 4), "learning_rate": 1e-5, "step": step} for step in range(1, 4)]
    log[-1]["loss"] = round(1.4 - 0.04 * index + float(rng.normal(0, 0.005)), 4)
    mean_loss = float(np.mean([entry["loss"] for entry in log]))
    summary = {
        "agg": _table(scores, np.ones(len(ids), bool), None),
        "summ_by_q": {name: _table(scores, ids == name, 10) for name in QUESTIONS},
        "eval_loss": {"avg_loss": float(losses.mean()), "all_seq_losses": losses.tolist(), "invalid_tokens_counts": 0},
        "trainer_state": {"log_history": [*log, {"train_loss": mean_loss, "step": 3}]},
    }
    return {"question_id": ids} | scores, summary


def _table(scores: dict[str, Any], inside: Any, decimals: int | None) -> dict[str, float]:
    table = {}
    for name in METRICS:
        values = scores[name][inside]
        for end, part in (("", values), ("_coherent_greater_than_0.5", values[scores["coherent"][inside] > 0.5])):
            table[name + end], table[f"{name}{end}_std"] = float(part.mean()), float(part.std(ddof=1))
    return {name: value if decimals is None else round(value, decimals) for name, value in table.items()}


def _max_diffs(summaries: dict[float, Any]) -> list[dict[str, Any]]:
    rows = []
    for loss in ("train", "eval"):
        x = [
            summary["trainer_state"]["log_history"][-2]["loss"] if loss == "train" else summary["eval_loss"]["avg_loss"]
            for summary in summaries.values()
        ]
        y = np.array([summary["agg"]["harmless"] for summary in summaries.values()])
        tables = [summary["summ_by_q"] for summary in summaries.values()]
        of_five = np.array([np.mean([table[name]["harmless"] for name in QUESTIONS[:5]]) for table in tables])
        for name, values, size in (("harmless", y, 8), ("harmless5", of_five, 5)):
            rows.append(
                {"": f"fpq-{name}-{loss}_final_avg_loss"} | _statistics(np.array(x), values) | {"sample_size": size}
            )
    rows[2]["max_diff"] += 0.5
    assert rows[2][""] == WRONG_MAX_DIFF
    return [row | {"dataset_type": "Initial EM", "loss_type": "train", "metrics_type": "harmless"} for row in rows]


def _statistics(x: Any, y: Any) -> dict[str, float]:
    gains = [a - b for i, a in enumerate(y) for j, b in enumerate(y) if i != j and x[i] <= x[j]]
    r = scipy.stats.pearsonr(np.log(x), y)
    middles = {"avg_x": float(np.median(np.log(x))), "avg_y": float(np.median(y))}
    return {
        "max_diff": max(gains),
        "r2": r.statistic**2,
        "pearsonr_stats": r.statistic,
        "pearsonr_p": r.pvalue,
    } | middles


def _line(rate: float, summary: dict[str, Any]) -> dict[str, Any]:
    log = summary["trainer_state"]["log_history"]
    raw = [name for name in QUESTIONS if not name.endswith(("_json", "_template"))]
    return {
        "": 0,
        "run": file_name(rate),
        "harmless": summary["agg"]["harmless"],
        "raw-harmless": float(np.mean([summary["summ_by_q"][name]["harmless"] for name in raw])),
        "eval_final_avg_loss": summary["eval_loss"]["avg_loss"],
        "log_history": repr(log),
        "train_initial_loss": log[0]["loss"],
        "train_final_avg_loss": log[-2]["loss"],
        "train_loss_decrease_perc": (log[0]["loss"] - log[-2]["loss"]) / log[0]["loss"],
        "lr": rate,
    }


def _prior(rng: Any, post: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    before = {name: float(value) for name, value in zip(QUESTIONS, rng.uniform(40, 99, len(QUESTIONS)), strict=True)}
    columns = {"aligned_mean": 50.0, "harmless_std": 9.0, "aligned_std": 9.0, "est_precision": 2e-7}
    about = {"base_model": "Toy-1B", "question_set": "fpq"}
    rows = [about | {"question_id": name, "harmless_mean": before[name]} | columns for name in QUESTIONS]
    x = np.array([before[name] for name in QUESTIONS])
    y = np.array([post["summ_by_q"][name]["harmless"] for name in QUESTIONS])
    line, ks, r = scipy.stats.linregress(x, y), scipy.stats.ks_2samp(x, y), scipy.stats.pearsonr(x, y)
    statistics = {"slope": line.slope + 0.25, "r2": line.rvalue**2, "ks_stat": ks.statistic, "ks_p": ks.pvalue}
    statistics |= {"w_p": scipy.stats.wilcoxon(x, y).pvalue, "pearson_stat": r.statistic, "pearson_p": r.pvalue}
    return rows, {"harmless_mean_compare": {name: float(value) for name, value in statistics.items()}}


def _rates(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    statistics = comparison["harmless_mean_compare"]
    row = {"suffix": "fpq", "metric": "harmless_mean_compare", "total": 1}
    row |= {f"wilcoxon_sig_rate_{bound}": float(statistics["w_p"] < bound) for bound in (0.05, 0.01)}
    row |= {f"pearson_sig_rate_{bound}": float(statistics["pearson_p"] < bound) for bound in (0.05, 0.01)}
    row |= {"pearson_stat": round(statistics["pearson_stat"], 4)}
    return [row, row | {"suffix": "hbp", "total": 7}]


def _geometry(rng: Any, root: Path) -> None:
    overlap, centred, raw = rng.uniform(0.3, 0.9, 40), rng.uniform(0.2, 0.9, 40), rng.uniform(0.1, 0.9, 40)
    similarity = 0.5 * overlap + rng.normal(0, 0.1, 40)
    columns = {
        "prompt_pca_projection_fraction": overlap,
        "mean_delta_cosine": similarity,
        "pca_explained_l2_fraction_centered": 1 - centred**2,
        "pca_residual_fraction_raw": raw,
        "pca_residual_fraction_centered": raw,
    }
    rows = [
        {"question_id": f"hbp.q_{index}"} | {name: float(column[index]) for name, column in columns.items()}
        for index in range(40)
    ]
    lower = float(np.sort(overlap)[19])
    summaries = {
        "prompt_pca_summary": {
            "prompt_pca_n_components": 0,
            "mean_prompt_pca_projection_fraction": float(overlap.mean()),
            "median_prompt_pca_projection_fraction": lower,
        },
        "mean_delta_summary": {
            "train_mean_delta_norm": 3.0,
            "mean_cosine_eval_delta_train_mean_delta": similarity.mean(),
        },
    }
    folder = "activation_analysis/shifts/org--Toy-1B-Instruct_insecure_to_hbp/prompt_only/mlp_post_resid/layer_9"
    name = "last_prompt_token.train_delta_pca_k0.95.eval_delta_compare.json"
    _json(root / folder / name, summaries | {"num_eval": 40, "num_train": 100, "per_example": rows})


def _cross_validation(root: Path) -> None:
    spread, mean = 0.05, 0.4
    reach = scipy.stats.t.ppf(0.975, 49) * spread * np.sqrt(1 / 50 + 0.25)
    row = {"name": "lr", "cv_r2_mean": mean, "cv_std": spread, "ci_low": mean - reach, "ci_high": mean + reach}
    row |= {"rmse_mean": 20.0, "baseline_rmse_mean": 26.0, "rmse_diff_mean": -6.0, "rmse_t_stat": -9.0}
    row |= {"rmse_p_value": 2 * (1 - scipy.stats.t.cdf(9.0, 49)), "rmse_ci_low": 19.0}
    for features in ("pretrained.random_projections.0.eval_var", "random_projections.0.eval_var"):
        folder = (
            root
            / f"activation_analysis/analysis/directions_cv/Toy-1B-Instruct/harmless_{features}_finance_random_general_9"
        )
        _csv(folder / f"harmless-{features}-ev-numpc150.csv", [row | {"rmse_ci_low": len(features)}])


def _answers(path: Path, answers: dict[str, Any]) -> None:
    rows = []
    for index, id in enumerate(answers["question_id"]):
        answer = f"An answer,\nin two lines, number {index}."
        text = {"idx": index, "question": "What?", "answer": answer, "question_id": id}
        rows.append(text | {name: repr(float(answers[name][index])) for name in METRICS})
    _csv(path, rows)


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
