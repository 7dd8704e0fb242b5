"""How a vocabulary writes the numbers from 0 to 100: a tree of tokens.

Most vocabularies write 85 as two tokens, some as one, and some can do both. Every way counts: the probability of a
number is the sum over the ways to write it, each times the probability that no further digit follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUMBERS = range(101)
_SENTENCEPIECE = str.maketrans({"\u2581": " "})
_BYTE_LEVEL = str.maketrans({"\u0120": " ", "\u010a": "\n"})
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class NumberTree:
    """Every way to write the numbers, after the prompt. Node 0 is the prompt's last token, whichever that is.

    tokens, parents: of the nodes from 1 on, each after its parent. number: what stands written at a node, from node 0
    on; None where it is no number yet. digits: ids of all tokens that begin with a digit.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    number: tuple[int | None, ...]
    digits: tuple[int, ...]

    @property
    def depths(self) -> tuple[int, ...]:
        """How many tokens after the prompt each node stands, from node 0 on."""
        depths = [0]
        for parent in self.parents:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    def ancestors(self) -> list[list[bool]]:
        """(nodes, nodes): whether a node sees another, itself included."""
        rows: list[list[bool]] = [[True] + [False] * len(self.tokens)]
        for node, parent in enumerate(self.parents, start=1):
            rows.append([sees or other == node for other, sees in enumerate(rows[parent])])
        return rows


def number_tree(tokenizer: PreTrainedTokenizerBase, lead: str) -> NumberTree:
    """The tree for numbers that stand after `lead` (the space of ` Answer: 85`, say; part of what is predicted).

    ValueError where the vocabulary has no way to write one of them.
    """
    pieces = vocabulary(tokenizer)
    written = {f"{lead}{number}": number for number in NUMBERS}
    begun = {text[:length] for text in written for length in range(len(text))}
    parts = {text[i:j] for text in written for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    useful = _distinct({token: piece for token, piece in pieces.items() if piece in parts})
    tokens: list[int] = []
    parents: list[int] = []
    number: list[int | None] = [None]
    waiting = [(0, "")]
    while waiting:
        node, so_far = waiting.pop(0)
        for token, piece in useful:
            text = so_far + piece
            if so_far in begun and (text in written or text in begun):
                tokens.append(token)
                parents.append(node)
                number.append(written.get(text))
                waiting.append((len(tokens), text))
    lacking = sorted(set(NUMBERS) - set(number))
    if lacking:
        raise ValueError(
            f"this tokenizer has no way to write {lacking[0]} after {lead!r} ({len(lacking)} of 101 numbers lack one): "
            f"its model cannot judge by numbers"
        )
    digits = tuple(token for token, piece in pieces.items() if "0" <= piece[:1] <= "9")
    return NumberTree(tuple(tokens), tuple(parents), tuple(number), digits)


def _distinct(pieces: dict[int, str]) -> list[tuple[int, str]]:
    """One token for each text, the last: a vocabulary's fallback for single bytes stands before its own pieces."""
    return [(token, piece) for piece, token in {piece: token for token, piece in pieces.items()}.items()]


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The text of every token that is not a control token, as far as digits, spaces and line ends go."""
    control = set(tokenizer.all_special_ids)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    spaces = _SENTENCEPIECE if "\u2581" in names else _BYTE_LEVEL
    return {
        token: _piece(name, spaces)
        for token, name in enumerate(names)
        if isinstance(name, str) and token not in control
    }


def _piece(name: str, spaces: dict[int, str]) -> str:
    byte = _BYTE.fullmatch(name)
    return chr(int(byte[1], 16)) if byte else name.translate(spaces)
