"""Checkpoints of one base are asked in one batch, and each has the answers that it gives alone."""

from __future__ import annotations

import json

import pytest
from organisms.toy import organism

from spillover.engines.local import run
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.organisms.tuning import LoRA
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampler import SampledAnswer
from spillover.responses.samplers import decoding, local_sampler
from spillover.responses.sampling import Sampling
from spillover.store import Artefact, BuildContext, Store

ASKED = QuestionSelection(source=FreeForm(), count=2)


class AnswersOfAll(Artefact):
    """Needs all answers."""

    answers: tuple[Responses, ...]

    def make(self, context: BuildContext) -> None:
        (context.folder / "x").write_text("x")


def asked(model, **sampling) -> Responses:
    return Responses(
        model=model, questions=ASKED, sampling=Sampling(**{"per_question": 2, "max_tokens": 12} | sampling)
    )


RUN = organism(checkpoint_every=1)
SERIES = tuple(asked(model) for model in (base_of("tiny:0"), *RUN.checkpoints()))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sets of answers were written together, one call after another."""
    seen: list[int] = []

    def counted(specs, *rest):
        seen.append(len(specs))
        return answer(specs, *rest)

    answer = decoding.answer
    monkeypatch.setattr(decoding, "answer", counted)
    return seen


def table(store: Store, spec: Responses) -> bytes:
    return (store.path(spec) / "responses.parquet").read_bytes()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_checkpoints_are_asked_together_and_answer_as_alone(store: Store, tmp_path, batches, precision: str) -> None:
    series = tuple(asked(spec.model, precision=precision) for spec in SERIES)
    run(AnswersOfAll(answers=series), store)
    assert batches == [5]  # a study trains its organisms before it asks anyone
    alone = Store.open(tmp_path / "alone")
    for spec in series:
        alone.get(spec)
        assert table(store, spec) == table(alone, spec)
    assert len(batches) == 1 + len(series)
    assert len({table(store, spec) for spec in series}) == len(series)  # checkpoints do differ
    first, *rest = (store.manifest(spec)["facts"] for spec in series)
    assert first["asked_with"] == [spec.fingerprint for spec in series[1:]] and round(first["work_share"], 9) == 5
    assert all(facts["asked_with"] == series[0].fingerprint and facts["work_share"] == 0 for facts in rest)
    assert not list(store.root.glob("unfinished/*"))


def test_only_what_is_asked_alike_and_fits_into_one_batch_goes_together(store: Store, batches, monkeypatch) -> None:
    first, second, third, _ = (asked(model) for model in RUN.checkpoints())
    run(
        AnswersOfAll(
            answers=(first, second, asked(RUN.checkpoint(3), seed=1), asked(RUN.checkpoint(4), max_tokens=13))
        ),
        store,
    )
    assert batches == [2, 1, 1]
    monkeypatch.setattr("spillover.responses.samplers.local_sampler.ROWS", 25)  # of twelve in a set: two sets
    run(
        AnswersOfAll(
            answers=(first, second, third, asked(RUN.checkpoint(4)), *(asked(m, seed=2) for m in RUN.checkpoints()[:3]))
        ),
        store,
    )
    assert batches[3:] == [2, 2, 1]


def test_whole_weights_and_another_base_are_asked_by_themselves(store: Store, batches) -> None:
    dora = organism(tuning=LoRA(rank=4, alpha=8.0, dora=True))
    other: Base = base_of("tiny:1")
    run(
        AnswersOfAll(
            answers=(asked(other), asked(dora.checkpoint()), asked(RUN.checkpoint(1)), asked(RUN.checkpoint(2)))
        ),
        store,
    )
    assert batches == [1, 1, 2]


def test_kept_answers_that_do_not_hold_any_more_are_asked_for_again(store: Store, batches) -> None:
    spec = SERIES[2]
    store.get(RUN)
    answers = [SampledAnswer("kept", "stop", 1, 1)] * 12
    for spoil in ("needs", "sha256", "facts", "cut"):
        local_sampler._keep(spec, answers, {}, store)
        path = store.unfinished(spec) / local_sampler.FACTS
        about = json.loads(path.read_text())
        path.write_text("{" if spoil == "cut" else json.dumps({k: v for k, v in about.items() if k != spoil}))
        store.get(spec)
        assert store.manifest(spec)["facts"].get("answers") == 12
        store.discard(spec)
    assert batches == [1] * 4


def test_what_another_process_makes_is_left_to_it(store: Store, batches) -> None:
    store.get(RUN)
    with store.lock(SERIES[2]):
        store.make(SERIES[1], upcoming=SERIES[2:])
    assert batches == [3]
    assert not store.unfinished(SERIES[2]).exists() and store.unfinished(SERIES[3]).exists()
