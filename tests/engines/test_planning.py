"""What a sweep costs before it starts: tokens by kind, disk by what is there, paid judges at the longest answers."""

from __future__ import annotations

import pytest
from organisms.toy import organism

from spillover.engines.local import run
from spillover.engines.planning import CostEstimates, KindTotal, by_kind, paid_work, plan
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Artefact, BuildContext, Store, artefacts_in

RUN = organism(checkpoint_every=2)
SAMPLING = Sampling(per_question=2, max_tokens=10)
ASKED = tuple(
    Responses(model=model, questions=QuestionSelection(source=FreeForm(), count=2), sampling=SAMPLING)
    for model in RUN.checkpoints()
)


class PricedStudy(Artefact):
    """Needs all judgements."""

    scores: tuple[Judgements, ...]

    def make(self, context: BuildContext) -> None:
        (context.folder / "x").write_text("x")


def sweep(judge) -> PricedStudy:
    return PricedStudy(scores=tuple(Judgements(responses=responses, judge=judge) for responses in ASKED))


def totals(study: Artefact, store: Store) -> list[KindTotal]:
    rates = CostEstimates(store)
    return by_kind(plan(study, store, rates), rates)


def test_tokens_and_counts_are_those_of_what_is_missing(store: Store) -> None:
    study = sweep(Embedded())
    lines = {line.kind: line for line in totals(study, store)}
    assert list(lines) == ["Organism", "Responses", "Judgements", "PricedStudy"]
    assert (lines["Responses"].missing, lines["Responses"].whole, lines["Responses"].tokens) == (2, 2, 2 * 6 * 2 * 10)
    assert lines["Organism"].tokens == 16 * 130 and lines["Judgements"].tokens == 0
    assert all(line.bytes is None for line in lines.values())
    run(ASKED[0], store)
    lines = {line.kind: line for line in totals(study, store)}
    assert "Organism" not in lines
    assert (lines["Responses"].missing, lines["Responses"].whole) == (1, 2)
    size = sum(path.stat().st_size for path in store.path(ASKED[0]).iterdir() if path.name != "manifest.json")
    assert lines["Responses"].bytes == pytest.approx(size)
    run(study, store)
    assert totals(study, store) == [] and paid_work(plan(study, store), store) == []


def test_all_is_trained_before_anybody_is_asked_so_that_all_are_asked_together(store: Store) -> None:
    runs = [RUN, RUN.seeded(1)]
    asked = [ASKED[0].but(model=run.checkpoint()) for run in runs]
    study = PricedStudy(scores=tuple(Judgements(responses=responses, judge=Embedded()) for responses in asked))
    order = [step.artefact for step in plan(study, store)]
    assert order[:2] == runs and set(order) == set(artefacts_in(study)) and order[-1] == study
    assert all(order.index(need) < order.index(artefact) for artefact in order for need in artefact.needs())
    run(study, store)
    assert store.manifest(asked[1])["facts"]["asked_with"] == asked[0].fingerprint


def test_a_paid_judge_is_priced_before_there_is_an_answer(store: Store) -> None:
    judge = Endpoint(model="m", price_in=2.0, price_out=8.0)
    (line,) = paid_work(plan(sweep(judge), store), store)
    calls = 2 * 12 * len(judge.metrics)
    assert f"{calls:,} calls to " in line and "to pay" in line
    assert paid_work(plan(sweep(Embedded()), store), store) == []  # costs nothing
    longer = Judgements(responses=ASKED[0].but(sampling=SAMPLING.but(max_tokens=500)), judge=judge)
    assert tokens_to_read(plan(longer, store), store) > tokens_to_read(plan(sweep(judge), store), store)


def test_a_sweep_asked_alike_is_priced_as_one_by_one(store: Store) -> None:
    """Counted once and multiplied; tokens are those of every judgement by itself, added up."""
    judge = Endpoint(model="m", price_in=2.0, price_out=8.0)
    parts = [Judgements(responses=responses, judge=judge) for responses in ASKED]
    longer = Judgements(responses=ASKED[0].but(sampling=SAMPLING.but(max_tokens=500)), judge=judge)
    tokens, longer_tokens, all_ = (
        tokens_to_read(plan(PricedStudy(scores=tuple(some)), store), store)
        for some in (parts[:1], [longer], [*parts, longer])
    )
    assert all_ == 2 * tokens + longer_tokens and longer_tokens > tokens


def tokens_to_read(steps, store: Store) -> int:
    (line,) = paid_work(steps, store)
    return int(line.split(" tokens to read")[0].split("about ")[-1].replace(",", ""))


def test_disk_goes_by_artefacts_of_like_size_alone(store: Store, tiny) -> None:
    run(RUN, store)
    more = organism(order_seed=1)
    large = more.but(parent=tiny.but(parameters=7_000_000_000))
    (like,), (unlike,) = (totals(study, store) for study in (more, large))
    assert like.bytes and unlike.bytes is None
