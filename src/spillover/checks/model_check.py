"""All checks of a model in their order, each caught and told in a line; and which models were looked at before."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from spillover.checks.subject import Subject
from spillover.models.base import Base, Model
from spillover.models.foreign_readers import first_line
from spillover.models.precision import DType
from spillover.models.sources import model_cache
from spillover.spec import Spec, walk
from spillover.store import Store

VERSION = 2  # of what the quick checks look at: raised, every model is looked at once more


@dataclass(frozen=True)
class Finding:
    """What one check came to: well, or what is wrong and what to do."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Check:
    """A look at one side of a model; the quick ones read no weights."""

    name: str
    look: Callable[[Subject], str]
    quick: bool = False

    def finding(self, subject: Subject) -> Finding:
        """What it comes to; whatever is raised is what is wrong."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Finding(self.name, True, self.look(subject))
        except ValueError as error:
            return Finding(self.name, False, " ".join(str(error).split()) or "wrong, and nothing says how")
        except MemoryError:
            return Finding(self.name, False, "not enough memory here: check it where the study is to run")
        except Exception as error:  # what foreign code raises on a model that it does not know
            came = f"{type(error).__name__}: {first_line(error)}"
            return Finding(
                self.name, False, f"{came}; this stage does not know such a network: leave it out, or tell us"
            )


def checks() -> tuple[Check, ...]:
    """Every check, in order; the last one changes the network."""
    from spillover.checks import behaviour, structure, texts

    return (
        Check("template", texts.template, quick=True),
        Check("end marks", texts.end_marks, quick=True),
        Check("pad and beginning", texts.pad_and_beginning, quick=True),
        Check("layers", structure.layers, quick=True),
        *(
            Check(f"LoRA {variant}", partial(structure.lora, variant=variant), quick=True)
            for variant in structure.VARIANTS
        ),
        Check("precision", structure.precision, quick=True),
        Check("memory", structure.memory, quick=True),
        Check("weights", _weights),
        Check("answers", behaviour.same_as_generate),
        Check("batches", behaviour.batched_as_alone),
        Check("bfloat16", behaviour.in_bfloat16),
        Check("loss", behaviour.own_loss),
        Check("activations", behaviour.captured_states),
        Check("training", behaviour.training_step),
    )


def look_at(model: Model, store: Store, only_quick: bool = False, precision: DType | None = None) -> Iterator[Finding]:
    """What each check comes to, as it comes; where the files cannot be opened, one line says so and no other comes.

    precision: what the checks compute in; None: float32 where it has room.
    """
    subject = Subject(model, store, precision)
    opened = Check("files", _files).finding(subject)
    yield opened
    for check in checks() if opened.ok else ():
        if only_quick and not check.quick:
            continue
        finding = check.finding(subject)
        yield finding
        if check.name == "weights" and not finding.ok:
            return


def first_looks(study: Spec) -> Iterator[tuple[Model, list[Finding]]]:
    """The quick checks of every base in a study that is on this disk and was not looked at before, and a record."""
    for base in {node.fingerprint: node for node in walk(study) if isinstance(node, Base)}.values():
        record = _record(base)
        if record.exists() or not base.source.is_local():
            continue
        findings = list(look_at(base, model_cache(), only_quick=True))
        if findings[0].ok:
            _write(record, findings)
            yield base, findings


def _record(base: Base) -> Path:
    return model_cache().root / "checked" / f"{base.fingerprint}-{VERSION}.json"


def _write(record: Path, findings: list[Finding]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    new = record.with_name(f"{record.name}.{os.getpid()}")
    new.write_text(json.dumps([asdict(finding) for finding in findings], indent=1) + "\n")
    os.replace(new, record)


def _files(subject: Subject) -> str:
    """Configuration and tokenizer can be opened."""
    return f"{type(subject.empty).__name__} and its tokenizer ({len(subject.tokenizer):,} tokens) in {subject.folder}"


def _weights(subject: Subject) -> str:
    """The weights can be loaded, none is missing, and all are finite numbers."""
    import torch

    network = subject.loaded.network
    doubtful = [(name, weight) for name, weight in network.named_parameters() if not torch.isfinite(weight.sum())]
    if bad := [name for name, weight in doubtful if not torch.isfinite(weight).all()]:
        raise ValueError(f"{len(bad)} weights hold numbers that are not finite, {bad[0]} first: fetch the model anew")
    return f"all there, loaded as {str(network.dtype).removeprefix('torch.')} on {network.device}"
