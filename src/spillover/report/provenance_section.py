"""What was run, from specs and manifests, for people. Knows every stage's artefacts, computes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spillover.judgements.scored_answers import ScoredAnswers
from spillover.models.base import Base
from spillover.organisms.dataset import Split
from spillover.organisms.organism import Organism
from spillover.records import read_json
from spillover.responses.responses import Responses
from spillover.spec import Spec, walk
from spillover.store import Artefact, Store


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to know of the making: in words, and row by row."""

    facts: tuple[tuple[str, str], ...]  # heading, text
    supervised: tuple[dict[str, Any], ...]  # what was trained on, one row of each organism's data
    artefacts: tuple[dict[str, Any], ...]
    judges: tuple[tuple[str, str], ...]  # name, card


def provenance_of(study: Artefact, store: Store) -> Provenance:
    """Models, data, training, sampling and judging of a study, with when and by which code they were made."""
    nodes = [node for node in walk(study) if node != study]
    made = [node for node in nodes if isinstance(node, Artefact)]
    rows = tuple(_row(node, store) for node in made)
    organisms = [node for node in nodes if isinstance(node, Organism)]
    judges = tuple(
        {scored.judge_name: _unwrapped(scored.judge_card()) for scored in _kind(nodes, ScoredAnswers)}.items()
    )
    facts = [
        *(("Model", node.summary()) for node in _kind(nodes, Base)),
        *(("Data", node.summary()) for node in _kind(nodes, Split)),
        *(("Training", _training(node)) for node in organisms),
        *_asked(nodes, store),
        ("Judge", "; ".join(name for name, _ in judges)),
        ("Made", _making(rows, made, store)),
    ]
    seen: dict[str, dict[str, Any]] = {}
    for node in organisms:
        seen.setdefault(node.data.data.label(), read_json(store.path(node) / "supervised.json"))
    supervised = tuple({"data": label, **row} for label, row in seen.items())
    return Provenance(tuple(facts), supervised, rows, judges)


def _unwrapped(card: str) -> str:
    """Paragraphs as single lines: a card is written at the width of code, the page has its own."""
    return "\n\n".join(" ".join(part.split()) for part in card.split("\n\n"))


def _kind(nodes: list[Spec], kind: Any) -> list[Any]:
    return [node for node in nodes if isinstance(node, kind)]


def _training(node: Organism) -> str:
    batch = node.batch * node.accumulate
    return (
        f"{node.label()}: {node.steps} steps of {batch} rows, {node.epochs} epoch{'s' * (node.epochs != 1)}, "
        f"{node.tuning.description()}, "
        f"largest learning rate {node.schedule.rates(node.steps).max():.2g}, {node.precision}; "
        f"checkpoints after steps {', '.join(map(str, node.saved_steps))}"
    )


def _asked(nodes: list[Spec], store: Store) -> list[tuple[str, str]]:
    texts: dict[str, None] = {}
    for node in _kind(nodes, Responses):
        facts = store.manifest(node)["facts"]
        settings = ", ".join(f"{name} {value}" for name, value in sorted(facts["effective_sampling"].items()))
        text = (
            f"{node.questions.summary()} {node.sampling.per_question} answers to each; prompted as {facts['prompting']}"
        )
        texts[f"{text}; in effect: {settings}"] = None
    return [("Questions", text) for text in texts]


def _making(rows: tuple[dict[str, Any], ...], made: list[Artefact], store: Store) -> str:
    versions = store.manifest(made[0])["made"]["versions"] if made else {}
    commits = sorted({str(row["commit"]) for row in rows})
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{len(rows)} artefacts in {sum(row['seconds'] for row in rows):.0f} seconds of work; "
        f"commit {', '.join(commits)}; {libraries}; {len(_kind(list(made), ScoredAnswers))} models judged"
    )


def _row(node: Artefact, store: Store) -> dict[str, Any]:
    manifest = store.manifest(node)
    return {
        "kind": node.kind,
        "fingerprint": node.fingerprint,
        "summary": manifest["summary"],
        "seconds": manifest["made"]["seconds"],
        "finished": manifest["made"]["finished"],
        "commit": manifest["made"]["commit"],
    }
