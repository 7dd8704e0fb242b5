"""Every schedule against torch's and transformers' own, and the contract that every registered kind keeps."""

import functools
import itertools
import json
import math
import warnings

import numpy as np
import pytest
import torch
import transformers

from spillover.organisms.schedules.schedule import Schedule, schedule_named
from spillover.organisms.schedules.standard import (
    Constant,
    Cosine,
    CosineRestarts,
    CyclicExpRange,
    CyclicTriangular,
    CyclicTriangular2,
    InverseSqrt,
    Linear,
    Piecewise,
    WarmupStableDecay,
)
from spillover.spec import Spec, kinds_of, typed_name

EVERY = sorted(kinds_of(Schedule).items())
TOTALS = (1, 2, 7, 8, 40, 101, 675)


@pytest.mark.parametrize(("name", "cls"), EVERY)
def test_a_fitted_schedule_reaches_its_peak_in_a_run_of_any_length(name, cls):
    for total in (2, 3, 4, 6, 11, 16, 200):
        fitted = cls(peak=2e-4).fit_steps(total)
        if cls not in (Piecewise, CyclicExpRange):  # drawn by hand; shrinks from the first step on
            assert fitted.rates(total).max() >= 0.9 * 2e-4, total
        assert fitted.fit_steps(total) == fitted  # and is left alone


def test_what_has_room_is_left_as_it_is():
    for schedule in (Linear(peak=1e-3), CosineRestarts(peak=1e-3), CyclicTriangular(peak=1e-3), Piecewise(peak=1e-3)):
        assert schedule.fit_steps(16) is schedule
    assert Linear(peak=1e-3).rates(4).max() == pytest.approx(0.6e-3)  # what fitting is for
    assert Linear(peak=1e-3).fit_steps(4) == Linear(peak=1e-3, warmup=1)
    assert CosineRestarts(peak=1e-3).fit_steps(6) == CosineRestarts(peak=1e-3, warmup=2, cycles=2)


def theirs(make, total: int, peak: float) -> np.ndarray:
    """What a scheduler of torch's kind sets, step by step, without training anything."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler, rates = make(optimizer), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch asks for optimizer.step() first; nothing is trained here
        for _ in range(total):
            rates.append(scheduler.get_last_lr()[0])
            scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("total, warmup", list(itertools.product(TOTALS, (0, 1, 5, 30))))
def test_warmed_schedules_are_transformers_own(total, warmup):
    def against(schedule, make):
        np.testing.assert_allclose(schedule.rates(total), theirs(make, total, 1.0), rtol=0, atol=1e-12)

    against(
        Linear(peak=1.0, warmup=warmup),
        lambda optimizer: transformers.get_linear_schedule_with_warmup(optimizer, warmup, total),
    )
    against(
        Cosine(peak=1.0, warmup=warmup),
        lambda optimizer: transformers.get_cosine_schedule_with_warmup(optimizer, warmup, total),
    )
    against(
        Constant(peak=1.0, warmup=warmup),
        lambda optimizer: transformers.get_constant_schedule_with_warmup(optimizer, warmup),
    )
    for cycles in (1, 4):
        against(
            CosineRestarts(peak=1.0, warmup=warmup, cycles=cycles),
            lambda optimizer, cycles=cycles: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(
                optimizer, warmup, total, num_cycles=cycles
            ),
        )


@pytest.mark.parametrize("total, warmup", list(itertools.product(TOTALS, (0, 1, 5, 30))))
@pytest.mark.parametrize("form, floor", [("linear", 0.0), ("cosine", 0.1), ("1-sqrt", 0.0)])
def test_warmup_stable_decay_is_transformers_own(total, warmup, form, floor):
    for decay in (0.0, 0.2, 0.37, 1.0):
        falling = min(round(decay * total), max(0, total - warmup))

        def make(optimizer, falling=falling):
            return transformers.get_wsd_schedule(
                optimizer, warmup, falling, num_training_steps=total, decay_type=form, min_lr_ratio=floor
            )

        ours = WarmupStableDecay(peak=1.0, warmup=warmup, decay=decay, form=form, floor=floor).rates(total)
        np.testing.assert_allclose(ours, theirs(make, total, 1.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("total, warmup", list(itertools.product(TOTALS, (0, 1, 5, 30))))
def test_inverse_square_root_is_transformers_own(total, warmup):
    for timescale in (None, 3, 100):
        ours = InverseSqrt(peak=1.0, warmup=warmup, timescale=timescale).rates(total)
        make = functools.partial(transformers.get_inverse_sqrt_schedule, num_warmup_steps=warmup, timescale=timescale)
        own = theirs(make, total, 1.0)
        np.testing.assert_allclose(ours, own, rtol=0, atol=1e-12)


@pytest.mark.parametrize("total", TOTALS)
def test_points_are_joined_by_straight_lines_and_jumps(total):
    points = ((0.1, 0.0), (0.25, 1.0), (0.5, 0.2), (0.9, 0.6))
    progress = np.arange(total) / total
    ours = Piecewise(peak=2.0, points=points).rates(total)
    np.testing.assert_allclose(ours, 2 * np.interp(progress, *zip(*points, strict=True)), rtol=0, atol=1e-12)
    stairs = ((0.0, 1.0), (0.25, 1.0), (0.25, 0.5), (0.75, 0.5), (0.75, 0.25))
    milestones = [math.ceil(total * 0.25), math.ceil(total * 0.75)]
    own = theirs(lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.5), total, 1.0)
    if milestones[0] < milestones[1]:  # else torch counts two of them as one
        np.testing.assert_allclose(Piecewise(peak=1.0, points=stairs).rates(total), own, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "points, why",
    [
        ((), "points is empty"),
        (((0.0, 1.5),), r"both from 0 to 1; got \(0.0, 1.5\)"),
        (((0.5, 1.0), (0.2, 0.5)), "points go forward in progress; got 0.5, 0.2"),
        (((0.0, 0.0), (1.0, 0.0)), "every point has share 0"),
    ],
)
def test_points_that_draw_nothing_are_refused(points, why):
    with pytest.raises(ValueError, match=why):
        Piecewise(peak=1.0, points=points)


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("floor, peak, cycles", [(0.1, 1.0, 4), (0.0, 1.0, 1), (1e-5, 5e-5, 4)])
def test_cyclic_schedules_are_torchs_own(total, mode, floor, peak, cycles):
    kind = {"triangular": CyclicTriangular, "triangular2": CyclicTriangular2, "exp_range": CyclicExpRange}[mode]
    half = max(1, total // (2 * cycles))

    def make(optimizer):
        gamma = 0.95 if mode == "exp_range" else 1.0
        return torch.optim.lr_scheduler.CyclicLR(
            optimizer, floor, peak, step_size_up=half, mode=mode, gamma=gamma, cycle_momentum=False
        )

    ours = kind(peak=peak, floor=floor, cycles=cycles).rates(total)
    np.testing.assert_allclose(ours, theirs(make, total, peak), rtol=0, atol=1e-12)


def test_the_published_step_size_is_an_eighth_of_the_run():
    rates = CyclicTriangular(peak=5e-5, floor=1e-5).rates(675)
    assert int(rates.argmax()) == 675 // 8
    assert rates.max() == pytest.approx(5e-5)
    assert rates[0] == 1e-5


def test_schedules_differ_from_one_another():
    """The negative control: an oracle test would pass for six copies of one schedule only if the oracles agreed."""
    rates = [kind(peak=1.0).rates(200) for _, kind in EVERY]
    for left, right in itertools.combinations(rates, 2):
        assert np.abs(left - right).max() > 0.1


@pytest.mark.parametrize("name, kind", EVERY)
def test_contract_rates_are_finite_bounded_and_repeat(name, kind):
    for total in TOTALS:
        for peak in (1e-7, 5e-4, 1.0):
            schedule = kind(peak=peak)
            rates = schedule.rates(total)
            assert rates.shape == (total,) and rates.dtype == np.float64
            assert np.isfinite(rates).all() and (rates >= 0).all() and (rates <= peak * (1 + 1e-12)).all()
            assert np.array_equal(rates, kind(peak=peak).rates(total))
            assert [schedule.rate(step, total) for step in range(total)] == rates.tolist()
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        kind(peak=1.0).rates(0)


@pytest.mark.parametrize("name, kind", EVERY)
def test_contract_the_rate_grows_with_its_peak(name, kind):
    highest = [kind(peak=peak).rates(400).max() for peak in (1e-5, 1e-3, 1.0)]
    assert highest == sorted(set(highest)) and highest[-1] > 0.05


@pytest.mark.parametrize("name, kind", EVERY)
def test_contract_json_summary_and_name(name, kind):
    schedule = kind(peak=5e-4)
    again = Spec.from_json(schedule.to_json())
    assert again == schedule and type(again) is kind and again.fingerprint == schedule.fingerprint
    assert json.loads(schedule.to_json())["kind"] == name
    assert schedule.but(peak=1e-4) != schedule
    summary = schedule.summary()
    assert summary.endswith(".") and "\n" not in summary and summary.count(". ") == 0 and len(summary) < 120
    assert schedule_named(schedule.label(), peak=5e-4) == schedule


@pytest.mark.parametrize("name, kind", EVERY)
def test_contract_what_cannot_be_is_refused(name, kind):
    with pytest.raises(ValueError, match=f"{name} has no field 'paek'; did you mean peak"):
        kind(paek=1.0)
    with pytest.raises(ValueError, match=f"{name} needs peak"):
        kind()
    for peak in (0.0, -1e-4, math.inf, math.nan):
        with pytest.raises(ValueError, match="peak"):
            kind(peak=peak)


def test_names_people_type():
    assert {typed_name(name) for name, _ in EVERY} >= {
        "linear",
        "cosine",
        "cosine-restarts",
        "constant",
        "cyclic-triangular",
        "cyclic-triangular2",
        "cyclic-exp-range",
        "warmup-stable-decay",
        "inverse-sqrt",
        "piecewise",
    }
    assert schedule_named("cosine-restarts", peak=1e-4, cycles=2) == CosineRestarts(peak=1e-4, cycles=2)
    for spelling in ("Cosine_Restarts", " cosine restarts ", "COSINE-RESTARTS"):
        assert isinstance(schedule_named(spelling, peak=1e-4), CosineRestarts)


@pytest.mark.parametrize("wrong, near", [("linaer", "linear"), ("cyclic-triangular3", "cyclic-triangular")])
def test_an_unknown_name_gives_near_matches(wrong, near):
    with pytest.raises(ValueError, match=f"no schedule is called '{wrong}'; did you mean {near}.*known: constant, cos"):
        schedule_named(wrong, peak=1e-4)


def test_a_name_like_nothing_lists_what_there_is():
    with pytest.raises(ValueError, match="no schedule is called 'zzzz'; known: constant"):
        schedule_named("zzzz", peak=1e-4)
    with pytest.raises(ValueError, match="Linear has no field 'gama'"):
        schedule_named("linear", peak=1e-4, gama=1)


def test_a_floor_above_the_peak_is_refused():
    with pytest.raises(ValueError, match=r"floor 0\.001 lies above peak 0\.0001"):
        CyclicTriangular(peak=1e-4, floor=1e-3)


def test_typed_names_of_odd_kinds():
    assert [typed_name(kind) for kind in ("Linear", "CyclicTriangular2", "LoRA", "ChatFile", "MoneyUSA")] == [
        "linear",
        "cyclic-triangular2",
        "lo-ra",
        "chat-file",
        "money-usa",
    ]
