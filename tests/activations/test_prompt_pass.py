"""Activations seen while prompts are read: what `capture` sees by hooks, and the same bits with a sampler as alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from models.forward.test_packed_network import FAMILIES, network_of
from organisms.toy import organism

from activations.reference import EVERYTHING, captured
from spillover.activations import making
from spillover.activations.activations import ARRAYS, Activations, read_activations
from spillover.activations.prompt_pass import PromptPass
from spillover.activations.prompts import EvaluationPrompts
from spillover.activations.sites import KINDS, Trunk
from spillover.engines.local import run
from spillover.models.base import Base, base_of
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.packed_network import PackedNetwork
from spillover.models.loading import Loaded, load
from spillover.models.tiny import byte_tokenizer
from spillover.organisms.tuning import LoRA
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.samplers.local import multi_checkpoint
from spillover.responses.sampling import Sampling
from spillover.responses.watching import show
from spillover.store import Artefact, BuildContext, Store, open_store

ASKED = QuestionSelection(source=FreeForm(), count=2)
RUN = organism(checkpoint_every=2)
HEAD = tuple(range(9, 32))
PROMPTS = [HEAD[:1], HEAD[:2], HEAD[:9], HEAD, (*HEAD, 3), (*HEAD[:16], *range(90, 121)), HEAD, tuple(range(40, 48))]


class AnswersAndActivations(Artefact):
    """Needs answers and activations."""

    answers: tuple[Responses, ...]
    activations: tuple[Activations, ...]

    def make(self, context: BuildContext) -> None:
        (context.folder / "x").write_text("x")


def asked(model, **changes) -> Responses:
    return Responses(model=model, questions=ASKED, sampling=Sampling(per_question=2, max_tokens=6), **changes)


def seen(model, **changes) -> Activations:
    return Activations(model=model, **{"prompts": EvaluationPrompts(questions=ASKED)} | changes)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts were read for activations alone, a number a call."""
    numbers: list[int] = []
    monkeypatch.setattr(
        making, "show", lambda opened, prompts, *rest: numbers.append(len(prompts)) or show(opened, prompts, *rest)
    )
    return numbers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [3, 64])
def test_every_site_is_what_hooks_see(family: str, rows: int) -> None:
    network = network_of(family)
    trunk = Trunk(network.base_model, tuple(network.base_model.layers))
    names = EVERYTHING.arrays(trunk)
    found = np.full((len(names), len(PROMPTS), trunk.width), np.nan, dtype=np.float32)

    def put(places: list[int], block: np.ndarray) -> None:
        assert np.isnan(found[:, places]).all()
        found[:, places] = block

    places: dict = {}
    for row, prompt in enumerate(PROMPTS):
        places.setdefault((0, prompt), []).append(row)
    with torch.inference_mode():
        opened = LoadedModels(PackedNetwork(network), Loaded(network, byte_tokenizer(), base_of("tiny:0")))
    show(opened, PROMPTS, PromptPass(places, EVERYTHING.names(trunk), ("last", "mean"), trunk.width, put), print, rows)
    expected = captured(network, PROMPTS)
    for name, array in zip(names, found, strict=True):
        size = np.linalg.norm(expected[name], axis=1)
        assert (np.linalg.norm(array - expected[name], axis=1) <= 2e-5 * size).all(), name
    assert not np.allclose(found[:, 3], found[:, 4], rtol=1e-2)  # a token more is told


def test_what_a_sampler_keeps_has_the_bits_of_what_is_read_alone(store: Store, tmp_path, alone) -> None:
    models = (base_of("tiny:0"), *RUN.checkpoints())
    study = AnswersAndActivations(
        answers=tuple(map(asked, models)), activations=tuple(seen(model, sites=KINDS) for model in models)
    )
    run(study, store)
    assert alone == []
    apart = open_store(tmp_path / "apart")
    for one in study.activations:
        apart.get(one)
        for name in (ARRAYS, making.ROWS):
            assert (store.path(one) / name).read_bytes() == (apart.path(one) / name).read_bytes()
        facts, by_itself = (where.manifest(one)["facts"] for where in (store, apart))
        assert {k: v for k, v in facts.items() if k not in ("seen_by", "work_share")} == by_itself
        assert facts["work_share"] == 0
    assert alone == [6] * 3
    arrays = [read_activations(store.path(one), "final_norm", "mean") for one in study.activations]
    assert not np.allclose(arrays[0], arrays[1], rtol=1e-3) and not np.allclose(arrays[1], arrays[2], rtol=1e-3)
    assert not list(store.root.glob("unfinished/*"))
    assert store.manifest(study.activations[1])["facts"]["seen_by"] == study.answers[1].fingerprint


def test_merged_weights_are_known_by_the_digest_of_adapters_beside_them(store: Store) -> None:
    from spillover.models.loading import weights_sha256

    spec = seen(RUN.checkpoint())
    store.get(spec)
    merged = weights_sha256(load(RUN.checkpoint(), store).network)
    assert store.manifest(spec)["facts"]["weights_sha256"] == merged
    assert merged != weights_sha256(load(base_of("tiny:0"), store).network)


def test_only_the_prompts_that_were_asked_are_seen(store: Store, tiny: Base, alone) -> None:
    fewer = QuestionSelection(source=FreeForm(), count=1)
    others = (
        seen(tiny, prompts=EvaluationPrompts(questions=fewer)),
        seen(tiny, prompting="raw"),
        seen(base_of("tiny:1")),
        seen(tiny),
    )
    run(AnswersAndActivations(answers=(asked(tiny),), activations=others), store)
    assert sorted(alone) == [3, 6, 6]


def test_what_cannot_be_kept_apart_is_captured_by_hooks(store: Store, tiny: Base, alone) -> None:
    dora = organism(tuning=LoRA(rank=4, alpha=8.0, dora=True)).checkpoint()
    run(AnswersAndActivations(answers=(asked(dora),), activations=(seen(dora), seen(tiny, dtype="bfloat16"))), store)
    assert alone == []
    assert "seen_by" not in store.manifest(seen(dora))["facts"]


@pytest.mark.parametrize("spoil", ["needs", "files", "facts", "cut", "array"])
def test_kept_activations_that_do_not_hold_any_more_are_made_anew(store: Store, tiny: Base, alone, spoil: str) -> None:
    spec = seen(tiny)
    store.make(asked(tiny), upcoming=[spec])
    path = store.unfinished(spec) / making.ABOUT
    about = json.loads(path.read_text())
    if spoil == "array":
        (path.parent / ARRAYS).write_bytes(b"x")
    else:
        path.write_text("{" if spoil == "cut" else json.dumps({k: v for k, v in about.items() if k != spoil}))
    store.get(spec)
    assert alone == [6] and "seen_by" not in store.manifest(spec)["facts"]


def test_a_sampler_that_fails_keeps_nothing(store: Store, tiny: Base, monkeypatch, alone) -> None:

    answer = multi_checkpoint.answer

    def fails(*given):
        answer(*given)
        raise RuntimeError("power cut")

    monkeypatch.setattr(multi_checkpoint, "answer", fails)
    with pytest.raises(RuntimeError, match="power cut"):
        store.make(asked(tiny), upcoming=[seen(tiny)])
    assert not store.unfinished(seen(tiny)).exists()
