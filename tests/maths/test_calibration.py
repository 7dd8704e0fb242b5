"""The calibration suite in small: what holds holds, what does not is seen to fail. `make calibration` is the real one.

Seeds are fixed and bounds are five Monte Carlo errors wide: it finds a broken method, not a slightly worse one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.maths.simulated import Population, _clipped

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import calibration
import calibration_checks


def values_of(name: str, data: str, rounds: int) -> dict[tuple[str, str], float]:
    check = next(check for check in calibration_checks.checks() if (check.name, check.data) == (name, data))
    return {(row["method"], row["kind"]): row["value"] for row in calibration.run(check, rounds)}


@pytest.mark.parametrize(
    "name,data,rounds,bounds",
    [
        (
            "difference of means",
            "8 families of 3",
            60,
            {
                ("ours", "false positives"): (0.0, 0.2),
                ("ours", "coverage"): (0.8, 1.0),
                ("naive, answers as independent", "false positives"): (0.2, 1.0),
            },
        ),
        (
            "r over questions",
            "24 families of 3",
            60,
            {("ours, Pearson", "false positives"): (0.0, 0.2), ("ours, Pearson", "coverage at r 0.5"): (0.8, 1.0)},
        ),
        ("max_diff", "35 runs, flat", 60, {("ours", "false positives"): (0.0, 0.2)}),
        (
            "many layers",
            "24 families of 3, 20 layers",
            40,
            {
                ("ours, any layer by max-T", "false positives"): (0.0, 0.22),
                ("ours, any layer by max-T", "power"): (0.6, 1.0),
                ("published, best layer uncorrected", "false positives"): (0.4, 1.0),
            },
        ),
        (
            "many tests",
            "20 tests, 5 true, correlated",
            200,
            {("ours, Benjamini-Hochberg", "false discoveries"): (0.0, 0.1)},
        ),
    ],
)
def test_false_positives_and_coverage(name: str, data: str, rounds: int, bounds: Any) -> None:
    values = values_of(name, data, rounds)
    for key, (low, high) in bounds.items():
        assert low <= values[key] <= high, (key, values[key])


def test_the_true_values_are_true() -> None:
    rng = np.random.default_rng(0)
    for centre, noise in ((60.0, 20.0), (120.0, 30.0), (-10.0, 15.0)):
        drawn = np.clip(centre + noise * rng.normal(size=200_000), 0, 100)
        first, second = _clipped(np.array([centre]), np.array([noise]))
        assert drawn.mean() == pytest.approx(float(first[0]), abs=0.3)
        assert (drawn**2).mean() == pytest.approx(float(second[0]), rel=0.02, abs=1)
    population = Population(400, (1, 4), level=95.0)
    draws = [np.nanmean(population.draw(rng).means()) for _ in range(40)]
    assert np.mean(draws) == pytest.approx(population.mean(), abs=4 * np.std(draws) / np.sqrt(40) + 0.1)
    scores = population.draw(rng).scores[0]
    assert (scores == 100).mean() > 0.2 and 0.05 < np.isnan(scores).mean() < 0.25  # ties and gaps are there
    assert population.mean(-20) < population.mean() < population.mean(20)


def test_verdicts() -> None:
    assert calibration.verdict("false positives", 0.05, 0.007) == "holds"
    assert calibration.verdict("false positives", 0.09, 0.007) == "fails"
    assert calibration.verdict("false positives", 0.01, 0.003) == "cautious"
    assert calibration.verdict("coverage at 8 points", 0.90, 0.007) == "fails"
    assert calibration.verdict("coverage", 0.99, 0.003) == "cautious"
    assert calibration.verdict("power at 8 points", 0.3, 0.01) == ""


def test_numbers_depend_on_the_name_alone_and_the_table_goes_round(tmp_path: Path) -> None:
    check = next(check for check in calibration_checks.checks() if check.name == "many tests")
    rows = calibration.run(check, 20)
    assert rows == calibration.run(check, 20)
    calibration.write(rows, tmp_path)
    back = calibration.read(tmp_path)
    assert [{name: str(value) for name, value in row.items()} for row in rows] == back
    assert "| many tests |" in (tmp_path / "calibration.md").read_text()
