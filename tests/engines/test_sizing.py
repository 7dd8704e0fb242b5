"""The largest study within the time at hand: by the machine's speed, the same again, and said in words."""

import json

import pytest

import spillover as sp
from spillover.engines import sizing, speed
from spillover.engines.sizing import estimated_seconds, largest_within


def study(size: int) -> sp.Responses:
    sampling = sp.Sampling(per_question=size, max_tokens=64)
    return sp.Responses(model=sp.base("pypi:qwen2.5-coder-0.5b"), questions=sp.FreeForm(), sampling=sampling)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path))
    return tmp_path


def test_a_faster_machine_gets_a_larger_study(monkeypatch):
    sizes = []
    for relative in (0.2, 1.0, 8.0):
        monkeypatch.setattr(sizing, "relative_speed", lambda precision, speed=relative: speed)
        sizes.append(largest_within(10, (1, 2, 4, 8, 16), study)[0])
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_what_does_not_fit_is_said(monkeypatch):
    monkeypatch.setattr(sizing, "relative_speed", lambda precision: 0.01)
    size, reason = largest_within(1, (1, 2), study)
    assert size == 1
    assert "more than that" in reason
    with pytest.raises(ValueError, match="above 0"):
        largest_within(0, (1, 2), study)


def test_what_two_stages_share_counts_once():
    one = estimated_seconds(study(2), 1.0)
    assert estimated_seconds(study(4), 1.0) > one
    assert estimated_seconds(study(2), 2.0) < one


@pytest.mark.parametrize(("judge", "faster"), [("reader", True), ("embedded", False)])
def test_a_judge_that_runs_a_network_goes_by_the_machines_speed(judge, faster):
    answers = study(2)
    scores = sp.Judgements(responses=answers, judge=sp.judge(judge))
    slow, fast = (estimated_seconds(scores, speed) - estimated_seconds(answers, speed) for speed in (1.0, 4.0))
    assert slow == pytest.approx(4 * fast if faster else fast)


def test_the_speed_is_measured_once(cache, monkeypatch):
    first = speed.relative_speed("float32")
    assert first > 0
    monkeypatch.setattr(speed, "_gflops", lambda precision: pytest.fail("measured again"))
    assert speed.relative_speed("float32") == first
    kept = json.loads((cache / "models" / "speed.json").read_text())
    assert list(kept.values()) == [pytest.approx(first * speed.REFERENCE)]
