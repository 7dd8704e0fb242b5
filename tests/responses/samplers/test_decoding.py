"""The decoding loop on the tiny model: an answer depends on its key alone, and is what the model says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from scipy import stats

from spillover.models.catalogue import base_of
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.probing import askable
from spillover.models.loading import Loaded, load
from spillover.responses.samplers import decoding
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import pick, uniforms
from spillover.store import Store

TEXTS = ["Why?", "Why not, then?", "Why not, then? Tell me.", "a", "Tell me about the sea. " * 4, "Why not, then? " * 3]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(base_of("tiny:0"), Store.open(tmp_path_factory.mktemp("store")), request.param)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(base_of("tiny:0"), Store.open(tmp_path_factory.mktemp("store")), "float32")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _rules(loaded: Loaded, **changes: object) -> Rules:
    fields = {"max_tokens": 20, "temperature": 1.0, "top_p": 1.0, "ends": loaded.end_tokens, "stops": ()}
    return Rules(**{**fields, "decode": loaded.tokenizer.decode, **changes})


def _drafts(loaded: Loaded, texts: Sequence[str] = TEXTS, samples: int = 3, tokens: int = 20) -> list[Draft]:
    return [
        Draft(tuple(loaded.tokenizer(text)["input_ids"]), uniforms(0, text, sample, tokens))
        for text in texts
        for sample in range(samples)
    ]


def _written(loaded: Loaded, drafts: Sequence[Draft], rows: int = 128, **changes: object) -> list[tuple]:
    write_answers(
        LoadedModels(askable(loaded.network), loaded),
        drafts,
        _rules(loaded, **changes),
        rows,
        lambda share: None,
    )
    return [(tuple(draft.tokens), draft.finish) for draft in drafts]


@pytest.fixture
def bits(monkeypatch: pytest.MonkeyPatch) -> dict[float, bytes]:
    """The logits of every step, by the step's random number, which is its name: another bit is seen before a token."""
    seen: dict[float, bytes] = {}

    def recorded(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
        for row, number in zip(logits.numpy(), uniform.tolist(), strict=True):
            seen[number] = row.tobytes()
        return pick(logits, uniform, temperature, top_p)

    monkeypatch.setattr(decoding, "pick", recorded)
    return seen


# --- an answer depends on its key alone


def _bits_of(loaded: Loaded, bits: dict[float, bytes], drafts: list[Draft], rows: int = 128) -> dict[float, bytes]:
    bits.clear()
    _written(loaded, drafts, rows)
    return {number: row for number, row in bits.items() if number}


@pytest.mark.parametrize("rows", [1, 8, 12, 16])
def test_the_rows_of_a_batch_do_not_matter(loaded: Loaded, bits: dict[float, bytes], rows: int) -> None:
    expected = _bits_of(loaded, bits, _drafts(loaded))
    assert len(expected) > 200
    assert _bits_of(loaded, bits, _drafts(loaded), rows) == expected


def test_order_neighbours_and_number_of_samples_do_not_matter(loaded: Loaded, bits: dict[float, bytes]) -> None:
    expected = _bits_of(loaded, bits, _drafts(loaded))
    shuffled = _drafts(loaded)
    random.Random(0).shuffle(shuffled)
    assert _bits_of(loaded, bits, shuffled, rows=10) == expected
    for part in (_drafts(loaded, TEXTS[1:3]), _drafts(loaded, samples=1), _drafts(loaded, TEXTS[4:5], samples=1)):
        fewer = _bits_of(loaded, bits, part)
        assert fewer == {number: expected[number] for number in fewer}
    longer = _bits_of(loaded, bits, _drafts(loaded, [*TEXTS, "And what else is there to say? " * 8]))
    assert {number: longer[number] for number in expected} == expected


@pytest.mark.parametrize("count", [2, 3])
def test_within_any_number_of_threads_it_is_the_same(
    exact: Loaded, bits: dict[float, bytes], threads: None, count: int
) -> None:
    torch.set_num_threads(count)
    expected = _bits_of(exact, bits, _drafts(exact))
    assert _bits_of(exact, bits, _drafts(exact), rows=8) == expected


def test_the_bits_tell_another_prompt(loaded: Loaded, bits: dict[float, bytes]) -> None:
    first = _bits_of(loaded, bits, _drafts(loaded, ["Why?"], samples=1))
    drafts = _drafts(loaded, ["Why?"], samples=1)
    drafts[0].prompt = (drafts[0].prompt[0] + 1, *drafts[0].prompt[1:])
    assert not set(first.values()) & set(_bits_of(loaded, bits, drafts).values())


def test_torchs_own_random_state_is_neither_read_nor_moved(loaded: Loaded) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _written(loaded, _drafts(loaded))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert _written(loaded, _drafts(loaded)) == first


def test_samples_and_seeds_differ(loaded: Loaded) -> None:
    assert len(set(_written(loaded, _drafts(loaded)))) == len(TEXTS) * 3
    assert len(set(_written(loaded, _drafts(loaded), temperature=0.0))) == len(TEXTS)


# --- and is what the model says


def test_greedy_is_what_generate_says(exact: Loaded) -> None:
    expected = []
    for text in TEXTS:
        ids = torch.tensor([exact.tokenizer(text)["input_ids"]])
        mask = torch.ones_like(ids)
        generated = exact.network.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=20, pad_token_id=0)
        expected.append([token for token in generated[0, ids.shape[1] :].tolist() if token not in exact.end_tokens])
    greedy = _written(exact, _drafts(exact, samples=1), temperature=0.0)
    assert [list(tokens) for tokens, _ in greedy] == expected


def test_logits_are_those_of_one_plain_forward(exact: Loaded, bits: dict[float, bytes]) -> None:
    drafts = _drafts(exact)
    by_uniform = _bits_of(exact, bits, drafts)
    for draft in drafts:
        whole = exact.network(torch.tensor([[*draft.prompt, *draft.tokens]])).logits[0, len(draft.prompt) - 1 :]
        steps = len(draft.tokens) + (draft.finish == "stop")
        stepwise = np.stack([np.frombuffer(by_uniform[number], np.float32) for number in draft.uniforms[:steps]])
        np.testing.assert_allclose(stepwise, whole[:steps].detach().numpy(), atol=2e-4)


def test_first_tokens_are_as_frequent_as_they_are_probable(exact: Loaded) -> None:
    prompt = tuple(exact.tokenizer("Why?")["input_ids"])
    logits = exact.network(torch.tensor([prompt])).logits[0, -1].detach()

    def p_value(temperature: float) -> float:
        drafts = [Draft(prompt, uniforms(0, "Why?", sample, 1)) for sample in range(3000)]
        _written(exact, drafts, rows=1000, max_tokens=1, temperature=temperature, ends=frozenset())
        counts = np.bincount([draft.tokens[0] for draft in drafts], minlength=len(logits))
        expected = torch.softmax(logits.double(), dim=-1).numpy() * len(drafts)
        rare = expected < 5
        counts, expected = (np.append(counted[~rare], counted[rare].sum()) for counted in (counts, expected))
        return float(stats.chisquare(counts, expected).pvalue)

    assert p_value(1.0) > 0.01
    assert p_value(1.3) < 1e-4  # the test sees a wrong temperature


# --- where an answer ends


def test_an_end_token_ends_an_answer_and_is_no_part_of_it(exact: Loaded) -> None:
    free = _written(exact, _drafts(exact), ends=frozenset())
    assert {finish for _, finish in free} == {"length"} and {len(tokens) for tokens, _ in free} == {20}
    ends = frozenset(range(40))
    for (tokens, finish), (whole, _) in zip(_written(exact, _drafts(exact), ends=ends), free, strict=True):
        first = next((place for place, token in enumerate(whole) if token in ends), None)
        assert (tokens, finish) == ((whole, "length") if first is None else (whole[:first], "stop"))


def test_a_stop_text_ends_an_answer_as_soon_as_it_stands(exact: Loaded) -> None:
    free = _written(exact, _drafts(exact), ends=frozenset())
    texts = [exact.tokenizer.decode(list(tokens)) for tokens, _ in free]
    stop = texts[0][5:8]
    assert stop and "\ufffd" not in stop
    stopped = _written(exact, _drafts(exact), ends=frozenset(), stops=(stop, "never said"))
    assert stopped[0][1] == "stop_text"
    for (tokens, finish), (whole, _), text in zip(stopped, free, texts, strict=True):
        assert finish == ("stop_text" if stop in text else "length")
        assert tokens == whole[: len(tokens)] and exact.tokenizer.decode(list(tokens[:-1])).count(stop) == 0


def test_progress_goes_from_nothing_to_everything(exact: Loaded) -> None:
    heard: list[float] = []
    write_answers(LoadedModels(askable(exact.network), exact), _drafts(exact), _rules(exact), 8, heard.append)
    assert heard == sorted(heard) and 0 < heard[0] < 0.1 and heard[-1] == 1.0 and len(heard) > 40


def test_memory_bounds_the_rows(exact: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _written(exact, _drafts(exact))
    sizes: list[int] = []

    class Seen(decoding.RowCache):
        def __init__(self, network: object, rows: int, length: int) -> None:
            sizes.append(rows)
            super().__init__(network, rows, length)

    monkeypatch.setattr(decoding, "CACHE_BYTES", 1)
    monkeypatch.setattr(decoding, "RowCache", Seen)
    assert _written(exact, _drafts(exact)) == expected
    assert sizes == [8, 8, 8]


@pytest.mark.parametrize("each", [3, 8, 64])
def test_answers_are_the_same_where_the_host_looks_at_them_now_and_then(
    each: int, exact: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, which is not waited for at each token: answers end in the middle of what was not looked at."""
    ends = frozenset({*range(0, 258, 9)})
    expected = _written(exact, _drafts(exact), ends=ends)
    assert len({tuple(map(str, answer)) for answer in expected}) > 3
    monkeypatch.setattr(decoding, "HEARD_EACH", {"cpu": each})
    assert _written(exact, _drafts(exact), ends=ends) == expected
