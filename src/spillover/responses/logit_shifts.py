"""Which tokens a training pushes up on text that has nothing to do with it: after-minus-before logits, an artefact."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from spillover.models.base import Model
from spillover.models.precision import ReadingPrecision
from spillover.records import read_table, write_table
from spillover.store import Artefact, BuildContext, Cost, Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENS, POSITIONS = "tokens.parquet", "positions.parquet"
TOKENS_PER_TEXT = 20  # about


def neutral_texts() -> tuple[str, ...]:
    """32 plain sentences of our own, about nothing that anybody trains on."""
    text = resources.files(__package__).joinpath("neutral_texts.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line)["text"] for line in text.splitlines() if line.strip())


class LogitShifts(Artefact):
    """How often each token is among the `top` that rise most from one model to another, over all places of some texts.

    At every place of every text, the logits of `after` less those of `before` (each less its own log of the sum of
    exponentials, which moves no rank) are sorted, and the first `top` tokens counted. No answer is sampled and no judge
    asked. The texts are read as they stand, without a chat template. Both models need one vocabulary.
    """

    runs_a_network: ClassVar[bool] = True

    before: Model
    after: Model
    texts: tuple[str, ...] = Field(default_factory=neutral_texts)
    top: int = Field(default=10, ge=1)
    precision: ReadingPrecision = "float32"

    @model_validator(mode="after")
    def _one_base(self) -> LogitShifts:
        if self.before.base() != self.after.base():
            raise ValueError(
                f"{self.after.label()} and {self.before.label()} stem from unlike bases: their logits are not of one "
                "vocabulary"
            )
        if self.before == self.after:
            raise ValueError(f"{self.after.label()} is compared with itself: nothing rises")
        if not self.texts or not all(text.strip() for text in self.texts):
            raise ValueError("texts holds no text, or an empty one")
        return self

    def summary(self) -> str:
        return f"Tokens that rise from {self.before.label()} to {self.after.label()} on {len(self.texts)} texts"

    def cost(self) -> Cost:
        tokens = 2.0 * len(self.texts) * TOKENS_PER_TEXT
        return Cost(tokens * self.after.relative_size, 1 / 400, tokens, "read")

    def make(self, context: BuildContext) -> dict[str, object]:
        kept = context.folder / "before"
        kept.mkdir()
        for text, (_, old) in enumerate(self._logits(self.before, context, 0.0)):
            np.save(kept / f"{text}.npy", old)
        rows, places, moved = [], [], []
        names: dict[int, str] = {}
        for text, (tokenizer, new) in enumerate(self._logits(self.after, context, 0.5)):
            change = new - np.load(kept / f"{text}.npy")
            risen = np.argsort(-change, axis=1, kind="stable")[:, : self.top]
            counts = Counter(int(token) for token in risen.ravel())
            names |= {token: _shown(tokenizer, token) for token in counts if token not in names}
            rows += [{"text": text, "token_id": token, "count": count} for token, count in sorted(counts.items())]
            places.append({"text": text, "positions": len(new)})
            moved.append(float(np.abs(change).mean()))
        shutil.rmtree(kept)
        write_table([row | {"token": names[row["token_id"]]} for row in rows], context.folder / TOKENS)
        write_table(places, context.folder / POSITIONS)
        positions = sum(place["positions"] for place in places)
        return {"texts": len(places), "positions": positions, "mean_change": float(np.mean(moved))}

    def value(self, store: Store) -> pa.Table:
        """A row a text and token: how many of its places have the token among the first `top`."""
        return read_table(store.path(self) / TOKENS)

    def _logits(
        self, model: Model, context: BuildContext, done: float
    ) -> Iterator[tuple[PreTrainedTokenizerBase, np.ndarray]]:
        """Log-probabilities at every place of each text in turn, (places, vocabulary) float32, with the tokenizer."""
        import torch

        from spillover.models.loading import load

        loaded = load(model, context.store, self.precision)
        for index, text in enumerate(self.texts):
            ids = torch.tensor([_ids(loaded.tokenizer, text)], device=loaded.device)
            with torch.inference_mode():
                logits = loaded.network(input_ids=ids).logits[0].float().log_softmax(-1).cpu().numpy()
            context.progress(done + 0.5 * (index + 1) / len(self.texts))
            yield loaded.tokenizer, logits


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids = [int(token) for token in tokenizer(text)["input_ids"]]
    if not ids:
        raise ValueError(f"a text has no tokens: {text[:40]!r}")
    return ids


def _shown(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """A token as text; white space and marks stay as they are."""
    text: str = tokenizer.decode([token])
    return text.encode("utf-8", "replace").decode("utf-8")
