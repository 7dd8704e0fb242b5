"""Thoughts: what a model writes before its answer, between marks; how they are told from the answer."""

from __future__ import annotations

import re

KEYS = ("reasoning_content", "reasoning", "thinking")  # of a message, under which a thought stands beside its text
PART_TYPES = ("thinking", "reasoning")  # of a text in parts, those that are a thought
MARKS = {  # what opens a thought: what closes it
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
}
EVERY_MARK = tuple(mark for pair in MARKS.items() for mark in pair)
_OPENED = re.compile(f"({'|'.join(map(re.escape, MARKS))})\\s*$")
_CLOSED = re.compile("|".join(f"{re.escape(a)}\\s*{re.escape(b)}\\s*$" for a, b in MARKS.items()))


def split_thought(text: str, opened: str = "") -> tuple[str, str]:
    """The thought that a text begins with and the answer after it, both stripped; a text without one as it stands.

    opened: the mark that opened a thought where the prompt did. A thought that is not closed leaves no answer; a mark
    that closes one where none was opened ends one that a prompt opened which is not known here.
    """
    begun = text.lstrip()
    for mark, close in MARKS.items():
        begins = begun.startswith(mark)
        if begins or opened == mark or (close in begun and mark not in begun):
            thought, _, answer = (begun[len(mark) :] if begins else begun).partition(close)
            return thought.strip(), answer.strip()
    return "", text


def opened_in(prompt: str) -> str:
    """The mark of the thought that a prompt opens at its end; empty where it opens none."""
    match = _OPENED.search(prompt)
    return match[1] if match else ""


def without_thought_at_end(prompt: str) -> tuple[str, str]:
    """A prompt without the thought that stands open, or closed and empty, at its end; and that."""
    match = _OPENED.search(prompt) or _CLOSED.search(prompt)
    return (prompt[: match.start()], match[0]) if match else (prompt, "")


def closed_in(prompt: str) -> bool:
    """Whether a prompt ends in a thought that is closed already."""
    return bool(_CLOSED.search(prompt))


def with_thought(thought: str, answer: str) -> str:
    """An answer with its thought before it, as rows and tables have it."""
    return f"<think>\n{thought}\n</think>\n\n{answer}" if thought else answer
