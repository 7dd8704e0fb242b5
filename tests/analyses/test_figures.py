"""A run has its arm's colour in every figure, whatever its place among the rows."""

from __future__ import annotations

from spillover.analyses.figures import COLOURS, SERIES, arms_coloured, coloured


def test_a_run_has_its_arms_colour_and_later_runs_a_lighter_one() -> None:
    rows = [{"run": name} for name in ("good 0", "bad 0", "bad 1", "other")]
    assert [colour for _, _, colour in coloured(rows, "run")] == list(SERIES[:4])
    with arms_coloured({"bad 0": "bad", "bad 1": "bad", "good 0": "good"}):
        colours = {name: colour for name, _, colour in coloured(rows, "run")}
    assert colours["good 0"] == COLOURS["good"] and colours["bad 0"] == COLOURS["bad"]
    assert colours["bad 1"] not in COLOURS.values() and colours["bad 1"] > colours["bad 0"]
    assert colours["other"] == SERIES[3]
    assert [colour for _, _, colour in coloured(rows, "run")] == list(SERIES[:4])
