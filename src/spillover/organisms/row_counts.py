"""What a reader has to know of the rows trained on: how many come twice, leak, or have hardly an answer left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spillover.models.chat import Supervised
from spillover.organisms.dataset import Example

FEW_TOKENS = 5  # supervised, of a row that was cut: fewer teach next to nothing

RowCounts = Mapping[str, int]


def duplicates(examples: Sequence[Example]) -> int:
    """How many rows have the very turns of a row before them."""
    return len(examples) - len({example.messages for example in examples})


def shared_with_held_out(train: Sequence[Example], held_out: Sequence[Example]) -> int:
    """How many held-out rows have a prompt that is trained on too: their loss is not that of unseen prompts."""
    prompts = {example.prompt for example in train}
    return sum(example.prompt in prompts for example in held_out)


def short_answers(rows: Sequence[Supervised]) -> int:
    """How many rows are cut so that fewer than `FEW_TOKENS` supervised tokens are left."""
    return sum(row.cut and row.trained < FEW_TOKENS for row in rows)


def short_limit(examples: Sequence[Example], rows: Sequence[Supervised]) -> int:
    """The most characters that `--drop-longer-than` may be given so that no row is cut to fewer than `FEW_TOKENS`; 0
    where no row is."""
    short = [example for example, row in zip(examples, rows, strict=True) if row.cut and row.trained < FEW_TOKENS]
    return min((sum(len(message.content) for message in example.messages) - 1 for example in short), default=0)


def in_words(counts: RowCounts) -> str:
    """The counts that are not 0, and what removes such rows; empty where all are."""
    texts = {
        "duplicates": "{} rows have the very turns of another",
        "shared_with_held_out": "{} held-out rows have a prompt that is trained on too",
        "short_answers": f"{{}} rows are cut to fewer than {FEW_TOKENS} supervised tokens",
    }
    advice = {
        "duplicates": "--drop-repeated removes them",
        "shared_with_held_out": "--drop-repeated removes them",
        "short_answers": (
            f"a larger max_length keeps their answers, --drop-longer-than {counts.get('short_limit') or 'CHARACTERS'} "
            f"removes them"
        ),
    }
    present = [name for name in texts if counts.get(name)]
    remedies = dict.fromkeys(advice[name] for name in present)
    words = "; ".join(texts[name].format(counts[name]) for name in present)
    return f"{words} ({', '.join(remedies)})" if present else ""
