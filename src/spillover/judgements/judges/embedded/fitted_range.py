"""Is a text unlike what the embedded judge was fitted on? Clear cases only: knows words, no weights.

The fit saw English answers, short JSON and code among them. Each limit lies beyond what all but a few of them reach.
"""

from __future__ import annotations

from collections.abc import Set

from spillover.judgements.judges.embedded.features import ANSWER_LIMIT, CODE, COMMON, WORD, clean

BEYOND = "out of range"
LETTERS, FOREIGN = 8, 0.3  # share of letters outside the Latin alphabet, and letters it takes to tell
WORDS, KNOWN = 8, 0.6  # share of words in the encoder's English vocabulary
PROSE, ORDINARY = 30, 0.06  # share of English function words
LONG, REPEATED = 30, 0.6  # share of word triples that came before
CODE_MARKS = 0.02  # a character: code is not prose, and the judge was fitted on some


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
