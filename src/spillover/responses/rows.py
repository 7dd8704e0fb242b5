"""An answer as a row of the `RESPONSES` schema, whoever gave it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from spillover.responses.question import Question


def response_row(
    question: Question, sample: int, seed: int, text: str, finish: str | None, tokens: int, prompt_tokens: int
) -> dict[str, Any]:
    """The row; half characters, which no table takes, become a question mark."""
    return {
        "question_id": question.id,
        "sample": sample,
        "question": question.question,
        "family": question.family,
        "category": question.category,
        "format": question.format,
        "prompt": question.messages(sample)[-1].content,
        "answer": text.strip().encode("utf-8", "replace").decode("utf-8"),
        "finish_reason": finish,
        "tokens": tokens,
        "prompt_tokens": prompt_tokens,
        "seed": seed,
    }


def row_counts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a manifest says of the rows of one artefact."""
    return {
        "answers": len(rows),
        "tokens": sum(row["tokens"] for row in rows),
        "finish_reasons": dict(sorted(Counter(row["finish_reason"] for row in rows).items())),
    }
