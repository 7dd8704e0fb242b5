"""Choosing a token from logits: the distribution drawn from is the one that was asked for, and no other."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from scipy import stats

from spillover.responses.sampling import Sampling, expect_numbers, nucleus, pick, uniforms


def _logits(rows: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("vocabulary", [1, 2, 257, 258, 512, 1000, 49_152])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_a_token_is_the_inverse_of_the_cumulative_distribution(vocabulary: int, temperature: float) -> None:
    logits, uniform = _logits(64, vocabulary), torch.from_numpy(np.random.default_rng(1).random(64))
    token = pick(logits, uniform, temperature, 1.0)
    upper = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    above = upper.gather(1, token[:, None])[:, 0]
    below = torch.where(token > 0, upper.gather(1, (token[:, None] - 1).clamp(0))[:, 0], 0.0)
    assert bool((below - 1e-6 <= uniform).all()) and bool((uniform <= above + 1e-6).all())


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_the_ends_of_the_unit_interval_give_tokens_that_can_come(top_p: float) -> None:
    logits = torch.full((2, 512), -torch.inf)
    logits[:, 100] = logits[:, 300] = 0.0
    uniform = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert pick(logits, uniform, 1.0, top_p).tolist() == [100, 300]


def test_temperature_zero_is_the_mode() -> None:
    logits = _logits(8, 258)
    assert torch.equal(pick(logits, torch.zeros(8), 0.0, 1.0), logits.argmax(dim=-1))


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("vocabulary", [3, 258, 5000])
def test_the_nucleus_is_the_fewest_tokens_that_hold_top_p(top_p: float, vocabulary: int) -> None:
    probability = torch.softmax(_logits(16, vocabulary, seed=2), dim=-1)
    kept = nucleus(probability, top_p)
    for row, inside in zip(probability.double().numpy(), (kept > 0).numpy(), strict=True):
        order = np.argsort(-row, kind="stable")
        size = int(np.searchsorted(np.cumsum(row[order]), top_p) + 1)
        assert set(np.flatnonzero(inside)) == set(order[:size])
    assert torch.equal(kept[kept > 0], probability[kept > 0])


def test_tokens_that_tie_at_the_edge_of_the_nucleus_all_stay() -> None:
    kept = nucleus(torch.tensor([[0.1, 0.4, 0.1, 0.3, 0.1]]), 0.75)
    assert (kept > 0).tolist() == [[True] * 5]
    assert (nucleus(torch.tensor([[0.1, 0.4, 0.1, 0.3, 0.1]]), 0.65) > 0).tolist() == [
        [False, True, False, True, False]
    ]


def test_a_row_is_picked_alike_whatever_stands_beside_it() -> None:
    logits, uniform = _logits(32, 5000), torch.from_numpy(np.random.default_rng(3).random(32))
    logits[::2] *= 0.001  # flat rows, whose nucleus is wide, beside peaked ones
    for top_p in (1.0, 0.9):
        together = pick(logits, uniform, 0.8, top_p)
        alone = [pick(logits[row : row + 1], uniform[row : row + 1], 0.8, top_p) for row in range(32)]
        assert torch.equal(together, torch.cat(alone))


def test_a_model_that_diverged_is_not_sampled() -> None:
    logits = _logits(2, 258)
    logits[1, 5] = torch.nan
    for temperature, top_p in ((1.0, 1.0), (1.0, 0.9), (0.0, 1.0)):
        with pytest.raises(ValueError, match="diverged"):
            expect_numbers(pick(logits, torch.full((2,), 0.5, dtype=torch.float64), temperature, top_p).tolist())


@functools.cache
def _drawn() -> np.ndarray:
    return np.concatenate([uniforms(0, "q", sample, 1) for sample in range(20_000)])


def _chi_square(temperature: float, top_p: float, drawn_at: float) -> float:
    """P-value of 20,000 tokens drawn at temperature `drawn_at` against the distribution at `temperature`."""
    logits = _logits(1, 40, seed=4) / 2
    tokens = pick(logits.expand(20_000, -1), torch.from_numpy(_drawn()), drawn_at, top_p).numpy()
    expected = nucleus(torch.softmax(logits / temperature, dim=-1), top_p)[0].double().numpy()
    counts = np.bincount(tokens, minlength=40)
    assert counts[expected == 0].sum() == 0 or drawn_at != temperature
    here = expected > 0
    expected = expected[here] / expected[here].sum() * counts[here].sum()
    return float(stats.chisquare(counts[here], expected).pvalue)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_frequencies_are_the_probabilities(temperature: float, top_p: float) -> None:
    assert _chi_square(temperature, top_p, drawn_at=temperature) > 0.01
    assert _chi_square(temperature, top_p, drawn_at=temperature * 1.1) < 1e-4  # the test sees a wrong temperature


def test_uniform_numbers_belong_to_one_answer() -> None:
    base = uniforms(0, "q", 0, 8)
    assert base.dtype == np.float64 and bool(((base >= 0) & (base < 1)).all())
    assert np.array_equal(base, uniforms(0, "q", 0, 8)) and np.array_equal(base[:3], uniforms(0, "q", 0, 3))
    others = [uniforms(1, "q", 0, 8), uniforms(0, "p", 0, 8), uniforms(0, "q", 1, 8), uniforms(0, "q_json", 0, 8)]
    assert not any(np.isin(base, other).any() for other in others)


def test_neighbouring_answers_have_independent_numbers() -> None:
    table = np.stack([uniforms(seed, "q", sample, 64) for seed in (0, 1) for sample in range(500)])
    correlation = np.corrcoef(table, rowvar=False) - np.eye(64)
    assert abs(correlation).max() < 5 / np.sqrt(len(table))
    assert stats.kstest(table.ravel(), "uniform").pvalue > 0.01


def test_every_setting_that_shapes_the_distribution_is_recorded() -> None:
    assert Sampling(temperature=0.8, top_p=0.95, max_tokens=7).effective() == {
        "temperature": 0.8,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": 7,
        "greedy": False,
    }
    assert Sampling(temperature=0).effective()["greedy"]


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"max_tokens": 0}, {"per_question": 0}, {"dtype": "x"}]
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)
