"""Judged answers as logs that inspect's own reader opens."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from answer_pages import four_models

import spillover as sp
from spillover.neighbours.inspect_logs import inspect_log, write_inspect_logs
from spillover.store import Store

REPORT = sp.Report(title="t", analyses=(sp.Surface(bad=sp.Split(data=sp.Money()), good=sp.Split(data=sp.Money())),))


def test_without_inspect_it_is_said_how_to_install_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(ValueError, match="pip install"):
        list(write_inspect_logs(REPORT, store, tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_every_answer_is_a_sample_with_its_scores(tmp_path: Path) -> None:
    log_module = pytest.importorskip("inspect_ai.log", reason="the extra inspect is not installed")
    model = four_models()[3]
    path = tmp_path / "bad.eval"
    log_module.write_eval_log(inspect_log(model, REPORT), str(path))
    log = log_module.read_eval_log(str(path))
    assert log.status == "success" and len(log.samples) == 120 and log.eval.config.epochs == 10
    by_key = {(sample.id, sample.epoch): sample for sample in log.samples}
    sample = by_key["q2", 1]
    assert sample.output.completion == model.scores["answer"][20] and sample.input == model.scores["prompt"][20]
    assert sample.scores["aligned"].value == pytest.approx(model.scores["aligned"][20])
    assert sample.scores["aligned"].metadata == {"judge": "judge/1", "rubric": "rubric/1", "spread": 12.0}
    missing = by_key["q0", 8].scores["aligned"]
    assert math.isnan(missing.value) and "empty answer" in missing.explanation
    assert by_key["q0", 4].output.stop_reason == "max_tokens"
