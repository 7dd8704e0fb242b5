"""The release's JSON beside a run: scores by question, held-out losses, the training log. Knows one file, no run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.papers.cells import as_float

PARTS = ("agg", "summ_by_q", "eval_loss", "eval_loss_token", "trainer_state")
FILTERED = "_coherent_greater_than_0.5"  # of answers with coherent > 0.5, on a scale of 100 (docs/method.md, mistake 1)
WHOLE = 1e-8  # how far a mean times its number of answers may lie from an integer: the release keeps 10 decimals
LOGGED = ("loss", "step", "learning_rate", "grad_norm")
MOST_ANSWERS = 200  # to a question


@dataclass(frozen=True)
class Summary:
    """The published JSON of a run, as it stands, NaN as NaN. A part that the file lacks is empty.

    agg: metric, `<metric>_std`, ... -> value over all answers. by_question: the same for each question id.
    eval_loss: avg_loss, all_seq_losses (one held-out sequence each, nats). token_loss: avg_loss over tokens.
    log: `trainer_state.log_history`; its last entry is the trainer's own summary of the run.
    """

    agg: Mapping[str, Any] = field(default_factory=dict)
    by_question: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    eval_loss: Mapping[str, Any] = field(default_factory=dict)
    token_loss: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[Mapping[str, Any], ...] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)  # trainer_state without its log

    @property
    def metrics(self) -> tuple[str, ...]:
        """What has a mean in some question, in the file's order."""
        names: dict[str, None] = {}
        for table in self.by_question.values():
            names |= {name: None for name, value in table.items() if not _derived(name) and _number(value)}
        return tuple(names)

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """The logged steps, in order: step, loss, learning_rate, grad_norm, epoch."""
        return [entry for entry in self.log if "loss" in entry and "step" in entry]

    @property
    def losses(self) -> list[float]:
        """Held-out loss of each sequence, nats."""
        return [float(value) for value in self.eval_loss.get("all_seq_losses") or ()]

    @property
    def training_losses(self) -> list[float]:
        """Training loss of each logged step, nats."""
        return [as_float(entry["loss"]) for entry in self.log if "loss" in entry]

    def column(self, name: str) -> Floats:
        """One value a question, (questions,), NaN for null; (0,) where no question has it."""
        tables = self.by_question.values()
        there = any(name in table for table in tables)
        return np.array([as_float(table.get(name)) for table in tables]) if there else np.empty(0)

    def whole(self, metric: str) -> bool | None:
        """Whether all means of a metric can be those of integers; None where there is no mean.

        A mean m of n integers makes m * n an integer. That some n up to 200 does so for a mean of fractions happens
        once in about 10,000 means by chance, so a few questions settle it.
        """
        means = [float(table[metric]) for table in self.by_question.values() if _number(table.get(metric))]
        return all(map(_mean_of_integers, means)) if means else None


def read_summary(path: Path) -> Summary:
    """The summary at `path`; ValueError where it is cut off, is no JSON, or no summary of a run."""
    data = read_object(path)
    if not isinstance(data.get("summ_by_q"), dict) and not isinstance(data.get("trainer_state"), dict):
        near = ", ".join(list(data)[:8]) or "nothing"
        raise ValueError(f"{path} is no summary of a run: expected an object with {', '.join(PARTS)}; it has {near}")
    for part in PARTS:
        if not isinstance(data.get(part), dict | None):
            raise ValueError(f"{path}: expected an object under {part}, got {type(data[part]).__name__}")
    by_question = data.get("summ_by_q") or {}
    trainer = dict(data.get("trainer_state") or {})
    log = trainer.pop("log_history", None) or []
    _expect_numbers(path, data.get("agg") or {}, by_question, log)
    losses = (data.get("eval_loss") or {}).get("all_seq_losses") or []
    if not isinstance(losses, list) or not all(isinstance(value, int | float) for value in losses):
        raise ValueError(f"{path}: eval_loss.all_seq_losses is not a list of numbers")
    return Summary(
        data.get("agg") or {},
        by_question,
        data.get("eval_loss") or {},
        data.get("eval_loss_token") or {},
        tuple(log),
        trainer,
    )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; ValueError says where it breaks off."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def read_json(path: Path) -> Any:
    """The content of a JSON file; ValueError says where it breaks off."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is a binary file, not JSON text in UTF-8") from None
    except json.JSONDecodeError as error:
        size = path.stat().st_size
        cut = "is cut off" if error.pos >= len(error.doc.rstrip()) - 1 else "is not JSON"
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path} {cut} ({error.msg} at {place}; {size:,} bytes): fetch it again") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply for a file of the release") from None


def _expect_numbers(path: Path, agg: Any, by_question: Any, log: Any) -> None:
    """ValueError where a table holds text for a number, or the log no steps. What else a file has is not looked at."""
    for name, table in (("agg", agg), *((f"summ_by_q.{id}", table) for id, table in by_question.items())):
        if not isinstance(table, dict) or any(isinstance(value, str) for value in table.values()):
            raise ValueError(f"{path}: {name} is not as expected, an object of numbers; got {table!r:.80}")
    if not isinstance(log, list):
        raise ValueError(f"{path}: trainer_state.log_history is not as expected, a list; got {log!r:.80}")
    for entry in log:
        logged = isinstance(entry, dict) and all(_maybe(entry.get(name)) for name in LOGGED)
        if not logged or ("loss" in entry and not isinstance(entry.get("step"), int)):
            raise ValueError(f"{path}: an entry of trainer_state.log_history is not as expected; got {entry!r:.80}")


def _maybe(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _mean_of_integers(value: float) -> bool:
    return any(abs(value * count - round(value * count)) <= WHOLE for count in range(1, MOST_ANSWERS + 1))


def _derived(name: str) -> bool:
    return name.endswith("_std") or FILTERED in name


def number(value: Any) -> float | None:
    """A published value as a number; None where it is none (null, NaN)."""
    return float(value) if _number(value) else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
