"""Prints the coverage and error tables that docstrings of spillover.maths quote. No test: takes minutes.

PYTHONPATH=src python tests/maths/coverage_tables.py [means rates correlations runs families]
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from spillover.maths.bootstrap import ratio
from spillover.maths.correlation import correlation_over_runs, pearson, spearman
from spillover.maths.em_rate import em_rate
from spillover.maths.estimate import Resampling
from spillover.maths.paired import difference

ROUNDS = 1000
CHOICE = Resampling(draws=999, bounds=(0, 100))
Pair = tuple[float, float]


def table(title: str, columns: list[str], rows: dict[str, list[float]]) -> None:
    print(f"\n{title}\n{'':28s}" + "".join(f"{c:>12s}" for c in columns))
    for name, values in rows.items():
        print(f"{name:28s}" + "".join(f"{100 * v:12.1f}" for v in values), flush=True)


def means() -> None:
    """Coverage of the mean over questions: clipped scores, 8 to 150 families of 1 (or 1 to 6) questions."""
    rng = np.random.default_rng(0)
    kinds = {
        "mid-scale": (50, 40, 1),
        "skewed": (130, 40, 1),
        "extreme": (170, 60, 1),
        "families": (130, 40, 6),
    }
    rows: dict[str, list[float]] = {}
    for kind, (centre, spread, most) in kinds.items():
        truth = np.mean(np.concatenate([clipped(rng, 500, centre, spread, most)[0] for _ in range(100)]))
        for families in (8, 24, 75, 150):
            held = np.zeros(4)
            for _ in range(ROUNDS):
                values, family = clipped(rng, families, centre, spread, most)
                est = ratio(values, np.ones(len(values)), family, resampling=CHOICE)
                sums, sizes = np.bincount(family, values), np.bincount(family)
                ends = [(est.low, est.high), *rivals(sums, sizes, rng)]
                held += [low <= truth <= high for low, high in ends]
            rows[f"{kind} {families}"] = list(held / ROUNDS)
    table("means: share of 95% intervals that hold the truth", ["ours", "t", "percentile", "BCa"], rows)


def clipped(rng: Any, families: int, centre: float, spread: float, most: int) -> tuple[Any, Any]:
    """Question means of 20 answers each, with their family."""
    family = np.repeat(np.arange(families), rng.integers(1, most + 1, families))
    share = 0.5 if most > 1 else 0.0
    level = np.sqrt(share) * rng.normal(size=families)[family] + np.sqrt(1 - share) * rng.normal(size=len(family))
    answers = np.clip(centre + spread * level[:, None] + 25 * rng.normal(size=(len(family), 20)), 0, 100)
    return answers.mean(axis=1), family


def rivals(sums: Any, sizes: Any, rng: Any) -> list[Pair]:
    """t interval, percentile and BCa cluster bootstrap of a ratio of sums."""
    count = len(sums)
    value = sums.sum() / sizes.sum()
    error = np.sqrt(count / (count - 1) * ((sums - value * sizes) ** 2).sum()) / sizes.sum()
    reach = stats.t.ppf(0.975, count - 1) * error
    draws = rng.multinomial(count, np.full(count, 1 / count), size=999)
    drawn = (draws @ sums) / (draws @ sizes)
    left = (sums.sum() - sums) / (sizes.sum() - sizes)
    return [(value - reach, value + reach), pair(np.quantile(drawn, [0.025, 0.975])), bca(value, drawn, left)]


def pair(ends: Any) -> Pair:
    return float(ends[0]), float(ends[1])


def bca(value: float, drawn: Any, left: Any) -> Pair:
    bias = stats.norm.ppf(np.clip(((drawn < value).mean() + (drawn <= value).mean()) / 2, 1e-3, 1 - 1e-3))
    gap = left.mean() - left
    bend = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5 + 1e-300)
    z = bias + stats.norm.ppf([0.025, 0.975])
    return pair(np.quantile(drawn, stats.norm.cdf(bias + z / (1 - bend * z))))


def rates() -> None:
    """Coverage of the EM rate over beta-distributed questions, and the mean width of the interval."""
    rng = np.random.default_rng(1)
    rows = {}
    for samples in (8, 50):
        for alike in (0.05, 0.3, 0.6):
            for p in (0.005, 0.02, 0.1, 0.4):
                for questions in (8, 24, 75):
                    strength, held, width, beside = (1 - alike) / alike, 0.0, 0.0, 0.0
                    for _ in range(300):
                        share = rng.beta(p * strength, (1 - p) * strength, questions)
                        em = rng.random((questions, samples)) < share[:, None]
                        rate = em_rate(
                            np.where(em, 10.0, 90.0).ravel(),
                            np.full(em.size, 90.0),
                            np.arange(em.size) // samples,
                        )
                        held += rate.strict.low <= p <= rate.strict.high
                        width += rate.strict.high - rate.strict.low
                        low, high = rivals(em.sum(axis=1), np.full(questions, samples), rng)[0]
                        beside += low <= p <= high
                    rows[f"{samples} x {questions}, p {p}, icc {alike}"] = [
                        held / 300,
                        width / 300,
                        beside / 300,
                    ]
    table("EM rate: coverage, mean width, coverage of t", ["ours", "width", "t"], rows)


def correlations() -> None:
    """Coverage for r at five sample sizes, ours beside Fisher's formula, percentile and BCa."""
    rng = np.random.default_rng(2)
    for rho in (0.0, 0.5, 0.85):
        for kind, draw in KINDS.items():
            truth = {f.__name__: f(*draw(rng, rho, 1_000_000)) for f in (r_of, rank_r_of)}
            rows: dict[str, list[float]] = {}
            for n in (8, 16, 35, 100, 320):
                held = np.zeros(5)
                for _ in range(ROUNDS // 2):
                    x, y = draw(rng, rho, n)
                    ours, rank = (
                        pearson(x, y, resampling=Resampling(draws=99)),
                        spearman(x, y, resampling=Resampling(draws=99)),
                    )
                    ends = [(ours.low, ours.high), *rival_r(x, y, rng)]
                    inside = [low <= truth["r_of"] <= high for low, high in ends]
                    held += [*inside, rank.low <= truth["rank_r_of"] <= rank.high]
                rows[f"{kind} r={truth['r_of']:.2f} n={n}"] = list(held / (ROUNDS // 2))
            table("correlation", ["ours", "Fisher", "percentile", "BCa", "Spearman"], rows)


def r_of(x: Any, y: Any) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def rank_r_of(x: Any, y: Any) -> float:
    return r_of(stats.rankdata(x), stats.rankdata(y))


def rival_r(x: Any, y: Any, rng: Any) -> list[Pair]:
    n, r = len(x), r_of(x, y)
    z, reach = np.arctanh(r), 1.96 / np.sqrt(n - 3)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=599)
    drawn = weighted_r(draws, x, y)
    left = weighted_r(1 - np.eye(n), x, y)
    drawn = drawn[~np.isnan(drawn)]
    ends = pair(np.quantile(drawn, [0.025, 0.975]))
    return [(float(np.tanh(z - reach)), float(np.tanh(z + reach))), ends, bca(r, drawn, left)]


def weighted_r(weights: Any, x: Any, y: Any) -> Any:
    x, y, total = (x - x.mean()) / x.std(), (y - y.mean()) / y.std(), weights.sum(axis=1)
    mx, my, xy = weights @ x / total, weights @ y / total, weights @ (x * y) / total
    xx, yy = weights @ (x * x) / total - mx**2, weights @ (y * y) / total - my**2
    return np.clip((xy - mx * my) / np.sqrt(np.where((xx > 1e-9) & (yy > 1e-9), xx * yy, np.nan)), -1, 1)


def normal(rng: Any, rho: float, n: int) -> tuple[Any, Any]:
    x = rng.normal(size=n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


def both(change: Callable[[Any], Any]) -> Callable[[Any, float, int], tuple[Any, Any]]:
    return lambda rng, rho, n: tuple(change(v) for v in normal(rng, rho, n))  # type: ignore[return-value]


def heavy(rng: Any, rho: float, n: int) -> tuple[Any, Any]:
    scale = np.sqrt(3 / rng.chisquare(3, n))
    return tuple(v * scale for v in normal(rng, rho, n))  # type: ignore[return-value]


def uneven(rng: Any, rho: float, n: int) -> tuple[Any, Any]:
    x, y = normal(rng, rho, n)
    return x, rho * x + (y - rho * x) * np.abs(x)


KINDS: dict[str, Callable[[Any, float, int], tuple[Any, Any]]] = {
    "normal": normal,
    "clipped": both(lambda v: np.clip(75 + 35 * v, 0, 100)),
    "log-normal": both(np.exp),
    "uneven noise": uneven,
    "heavy tails": heavy,
}


def families() -> None:
    """False positives of r and of a mean where families share x and y, with clusters and without."""
    rng = np.random.default_rng(3)
    rows = {}
    for count in (8, 20, 60):
        hits = np.zeros(4)
        family = np.repeat(np.arange(count), 5)
        resampling = Resampling(draws=199)
        for _ in range(ROUNDS):
            x, y = (rng.normal(size=count)[family] + 0.5 * rng.normal(size=len(family)) for _ in range(2))
            rows_alone = np.arange(len(family))
            flat = np.zeros(len(family))
            tests = (
                pearson(x, y, family),
                pearson(x, y, resampling=resampling),
                *(difference(x, flat, rows_alone, rows_alone, f, resampling) for f in (family, None)),
            )
            hits += [(test.p or 1) <= 0.05 for test in tests]
        rows[f"{count} families of 5"] = list(hits / ROUNDS)
    table("false positives at 0.05", ["r", "r, rows", "diff", "diff, rows"], rows)


def runs() -> None:
    """Coverage over runs and questions; slopes of questions spread by 0, 1, 3 around a mean slope of 1."""
    rng = np.random.default_rng(4)
    rows = {}
    for count, questions in ((12, 24), (35, 24), (35, 8), (16, 200)):
        for slopes in (0, 1, 3):
            truth, held = 1 / np.sqrt(1 + 0.25 + 1 / questions), np.zeros(3)
            for _ in range(ROUNDS):
                x = rng.normal(size=count)
                y = (1 + slopes * rng.normal(size=questions)) * x[:, None] + 0.5 * rng.normal(size=(count, 1))
                y += 5 * rng.normal(size=questions) + rng.normal(size=(count, questions))
                result = correlation_over_runs(x, y, log=False, resampling=Resampling(draws=99))
                held += [e.low <= truth <= e.high for e in (result.runs, result.questions, result.both)]
            rows[f"{count} runs, {questions} questions, {slopes}"] = list(held / ROUNDS)
    table("runs", ["runs", "questions", "both"], rows)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or ["means", "rates", "correlations", "runs", "families"]:
        {"means": means, "rates": rates, "correlations": correlations, "runs": runs, "families": families}[name]()
