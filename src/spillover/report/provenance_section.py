"""What was run, from specs and manifests, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spillover.analyses.rows import TableRow
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.models.base import Base
from spillover.organisms.dataset import TrainingData
from spillover.organisms.organism import Organism
from spillover.records import read_json
from spillover.responses.responses import Responses
from spillover.spec import walk
from spillover.store import Artefact, Store


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to know of the making: in words, and row by row."""

    facts: tuple[tuple[str, str], ...]  # heading, text
    supervised: tuple[TableRow, ...]  # what was trained on, one row of each organism's data
    artefacts: tuple[TableRow, ...]
    judges: tuple[tuple[str, str], ...]  # name, card


def provenance_of(study: Artefact, store: Store) -> Provenance:
    """Models, data, training, sampling and judging of a study, with when and by which code they were made."""
    parts = [part for part in walk(study) if part != study]
    organisms = [part for part in parts if isinstance(part, Organism)]
    responses = [part for part in parts if isinstance(part, Responses)]
    scored = [part for part in parts if isinstance(part, ScoredAnswers)]
    rows = tuple(_row(part, store) for part in parts if isinstance(part, Artefact))
    cards = {answers.judge_name: _unwrapped(answers.judge_card()) for answers in scored}
    facts = [
        *(("Model", part.summary()) for part in parts if isinstance(part, Base)),
        *(("Data", part.summary()) for part in parts if isinstance(part, TrainingData)),
        *(("Training", _training(organism)) for organism in organisms),
        *(("Questions", text) for text in dict.fromkeys(_asked(answers, store) for answers in responses)),
        ("Judge", "; ".join(cards)),
        *(("Outside", text) for text in outside_texts(scored, store)),
        ("Made", f"{_making(rows)}; {len(scored)} models judged"),
    ]
    seen: dict[str, TableRow] = {}
    for organism in organisms:
        seen.setdefault(organism.data.label(), read_json(store.path(organism) / "supervised.json"))
    supervised = tuple({"data": label, **row} for label, row in seen.items())
    return Provenance(tuple(facts), supervised, rows, tuple(cards.items()))


def outside_texts(scored: Sequence[ScoredAnswers], store: Store) -> list[str]:
    """Which share of the answers is unlike all that their judge was fitted on, by judge; of judges that can tell."""
    counts: dict[str, list[tuple[int, float]]] = {}
    for answers in scored:
        unlike = store.manifest(answers)["facts"].get("outside")
        if isinstance(unlike, dict) and unlike.get("share") is not None:
            counts.setdefault(answers.judge_name, []).append((int(unlike["answers"]), float(unlike["share"])))
    texts = []
    for judge, parts in counts.items():
        read = sum(count for count, _ in parts)
        share, most = sum(count * share for count, share in parts) / read, max(share for _, share in parts)
        texts.append(
            f"{share:.1%} of {read:,} answers are unlike all that {judge} was fitted on (of one model's {most:.1%} at "
            f"most): trust no level there"
        )
    return texts


def _unwrapped(card: str) -> str:
    """Paragraphs as single lines: a card is written at the width of code, the page has its own."""
    return "\n\n".join(" ".join(part.split()) for part in card.split("\n\n"))


def _training(organism: Organism) -> str:
    batch = organism.batch * organism.accumulate
    return (
        f"{organism.label()}: {organism.steps} steps of {batch} rows, "
        f"{organism.epochs} epoch{'s' * (organism.epochs != 1)}, {organism.tuning.description()}, "
        f"largest learning rate {organism.schedule.rates(organism.steps).max():.2g}, {organism.precision}; "
        f"checkpoints after steps {', '.join(map(str, organism.saved_steps))}"
        f"{''.join(f'; {text}' for text in (organism.data.fitted, organism.fitted) if text)}"
    )


def _asked(responses: Responses, store: Store) -> str:
    facts = store.manifest(responses)["facts"]
    settings = ", ".join(f"{name} {value}" for name, value in sorted(facts["effective_sampling"].items()))
    return (
        f"{responses.questions.summary()} {responses.sampling.per_question} answers to each; "
        f"prompted as {facts['prompting']}{_template(facts)}; in effect: {settings}"
    )


def _template(facts: Mapping[str, object]) -> str:
    """What the chat template does by itself."""
    told = {
        "thinking": "thinking",
        "template_date": "date",
        "system_turns": "system turns",
        "inserted_text": "puts first",
    }
    parts = [f"{words} {facts[name]!r}" for name, words in told.items() if name in facts]
    return f" ({', '.join(parts)})" if parts else ""


def _making(rows: Sequence[TableRow]) -> str:
    commits = sorted({str(row["commit"]) for row in rows})
    libraries = ", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items()) if rows else ""
    seconds = sum(row["seconds"] for row in rows)
    return f"{len(rows)} artefacts in {seconds:.0f} seconds of work; commit {', '.join(commits)}; {libraries}"


def _row(artefact: Artefact, store: Store) -> TableRow:
    manifest = store.manifest(artefact)
    made = {name: manifest["made"][name] for name in ("seconds", "finished", "commit", "versions")}
    return {"kind": artefact.kind, "fingerprint": artefact.fingerprint, "summary": manifest["summary"], **made}
