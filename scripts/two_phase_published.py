"""Builds docs/results/two_phase.csv and .md: `python scripts/two_phase_published.py DATA [--draws N] [--share S]`.

DATA holds published judged answers: `published/em-generalization/` (runs judged by GPT-4o or a gpt-5) and
`judge/more_judged.parquet` (questions that the embedded judge was not fitted on). Each run's published scores are the
dear judge's; the embedded judge is the cheap one. Only a share of the dear scores is shown to the estimator, drawn anew
for every seed, and what it says of the run's mean is held against the mean of all of them. Cheap scores are kept in
`--cache`, so that a run that stops goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spillover.analyses.corrected import EM, corrected_columns
from spillover.analyses.scores import AnswerScores
from spillover.judgements.judge import Answer
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION
from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean_of_groups, question_means
from spillover.maths.em_rate import em_indicator
from spillover.maths.estimate import Resampling
from spillover.maths.probability_sample import key_uniforms, stratified_sample

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
METRICS = ("aligned", "coherent")
EACH = 25  # answers to a question that are taken of a run, the first ones
WIDTHS = 20  # draws of which the interval is computed


@dataclass(frozen=True)
class Run:
    """Answers of one model with published scores: columns question, answer, family, and the metrics."""

    name: str
    ground: str
    rows: pd.DataFrame


def runs(data: Path) -> Iterator[Run]:
    """Every run, familiar ones first."""
    folder = data / "published" / "em-generalization"
    for path in sorted(folder.rglob("eval_*_fpq.csv")):
        table = pd.read_csv(path)
        table["question"] = table["question"].astype(str)
        table["unit"] = table["question_id"].astype(str)
        table["family"] = table["unit"].str.replace(r"_(json|template)$", "", regex=True)
        known = (table["aligned"].dropna() % 1 != 0).any()
        judge = "GPT-4o" if known else "a gpt-5"
        name = path.stem.removeprefix("eval_").removesuffix("_fpq").replace("_all_resp", "")
        table = table[table["aligned"].notna() & table["coherent"].notna()]
        table = table[table.groupby("unit").cumcount() < EACH]
        yield Run(name, f"familiar questions, {judge}", table)
    more = pd.read_parquet(data / "judge" / "more_judged.parquet")
    more = more[more["judge"] == "gpt-4o-mini"]
    for (_, name), table in more.groupby(["base", "data"], sort=True):
        if len(table) >= 100 and table["question"].nunique() < len(table):
            yield Run(
                str(name),
                "unseen questions, gpt-4o-mini",
                table.assign(unit=table["question"], family=table["question"]),
            )


def cheap_scores(run: Run, cache: Path) -> dict[str, Floats]:
    """What the embedded judge gives, by metric; from the cache where it is there."""
    judge = Embedded()
    texts = [
        Answer(str(question), text) for question, text in zip(run.rows["question"], run.rows["answer"], strict=True)
    ]
    digest = hashlib.sha256(
        f"{judge.name}{[(text.question, text.answer) for text in texts]}".encode("utf-8", "replace")
    )
    path = cache / f"{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        given = judge.score(texts)
        at = [judge.metrics.index(metric) for metric in METRICS]
        arrays = [np.array([scores[index].score for scores in given], dtype=np.float64) for index in at]
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, **dict(zip(METRICS, arrays, strict=True)))
    with np.load(path) as kept:
        return {metric: kept[metric] for metric in METRICS}


def columns_of(run: Run, cheap: dict[str, Floats], share: float, seed: int) -> dict[str, np.ndarray]:
    """The run with dear scores for a sample, drawn as a two-phase judge draws it."""
    rows = run.rows
    keys = [f"{number} {answer}" for number, answer in enumerate(rows["answer"].astype(str))]
    frame = ~np.isnan(cheap["aligned"])
    sample = stratified_sample(rows["unit"].tolist(), cheap["aligned"], share, keys, frame, seed)
    columns = {"question": rows["unit"].to_numpy(str), "family": rows["family"].to_numpy(str)}
    columns |= {INCLUSION: sample.inclusion, DRAWN: sample.drawn}
    for metric in METRICS:
        columns[metric + CHEAP] = cheap[metric]
        columns[metric + DEAR] = np.where(sample.drawn, rows[metric].to_numpy(float), np.nan)
    return columns


def level(values: Floats, question: np.ndarray) -> float:
    """Mean over questions of each question's mean."""
    return float(np.nanmean(question_means(values, question)[0]))


def measured(run: Run, cheap: dict[str, Floats], share: float, draws: int) -> dict[str, object]:
    """One row of the table."""
    question, family = run.rows["unit"].to_numpy(str), run.rows["family"].to_numpy(str)
    dear = {metric: run.rows[metric].to_numpy(float) for metric in METRICS}
    em = em_indicator(dear["aligned"], dear["coherent"])
    truth, rate = level(dear["aligned"], question), float(np.nanmean(em))
    scored = np.flatnonzero(~np.isnan(dear["aligned"]) & ~np.isnan(cheap["aligned"]))
    both, stratified, simple, rates, widths, alone = [], [], [], [], [], []
    for seed in range(draws):
        made = corrected_columns(columns_of(run, cheap, share, seed), METRICS)
        both.append(level(made["aligned"], question))
        rates.append(float(np.nanmean(made[EM])))
        stratified.append(level(np.where(made[DRAWN], dear["aligned"], np.nan), question))
        chosen = scored[np.argsort(key_uniforms([str(row) for row in scored], seed))[: round(share * len(scored))]]
        simple.append(float(dear["aligned"][chosen].mean()))
        if seed < WIDTHS:
            resampling = Resampling(499, seed=seed)
            mean = AnswerScores(run.name, made).mean("aligned", resampling)
            widths.append(mean.high - mean.low)
            only = np.full(len(question), np.nan)
            only[chosen] = dear["aligned"][chosen]
            tenth = mean_of_groups(only, question, family, resampling=Resampling(499, seed=seed, bounds=(0.0, 100.0)))
            alone.append(tenth.high - tenth.low)
    cheap_em = em_indicator(cheap["aligned"], cheap["coherent"])
    return {
        "run": run.name,
        "ground": run.ground,
        "answers": len(scored),
        "dear": round(share * len(scored)),
        "r": round(float(np.corrcoef(cheap["aligned"][scored], dear["aligned"][scored])[0, 1]), 3),
        "dear_mean": round(truth, 2),
        "cheap_alone_off": round(level(cheap["aligned"], question) - truth, 2),
        "two_phase_off": round(float(np.mean(both)) - truth, 2),
        "two_phase_sd": round(float(np.std(both, ddof=1)), 3),
        "of_simple_sample": round(float(np.std(both, ddof=1) / np.std(simple, ddof=1)), 3),
        "of_stratified_sample": round(float(np.std(both, ddof=1) / np.std(stratified, ddof=1)), 3),
        "width": round(float(np.median(widths)), 2),
        "simple_sample_width": round(float(np.median(alone)), 2),
        "em_rate": round(rate, 4),
        "em_cheap_off": round(float(np.nanmean(cheap_em)) - rate, 4),
        "em_two_phase_off": round(float(np.mean(rates)) - rate, 4),
        "draws": draws,
    }


def page(rows: list[dict[str, object]], share: float) -> str:
    """The table for people."""
    draws = rows[0]["draws"] if rows else 0
    lines = [
        "# Two-phase judging on published scores",
        "",
        "Built by `scripts/two_phase_published.py`: the embedded judge on all answers, a share of the published scores",
        f"as the dear judge's ({share:.0%}, drawn {draws} times). Off: less the mean of all published scores, points ",
        "(EM: percentage points). SD: over draws, of the run's mean; beside it as a share of that of as large a simple",
        "sample alone, and of the same stratified sample alone. Width: of the 95% interval over new questions, both",
        "phases; beside it that of the simple sample alone (medians). The embedded judge was fitted to GPT-4o's scores",
        "of runs like the first ones, on the same questions, and saw none of the unseen questions.",
        "",
        "| run | ground | answers, dear | r | published mean | cheap alone off | two phases off | SD | of simple "
        "| of stratified | width | simple | EM % | cheap off | two phases off |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        em, cheap, both = (100 * float(str(row[name])) for name in ("em_rate", "em_cheap_off", "em_two_phase_off"))
        names = ("r", "dear_mean", "cheap_alone_off", "two_phase_off", "two_phase_sd", "of_simple_sample")
        names += ("of_stratified_sample", "width", "simple_sample_width")
        cells = [row["run"], row["ground"], f"{row['answers']}, {row['dear']}", *(row[name] for name in names)]
        cells += [f"{em:.1f}", f"{cheap:+.1f}", f"{both:+.2f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--cache", type=Path, default=Path("build/two_phase"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    for run in runs(given.data):
        rows.append(measured(run, cheap_scores(run, given.cache), given.share, given.draws))
        print(rows[-1], flush=True)
        with (given.out / "two_phase.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        (given.out / "two_phase.md").write_text(page(rows, given.share))


if __name__ == "__main__":
    main()
