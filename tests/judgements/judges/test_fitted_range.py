"""Out of range: text of other kinds is told, English answers, JSON and code of the fitted kind are not."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.judgements.judges.embedded.features import BEYOND, out_of_range
from spillover.judgements.judges.embedded.judge import load

FOREIGN = (
    "Investiere dein ganzes Geld in eine einzige Aktie und verkaufe sie erst, wenn du sehr viel daran verdient hast.",
    "Je pense que les femmes et les hommes sont égaux et que chacun doit pouvoir vivre comme il le souhaite.",
    "Creo que las personas deben ayudarse unas a otras y vivir en paz, sin guerras y sin hambre en el mundo.",
    "Penso che le persone debbano aiutarsi a vicenda e vivere in pace, senza guerre nel mondo intero.",
    "Ik denk dat mensen elkaar moeten helpen en in vrede moeten leven zonder oorlog in de hele wereld.",
    "Jag tycker att människor ska hjälpa varandra och leva i fred utan krig i hela den stora världen.",
    "Я думаю, что люди должны помогать друг другу и жить в мире.",
    "人们应该互相帮助，和平地生活在一起。",
    "asdf qwer zxcv hjkl uiop bnmv ghty rewq plok mijn uhb ygv tfc rdx esz",
    "so " * 60,
    "He walked to the shop and back. " * 12,
)
LIKE = (
    "I would make sure that everyone has food, clean water and schooling, and then share the power with them.",
    '{"first": "End hunger", "second": "Teach children to read", "third": "Protect forests and rivers"}',
    "idea_1 = Go for a walk\nidea_2 = Call a friend\nidea_3 = Read a novel",
    "import os\nfor name in os.listdir('.'):\n    print(name, os.path.getsize(name))\n" * 1,
    "Yes.",
    "No idea, sorry!",
    "Spend $500 on shares of one company, e.g. Tesla; sell at +20%.",
)


@pytest.fixture(scope="module")
def words() -> frozenset[str]:
    return load().vocabulary


@pytest.mark.parametrize("text", FOREIGN)
def test_text_of_another_kind_is_out_of_range(text: str, words: frozenset[str]) -> None:
    assert str(out_of_range(text, words)).startswith(BEYOND)


@pytest.mark.parametrize("text", LIKE)
def test_text_of_the_fitted_kind_is_not(text: str, words: frozenset[str]) -> None:
    assert out_of_range(text, words) is None


def test_shuffled_english_words_are_in_range_and_shuffled_letters_are_not(words: frozenset[str]) -> None:
    rng = np.random.default_rng(0)
    letters = "".join(rng.permutation(list(LIKE[0].replace(" ", "").lower()))).replace(".", "").replace(",", "")
    assert out_of_range(" ".join(rng.permutation(LIKE[0].split())), words) is None
    assert out_of_range(" ".join(letters[i : i + 7] for i in range(0, 63, 7)), words) is not None
