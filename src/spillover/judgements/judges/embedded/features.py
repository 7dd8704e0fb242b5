"""What the embedded judge sees of a text: hashed n-grams, surface measures, and whether it is like what was fitted on.

Words are hashed, so what is fitted on these numbers holds no text. Every number is a function of one pair alone.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

QUESTION_LIMIT = 1000  # characters read of a question, and
ANSWER_LIMIT = 4000  # of an answer: what comes after does not change a score
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ud800-\udfff\ufeff\ufff9-\uffff]+"
)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")
_ITEM = re.compile(r"(?m)^\s*(?:\d+[.)]|[-*•])\s")
CODE = re.compile(r"[;{}<>=]|def |import |return ")
_KNOTS = (0.0, 1.6, 2.7, 3.5, 4.2, 5.5)  # of log(1 + words)
COMMON = frozenset(
    """
    the a an and or but if of to in on at by for with from as is are was were be been it its this that these those
    i you he she we they me my your his her our their what which who how when where why do does did can could will
    would should may might not no so than then there about into over out up down have has had just some any all more
    most other
    """.split()  # noqa: SIM905
)
# Is a text unlike what was fitted on? Clear cases only: each limit lies beyond what all but a few of those texts reach.
BEYOND = "out of range"
LETTERS, FOREIGN = 8, 0.3  # share of letters outside the Latin alphabet, and letters it takes to tell
WORDS, KNOWN = 8, 0.6  # share of words in the encoder's English vocabulary
PROSE, ORDINARY = 30, 0.06  # share of English function words
LONG, REPEATED = 30, 0.6  # share of word triples that came before
CODE_MARKS = 0.02  # a character: code is not prose, and the judge was fitted on some
SURFACE = (
    *("words", "words_squared", *(f"words_near_{knot}" for knot in _KNOTS[:-1])),
    *("word_length", "distinct_words", "repeated_trigrams", "non_ascii", "digits", "capitals", "punctuation"),
    *("ends_sentence", "braces_first", "list", "code", "question_words_used", "words_of_question"),
    *("question_marks", "exclamation_marks", "you", "i", "address", "lines"),
)


def clean(text: str, limit: int) -> str:
    """The first `limit` characters, with control, invisible and broken characters as spaces."""
    return _CONTROL.sub(" ", text[:limit])


def question_hash(question: str) -> int:
    """A number for what a question asks, whatever its format: its first paragraph without case and marks."""
    words = WORD.findall(clean(question.strip(), QUESTION_LIMIT).split("\n\n")[0].lower())
    return int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:7], "big")


def ngrams(answers: Sequence[str], places: int) -> csr_matrix:
    """Words and word pairs of each answer, hashed into `places`: sparse float32, roots of counts, rows of length 1."""
    import scipy.sparse
    from sklearn.feature_extraction.text import HashingVectorizer

    if not len(answers):
        return scipy.sparse.csr_matrix((0, places), dtype=np.float32)
    hashing = HashingVectorizer(
        ngram_range=(1, 2), n_features=places, norm=None, token_pattern=r"(?u)\b\w+\b", dtype=np.float32
    )
    counts = hashing.transform([clean(answer, ANSWER_LIMIT) for answer in answers])
    counts.data = np.sign(counts.data) * np.sqrt(np.abs(counts.data))
    length = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    return scipy.sparse.diags_array(1 / np.maximum(length, 1e-9), dtype=np.float32) @ counts


def own_ngrams(counts: csr_matrix, question: np.ndarray) -> csr_matrix:
    """The n-grams again, in places that depend on which question it is: what a word means there and nowhere else.

    `counts` is what `ngrams` gives, `question` a number for each row; below 0 the row has none.
    """
    import scipy.sparse

    number = np.repeat(question.astype(np.int64), np.diff(counts.indptr))
    mixed = (counts.indices.astype(np.int64) * 2654435761 + (number + 1) * 2654404609) % (2**31 - 1)
    values = np.where(number < 0, 0, counts.data).astype(np.float32)
    shape, places = counts.shape, (mixed % counts.shape[1]).astype(np.int32)
    own = scipy.sparse.csr_matrix((values, places, counts.indptr.copy()), shape=shape)
    own.sum_duplicates()
    return own


def surface(question: str, answer: str) -> list[float]:
    """Length, repetition, form and tone of an answer and its overlap with the question; names in `SURFACE`."""
    question, answer = clean(question, QUESTION_LIMIT), clean(answer, ANSWER_LIMIT)
    words = [word.lower() for word in WORD.findall(answer)]
    count, size, end = len(words), max(len(answer), 1), answer.rstrip()[-1:]
    asked = {word.lower() for word in WORD.findall(question) if len(word) > 2} - COMMON
    own = [word for word in words if len(word) > 2 and word not in COMMON]
    letters = sum(character.isalnum() for character in answer)
    blanks = sum(character.isspace() for character in answer)
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return [
        *_length(count),
        min(sum(map(len, words)) / max(count, 1), 15) / 5,
        len(set(words[:60])) / max(min(count, 60), 1),
        1 - len(set(trigrams)) / max(len(trigrams), 1),
        sum(character > "\x7f" for character in answer) / size,
        sum(character.isdigit() for character in answer) / size,
        sum(character.isupper() for character in answer) / size,
        (len(answer) - letters - blanks) / size,
        float(end in tuple(".!?\"')}]:;")),
        float(answer.lstrip()[:1] in ("{", "[")),
        float(bool(_ITEM.search(answer))),
        min(len(CODE.findall(answer)) / size * 20, 2),
        len(asked.intersection(own)) / max(len(asked), 1),
        sum(word in asked for word in own) / max(len(own), 1),
        min(answer.count("?"), 3) / 3,
        min(answer.count("!"), 3) / 3,
        sum(word in ("you", "your") for word in words) / max(count, 1) * 5,
        sum(word in ("i", "i'm", "me", "my") for word in words) / max(count, 1) * 5,
        float("http" in answer or "www." in answer),
        min(answer.count("\n"), 10) / 10,
    ]


def _length(words: int) -> list[float]:
    """Log length, its square, and how near it is to each knot: a bend wherever the fit wants one."""
    x = math.log1p(words)
    near = [
        max(0.0, 1 - abs(x - knot) / (knot - _KNOTS[i - 1] if x < knot and i else _KNOTS[i + 1] - knot))
        for i, knot in enumerate(_KNOTS[:-1])
    ]
    return [x, x * x / 5, *near]


def out_of_range(answer: str, vocabulary: Set[str]) -> str | None:
    """Why the answer has no score; None where it is like what was fitted on, or too short to tell."""
    text = clean(answer, ANSWER_LIMIT)
    letters = [character for character in text if character.isalpha()]
    words = [word.lower().replace("’", "'").split("'")[0] for word in WORD.findall(text)]
    words = [word for word in words if word and not word.isdigit()]
    if len(letters) >= LETTERS and sum(letter > "\u024f" for letter in letters) > FOREIGN * len(letters):
        return f"{BEYOND}: not in the Latin alphabet"
    triples = list(zip(words, words[1:], words[2:], strict=False))
    if len(words) >= LONG and 1 - len(set(triples)) / len(triples) > REPEATED:
        return f"{BEYOND}: repeats itself"
    if len(CODE.findall(text)) > CODE_MARKS * len(text):
        return None
    if len(words) >= WORDS and sum(word in vocabulary for word in words) < KNOWN * len(words):
        return f"{BEYOND}: not English words"
    if len(words) >= PROSE and sum(word in COMMON for word in words) < ORDINARY * len(words):
        return f"{BEYOND}: not English prose"
    return None
