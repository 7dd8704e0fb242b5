"""Tests run as a user runs them leave the user's own store alone."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_store_of_whoever_runs_the_tests_is_out_of_reach():
    assert "SPILLOVER_STORE" not in os.environ


def test_the_makefile_hands_no_store_to_what_it_runs():
    assert not re.search(r"^\s*export\b.*SPILLOVER_STORE", (ROOT / "Makefile").read_text(), re.MULTILINE)
