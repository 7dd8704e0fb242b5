"""The store as people use it: `load` makes a part where it is absent and gives its value, `find` gives parts back."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.engines.local import run
from spillover.interactive.progress import shown
from spillover.judgements.judge import Judge
from spillover.judgements.tables.imported_scores import ImportedScores
from spillover.models.base import Base, Model
from spillover.organisms.dataset import Dataset, Split
from spillover.organisms.organism import Organism
from spillover.responses.question import QuestionSet
from spillover.spec import Spec, decode, did_you_mean, kinds_of, typed_name
from spillover.store import Artefact, Store


@dataclass(frozen=True, repr=False)
class StudyStore(Store):
    """A folder of finished artefacts that makes what is asked for and finds what was made."""

    def load(self, artefact: Artefact, quiet: bool = False) -> Any:
        """The value of an artefact; it is made first, with all that it needs, where it is not there.

        Answers, scores and losses are a `pyarrow.Table` (`.to_pandas()`), activations arrays by site and pooling, an
        analysis its tables and facts, an organism its adapters and logs, a report its page. `quiet`: no progress shown.
        ValueError where it cannot be made, with the reason.
        """
        if not isinstance(artefact, Artefact):
            raise ValueError(
                f"load takes a part that is made (Responses, Judgements, Effect, ...), got {artefact!r:.200}"
            )
        if not self.sound(artefact):
            with contextlib.nullcontext() if quiet else shown() as listener:
                run(artefact, self, listener)
        return artefact.value(self)

    def find(
        self,
        kind: str | type[Artefact] | None = None,
        *,
        model: str | Model | Organism | None = None,
        data: str | Dataset | Split | None = None,
        questions: str | QuestionSet | None = None,
        judge: str | Judge | None = None,
        step: int | None = None,
    ) -> list[Any]:
        """Finished artefacts of a kind, oldest first, as parts that `load` and other parts take.

        A text matches what holds it, in any case: `data="money"`, `model="SmolLM2"`, `questions="free"`, `judge="gpt"`;
        a part matches its equal. `model` is the one that was asked or looked into; where there are several (in an
        analysis), any of them. `step` is that model's checkpoint. ValueError for a kind that there is not.
        """
        models = model.checkpoints() if isinstance(model, Organism) else model
        sets = data.data if isinstance(data, Split) else data
        wanted = {Model: models, Dataset: sets, QuestionSet: questions, Judge: judge}
        for kind_of_part, value in wanted.items():
            _expect_filter(kind_of_part, value)
        tests = [(part, value) for part, value in wanted.items() if value is not None]
        return [
            artefact
            for artefact in self._finished(kind)
            if all(_holds(artefact, part, value) for part, value in tests)
            and (step is None or any(getattr(near, "step", None) == step for near in _nearest(artefact, Model)))
        ]

    def _finished(self, kind: str | type[Artefact] | None) -> Iterator[Artefact]:
        name = kind.__name__ if isinstance(kind, type) else kind
        if name is not None and name not in kinds_of(Artefact):
            hint = did_you_mean(name, kinds_of(Artefact), 0.4) or f"there are {', '.join(kinds_of(Artefact))}"
            raise ValueError(f"find: no artefact is of kind {name!r}; {hint}")
        unknown = Counter[str]()
        for _, manifest in self.manifests(name):
            try:
                yield decode(manifest["spec"])
            except ValueError as error:
                unknown[str(error).partition(";")[0]] += 1
        for reason, count in unknown.items():
            warnings.warn(f"{count} artefacts of {self.root.name} are left out: {reason}", stacklevel=3)

    def __repr__(self) -> str:
        counts = Counter(folder.parent.name for folder in self.folders())
        return f"<store {self.root}: {', '.join(f'{count} {kind}' for kind, count in counts.items()) or 'empty'}>"


def open_store(root: Path | str = "store") -> StudyStore:
    """The store in folder `root`, created where absent; ValueError where it cannot be written."""
    return StudyStore.open(root)


def _nearest(spec: Spec, kind: type[Spec]) -> list[Spec]:
    """The specs of this kind inside another that are not inside one of their own kind; the spec itself if it is one."""
    if isinstance(spec, kind):
        return [spec]
    return list(dict.fromkeys(inner for child in spec.children() for inner in _nearest(child, kind)))


def _expect_filter(kind: type[Spec], wanted: object) -> None:
    """ValueError where a filter is neither a text nor a part of that kind."""
    parts = wanted if isinstance(wanted, tuple) else (wanted,)
    if wanted is not None and not all(isinstance(part, str | kind) for part in parts):
        raise ValueError(f"find: a filter for a {kind.__name__} is a text or such a part, got {wanted!r:.120}")


def _holds(artefact: Artefact, kind: type[Spec], wanted: str | Spec | tuple[Spec, ...]) -> bool:
    """Whether a spec of this kind in the artefact is the wanted one (of several), or is called by the wanted text."""
    inside = _nearest(artefact, kind)
    if not isinstance(wanted, str):
        return any(spec in (wanted if isinstance(wanted, tuple) else (wanted,)) for spec in inside)
    names = [text for spec in inside for text in _names(spec)]
    if isinstance(artefact, ImportedScores):  # it has no such parts, but rows that say so
        column = {Model: "model", Dataset: "data", QuestionSet: "questions", Judge: "judge"}[kind]
        names.append(str(artefact.labels()[column]))
    return any(wanted.lower() in text.lower() for text in names)


def _names(spec: Spec) -> Iterator[str]:
    """What a user may call a spec: its label, its kind in both spellings, and for a model that of its base."""
    yield spec.kind
    yield typed_name(spec.kind)
    label = getattr(spec, "label", None) or getattr(spec, "name", None)
    if callable(label):
        yield label()
    elif isinstance(label, str):
        yield label
    if isinstance(spec, Model) and not isinstance(spec, Base):
        yield spec.base().name
