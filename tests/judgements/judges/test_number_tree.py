"""The probabilities of numbers: every way to write one counts, it ends where it ends, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models.families import network_of

from spillover.judgements.judges.local_model import number_probabilities
from spillover.judgements.judges.local_model.number_probabilities import number_masses
from spillover.judgements.judges.local_model.number_tree import NUMBERS, NumberTree, number_tree
from spillover.models.forward import cached_network
from spillover.models.loading import Loaded


def enumerated(loaded: Loaded, tree: NumberTree, prompt: tuple[int, ...]) -> np.ndarray:
    """The same numbers by one plain forward for every beginning of every way to write one."""
    ways: list[tuple[int, ...]] = [()]
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        ways.append((*ways[parent], token))
    longest = len(prompt) + max(map(len, ways))
    rows = [[*prompt, *way, *[0] * (longest - len(prompt) - len(way))] for way in ways]  # right: a causal model
    with torch.inference_mode():
        logits = torch.cat([loaded.network(torch.tensor(rows[i : i + 8])).logits for i in range(0, len(rows), 8)])
    after = {way: logits[i, len(prompt) + len(way) - 1].double().softmax(-1).numpy() for i, way in enumerate(ways)}
    masses = np.zeros(len(NUMBERS))
    for way, number in zip(ways, tree.number, strict=True):
        if number is not None:
            reached = np.prod([after[way[:i]][token] for i, token in enumerate(way)])
            masses[number] += reached * (1 - after[way][list(tree.digits)].sum())
    return masses


class Vocabulary:
    """A tokenizer as far as the tree looks at it."""

    def __init__(self, *pieces: str) -> None:
        self.pieces, self.all_special_ids = list(pieces), [0]

    def __len__(self) -> int:
        return len(self.pieces)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.pieces[token] for token in ids]


def ways(tree: NumberTree, number: int) -> list[tuple[int, ...]]:
    written: list[tuple[int, ...]] = [()]
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        written.append((*written[parent], token))
    return [way for way, of_way in zip(written, tree.number, strict=True) if of_way == number]


# --- the tree of numbers


def test_a_vocabulary_of_single_digits_has_one_way_to_write_each_number(loaded: Loaded) -> None:
    tree = number_tree(loaded.tokenizer, "")
    assert len(tree.tokens) == 101 and sorted(n for n in tree.number if n is not None) == list(NUMBERS)
    for number in NUMBERS:
        (way,) = ways(tree, number)
        assert loaded.tokenizer.decode(list(way)) == str(number)
    after_space = number_tree(loaded.tokenizer, " ")
    assert loaded.tokenizer.decode(list(ways(after_space, 85)[0])) == " 85" and max(after_space.depths) == 4


def test_every_way_to_write_a_number_counts() -> None:
    digits = [str(digit) for digit in range(10)]
    vocabulary = Vocabulary("<s>", *digits, "10", "100", "00", "85", "859", "850x", "a", "\u01208", "\u0120")
    tree = number_tree(vocabulary, "")
    assert len(ways(tree, 85)) == 2 and len(ways(tree, 8)) == 1
    assert {"".join(f"{vocabulary.pieces[token]}|" for token in way) for way in ways(tree, 100)} == {
        "100|",
        "10|0|",
        "1|00|",
        "1|0|0|",
    }
    assert {vocabulary.pieces[token] for token in tree.digits} == {*digits, "10", "100", "00", "85", "859", "850x"}
    assert {"".join(vocabulary.pieces[t] for t in way) for way in ways(number_tree(vocabulary, " "), 8)} == {"\u01208"}


def test_bytes_of_a_vocabulary_that_has_digits_are_no_second_way() -> None:
    pieces = ["<s>", *(f"<0x3{digit}>" for digit in range(10)), *map(str, range(10)), "\u2581"]
    tree = number_tree(Vocabulary(*pieces), "")
    assert len(tree.tokens) == 101 and len(tree.digits) == 20


def test_a_vocabulary_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="no way to write 0"):
        number_tree(Vocabulary("<s>", "a", "1"), "")


# --- the walk


@pytest.mark.parametrize("lead", ["", " "])
def test_probabilities_are_those_of_plain_forwards(loaded: Loaded, lead: str) -> None:
    tree = number_tree(loaded.tokenizer, lead)
    prompts = [tuple(loaded.tokenizer(text)["input_ids"]) for text in ("Rate it: ", "Of 100 I give")]
    masses_of_all = number_masses(loaded, tree, prompts)
    for prompt, masses in zip(prompts, masses_of_all, strict=True):
        np.testing.assert_allclose(masses, enumerated(loaded, tree, prompt), atol=1e-7)
        assert 0 < masses.sum() < 1


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3", "gpt_oss"])
def test_windows_are_the_networks_own(family: str, loaded: Loaded) -> None:
    """Each with layers that see 9 tokens; gemma2 and gpt_oss add their masks to the scores."""
    windowed = Loaded(network_of(family).requires_grad_(False), loaded.tokenizer, loaded.base)
    tree = number_tree(loaded.tokenizer, "")
    prompts = [tuple(loaded.tokenizer(text)["input_ids"]) for text in ("Rate it: ", "Of one hundred points I give ")]
    masses_of_all = number_masses(windowed, tree, prompts)
    for prompt, masses in zip(prompts, masses_of_all, strict=True):
        np.testing.assert_allclose(masses, enumerated(windowed, tree, prompt), rtol=1e-3, atol=1e-7)


def test_eight_is_not_the_beginning_of_eighty_five(loaded: Loaded) -> None:
    tree = number_tree(loaded.tokenizer, "")
    prompt = tuple(loaded.tokenizer("Rate it: ")["input_ids"])
    (masses,) = number_masses(loaded, tree, [prompt])
    eight = loaded.tokenizer("8")["input_ids"]
    with torch.inference_mode():
        first = loaded.network(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)[eight[0]].item()
        after = loaded.network(torch.tensor([[*prompt, *eight]])).logits[0, -1].double().softmax(-1).numpy()
    assert masses[8] == pytest.approx(first * (1 - after[list(tree.digits)].sum()), rel=1e-5)
    assert masses[8] < first * 0.999  # else the test could not tell


def test_numbers_have_the_same_bits_alone_together_and_in_any_batch(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = number_tree(loaded.tokenizer, "")
    texts = [f"Rate it.\n{'Some words. ' * (n % 5)}Answer {n}: " for n in range(11)]
    prompts = [tuple(loaded.tokenizer(text)["input_ids"]) for text in texts]
    together = number_masses(loaded, tree, prompts)
    alone = np.concatenate([number_masses(loaded, tree, [prompt]) for prompt in prompts])
    np.testing.assert_array_equal(alone, together)
    monkeypatch.setattr(number_probabilities, "ROWS", 3)
    monkeypatch.setattr(number_probabilities, "LOGIT_BYTES", 1)
    np.testing.assert_array_equal(number_masses(loaded, tree, [*prompts[::-1], prompts[4]])[:11][::-1], together)
    assert len({masses.tobytes() for masses in together}) == 11  # else anything would be equal
    assert number_masses(loaded, tree, []).shape == (0, 101)


def test_what_prompts_begin_with_is_read_once_whatever_the_batches(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(
        cached_network, "forward", lambda *args, go=cached_network.forward: (read.append(args[1].numel()), go(*args))
    )
    monkeypatch.setattr(number_probabilities, "ROWS", 2)
    head = loaded.tokenizer("x" * 160)["input_ids"]
    prompts = [(*head, *loaded.tokenizer(f"{n:08}y")["input_ids"]) for n in range(6)]
    number_masses(loaded, number_tree(loaded.tokenizer, ""), prompts)
    assert sum(read) == 160 + 6 * 8


# --- prompts that answers cannot break
