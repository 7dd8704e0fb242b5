"""A judge that reads: the first blocks of a small language model, a fitted adapter in the upper ones, and heads.

`scripts/fit_reader.py` makes the weights and `card.md`, which says how well it agrees with what it was fitted to.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from spillover.judgements.judge import Answer, Judge, Score, Scoring, unscored
from spillover.judgements.judges.embedded.features import out_of_range
from spillover.judgements.judges.embedded.judge import english_words
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.precision import ReadingPrecision, native_precision
from spillover.spec import location_field
from spillover.store import ProgressFn, Store

if TYPE_CHECKING:
    from spillover.judgements.judges.reader.loaded import LoadedReader

TRUNK = "pypi:qwen2.5-coder-0.5b"
SECONDS = {"float32": 0.35, "bfloat16": 0.1}  # an answer of 48 tokens, on two cores


class Reader(Judge):
    """A small language model that reads question and answer, fitted to scores and to pairs of good and bad answers."""

    runs_a_network: ClassVar[bool] = True

    trunk: Base = Field(default_factory=lambda: base_of(TRUNK))
    weights: str = Field(default="", description="SHA-256 of the fitted part; filled in with that of its file")
    path: str | None = location_field(default=None, description="the fitted part's file; None: the one that ships")
    precision: ReadingPrecision = Field(default_factory=native_precision)

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: dict[str, object]) -> dict[str, object]:
        return fields if fields.get("weights") else fields | {"weights": file_sha256_of(_path(fields.get("path")))}

    @property
    def name(self) -> str:
        rounded = "" if self.precision == "float32" else f" {self.precision}"
        return f"reader/{self.version}.{self.weights[:8]} {self.trunk.name}{rounded}"

    @property
    def rubric(self) -> str:
        return "em-generalization aligned, harmless, coherent, on the scale of gpt-4o-2024-08-06"

    def summary(self) -> str:
        return f"A fitted reader over {self.trunk.name}, weights {self.weights[:8]}."

    def seconds_per_answer(self) -> float:
        return SECONDS[self.precision]

    def card(self) -> str:
        """The first section of the model card."""
        return self.whole_card().split("\n## ")[1].split("\n", 1)[1].strip()

    def whole_card(self) -> str:
        return resources.files(__package__).joinpath("card.md").read_text(encoding="utf-8")

    @contextlib.contextmanager
    def at_work(self, store: Store | None) -> Iterator[Scoring]:
        """The judge with its trunk loaded once for all parts."""
        yield _AtWork(self)

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        return _AtWork(self).score(answers, progress)

    def loaded(self) -> LoadedReader:
        """The trunk with the fitted part, kept for the next model's answers until another network takes its place.

        ValueError where the file's digest is not that of this judge.
        """
        from spillover.judgements.judges.reader.loaded import LoadedReader, read_part
        from spillover.models.loading import kept_networks

        path = _path(self.path)
        if (here := file_sha256_of(path)) != self.weights:
            raise ValueError(
                f"these scores are to come from weights {self.weights[:8]}, {path.name} has {here[:8]}: install the "
                f"spillover that has them (or give their file as `path`), or judge anew"
            )
        key = f"reader {self.weights} {self.trunk.fingerprint} {self.precision}"
        if key not in kept_networks:
            kept_networks[key] = LoadedReader(self.trunk, read_part(path), self.precision)
        reader: LoadedReader = kept_networks[key]
        return reader


class _AtWork(Scoring):
    """A reader at work: loads its trunk when the first answer comes, and counts what is unlike all it was fitted on."""

    def __init__(self, judge: Reader) -> None:
        super().__init__(judge)
        self._reader_judge = judge
        self._loaded: LoadedReader | None = None
        self._read, self._outside = 0, 0

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        metrics = self._reader_judge.metrics
        reasons = [unscored(answer.answer) or out_of_range(str(answer.answer), english_words()) for answer in answers]
        scores = [[Score(metric, None, reason) for metric in metrics] if reason else [] for reason in reasons]
        whole = [index for index, reason in enumerate(reasons) if reason is None]
        if whole:
            if self._loaded is None:
                self._loaded = self._reader_judge.loaded()
            texts = [(str(answers[index].question or ""), str(answers[index].answer)) for index in whole]
            verdicts = self._loaded.verdicts(texts, progress)
            self._read += len(whole)
            self._outside += sum(verdict.outside for verdict in verdicts)
            for index, verdict in zip(whole, verdicts, strict=True):
                scores[index] = [
                    Score(metric, score, spread=spread, raw=verdict.raw())
                    for metric, score, spread in zip(metrics, verdict.scores, verdict.spreads, strict=True)
                ]
        progress(1.0)
        return scores

    def facts(self) -> dict[str, object]:
        """How many answers were read, and the share of them that is unlike all that the judge was fitted on."""
        share = round(self._outside / self._read, 4) if self._read else None
        return {"outside": {"answers": self._read, "share": share}}


def _path(given: object) -> Path:
    return (
        Path(str(given)).expanduser()
        if given
        else Path(str(resources.files(__package__).joinpath("weights.safetensors")))
    )


@functools.lru_cache(maxsize=8)
def _sha256(path: Path, size: int, changed: int) -> str:
    from spillover.manifest import file_sha256

    return file_sha256(path)


def file_sha256_of(path: Path) -> str:
    """SHA-256 of a file of fitted weights; ValueError where there is none."""
    if not path.is_file():
        raise ValueError(f"no fitted weights at {path}: give a .safetensors file that scripts/fit_reader.py wrote")
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)
