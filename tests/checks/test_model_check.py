"""The checks of a model: all well on a whole one, and each thing that is broken turns its own line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models.families import network_of
from organisms.published_folders import lora, published

from spillover.checks import behaviour, model_check, structure
from spillover.checks.model_check import Finding, checks, first_looks, look_at
from spillover.checks.subject import Subject
from spillover.models import chat_template
from spillover.models.base import Base
from spillover.models.catalogue import base_of
from spillover.models.forward import load_models
from spillover.models.pretrained import tokenizer_from
from spillover.models.sources import model_cache
from spillover.models.tiny import byte_tokenizer
from spillover.organisms.published import published_organism
from spillover.responses.samplers import decoding
from spillover.store import Store


def findings(model: Any, store: Store, only_quick: bool = False) -> dict[str, Finding]:
    return {finding.check: finding for finding in look_at(model, store, only_quick)}


def wrong(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.detail for name, finding in found.items() if not finding.ok}


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Base]:
    """The tiny model in a folder of its own, with fields of its tokenizer's settings or its template changed."""

    def make(template: str | None = None, **settings: Any) -> Base:
        folder = tmp_path / "copied"
        shutil.copytree(base_of("tiny:0").source.folder(), folder)
        path = folder / "tokenizer_config.json"
        kept = json.loads(path.read_text()) | settings
        path.write_text(json.dumps({name: value for name, value in kept.items() if value is not None}))
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        return base_of(f"{folder}#instruct")

    return make


def test_a_whole_model_is_well_in_every_line(tiny: Base, store: Store) -> None:
    found = findings(tiny, store)
    assert wrong(found) == {}
    assert [*found] == ["files", *(check.name for check in checks())]
    assert "8 of 8 greedy answers" in found["answers"].detail and "takes the loss from" in found["training"].detail
    assert "q_proj x 2" in found["LoRA attention"].detail and "2 layers, width 32, 4 heads" in found["layers"].detail
    assert "training 0.6 GB, answers 0.6 GB" in found["memory"].detail and "GB here" in found["memory"].detail
    assert "takes system turns" in found["template"].detail and "'<|end|>' (257)" in found["end marks"].detail


def test_it_is_looked_at_in_bfloat16_where_that_is_asked_for_or_has_room_alone(
    tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {finding.check: finding for finding in look_at(tiny, store, precision="bfloat16")}
    assert wrong(found) == {} and "loaded as bfloat16" in found["weights"].detail
    subject = Subject(tiny, store)
    numbers = sum(weight.numel() for weight in subject.empty.parameters())
    monkeypatch.setattr("spillover.checks.subject.memory_bytes", lambda: 6 * numbers)
    assert subject.dtype == "bfloat16" and subject.loaded.network.dtype == torch.bfloat16
    monkeypatch.setattr("spillover.checks.subject.memory_bytes", lambda: 3 * numbers)
    assert "not enough memory here" in wrong(findings(tiny, store))["weights"]


def test_weights_that_bfloat16_spoils_are_told(tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probabilities in it that are far from float32's: half of the weights' digits lost, say."""
    monkeypatch.setattr("spillover.models.precision.multiplies_bfloat16", lambda device: True)
    subject = Subject(tiny, store)
    assert "nats from float32's" in behaviour.in_bfloat16(subject)
    own = load_models.load_alone

    def spoilt(model: Base, store: Store, dtype: Any) -> Any:
        opened = own(model, store, dtype)
        whole = type(opened.network).all_logits
        monkeypatch.setattr(type(opened.network), "all_logits", lambda *given: 3 * whole(*given))
        return opened

    monkeypatch.setattr(load_models, "load_alone", spoilt)
    with pytest.raises(ValueError, match="give --precision float32"):
        behaviour.in_bfloat16(subject)


def test_what_adapters_cannot_sit_on_is_said(tmp_path: Path, store: Store) -> None:
    """Shared experts go by names that peft takes for those of the routed ones."""
    network_of("deepseek_v3").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    line = structure.lora(Subject(base_of(f"{tmp_path}#instruct"), store), "all")
    assert "without mlp" in line and "shared_experts.up_proj" in line and "takes for the routed experts'" in line


def test_an_organism_of_others_is_looked_at_too(tmp_path: Path, tiny: Base, store: Store) -> None:
    published(tmp_path / "bad", lora(modules_to_save=["embed_tokens", "lm_head"]), tokens=("<one>",))
    model = published_organism(f"adapter:{tmp_path / 'bad'}", tiny)
    assert wrong(findings(model, store)) == {}


PLAIN = "{% for m in messages %}<|start|>{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
BROKEN = {
    "no sense": ("{% for m in messages %}{{ m['content'] }", "template"),
    "no users": (
        "{% for m in messages if m['role'] != 'user' %}{{ m['content'] }}<|end|>{% endfor %}",
        "leaves out what the user says",
    ),
    "no prompt": (PLAIN + "{% if add_generation_prompt %}<|start|>now answer:{% endif %}", "cannot be told"),
    "no mark": ("{% for m in messages %}{{ m['content'] }} {% endfor %}", "puts no mark after an answer"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_template_is_told(what: str, copied: Callable[..., Base], store: Store) -> None:
    template, told = BROKEN[what]
    found = wrong(findings(copied(template), store, only_quick=True))
    assert told in found["template"]
    assert set(found) <= {"template", "end marks", "pad and beginning"}  # those that need a prompt


def test_a_missing_end_is_told(copied: Callable[..., Base], store: Store) -> None:
    bare = copied("{% for m in messages %}{{ m['content'] }} {% endfor %}", eos_token=None)
    found = wrong(findings(bare, store, only_quick=True))
    assert "no end token" in found["end marks"] and "tokenizer_config.json" in found["end marks"]


def test_a_templates_own_mark_ends_answers_and_system_turns_are_folded(
    copied: Callable[..., Base], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = "{% for m in messages if m['role'] != 'system' %}<|start|>{{ m['content'] }}</turn>{% endfor %}"
    monkeypatch.setattr(chat_template, "_told", {turns})
    found = findings(copied(turns, eos_token=None), store, only_quick=True)
    assert wrong(found) == {} and "with the text '</turn>'" in found["end marks"].detail
    assert "folded into the user's" in found["template"].detail


def test_tokens_without_embeddings_are_told(tmp_path: Path, tiny: Base, store: Store) -> None:
    """An adapter whose tokenizer has a token more, and whose embedding of it was never saved."""
    published(tmp_path / "bad", lora())
    tokenizer = tokenizer_from(tiny.source.folder())
    tokenizer.add_tokens(["<turn>"])
    tokenizer.chat_template = tokenizer.chat_template.replace("<|start|>", "<turn>")
    tokenizer.save_pretrained(tmp_path / "bad")
    found = wrong(findings(published_organism(f"adapter:{tmp_path / 'bad'}", tiny), store, only_quick=True))
    assert "gives token 258 ('<turn>'), the model has 258 embeddings" in found["pad and beginning"]


@pytest.mark.parametrize("order", [(1, 0, 1), (1, 2, 2), (0, 0, 2), (0, 1, 1)])
def test_hidden_states_that_lie_elsewhere_are_told(
    order: tuple[int, ...], tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(tiny, store)
    forward = subject.loaded.network.forward

    def moved(*given: Any, **options: Any) -> Any:
        output = forward(*given, **options)
        if output.hidden_states is not None:
            output.hidden_states = tuple(output.hidden_states[place] for place in order)
        return output

    assert "2 layers" in behaviour.captured_states(subject)
    monkeypatch.setattr(subject.loaded.network, "forward", moved)
    with pytest.raises(ValueError, match=r"(embed|resid_post.\d\d|final_norm) differs from output_hidden_states by"):
        behaviour.captured_states(subject)


def test_answers_that_are_not_those_of_generate_are_told(
    tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = decoding.pick

    def second_best(logits: torch.Tensor, *rest: Any) -> torch.Tensor:
        return own(logits.scatter(1, logits.argmax(1, keepdim=True), float("-inf")), *rest)

    monkeypatch.setattr(decoding, "pick", second_best)
    found = wrong(findings(tiny, store))
    assert [*found] == ["answers"] and "where generate writes" in found["answers"]


def test_answers_that_change_with_their_batch_are_told(
    tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = behaviour._answers
    monkeypatch.setattr(
        behaviour, "_answers", lambda subject, prompts, heat, tokens: own(subject, prompts, heat * len(prompts), tokens)
    )
    with pytest.raises(ValueError, match="answers are others when asked alone"):
        behaviour.batched_as_alone(Subject(tiny, store))


def test_whatever_is_raised_is_a_line(tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(subject: Subject) -> str:
        raise KeyError("rope_theta")

    monkeypatch.setattr(behaviour, "own_loss", broken)
    found = wrong(findings(tiny, store))
    assert [*found] == ["loss"] and found["loss"].startswith("KeyError: 'rope_theta'; this stage does not know")


def test_files_that_cannot_be_opened_are_one_line(copied: Callable[..., Base], store: Store) -> None:
    base = copied()
    (Path(base.source.path) / "config.json").write_text("{}")
    found = list(look_at(base_of(f"{base.source.path}#instruct"), store))
    assert [finding.ok for finding in found] == [False] and "cannot be read" in found[0].detail


def test_a_model_is_looked_at_once(copied: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    base = copied("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    (model, found), *rest = first_looks(base)
    assert model == base and not rest and not all(finding.ok for finding in found)
    assert not [*first_looks(base)]
    (record,) = (model_cache().root / "checked").glob(f"{base.fingerprint}-*.json")
    assert {"check", "ok", "detail"} == set(json.loads(record.read_text())[0])
    monkeypatch.setattr(model_check, "VERSION", 99)
    assert [*first_looks(base)]


def test_a_model_that_does_not_fit_is_said_with_its_numbers(
    tiny: Base, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spillover.engines.memory.memory_bytes", lambda: 500_000_000)
    problem = wrong(findings(tiny, store, only_quick=True))["memory"]
    assert "takes about 0.6 GB" in problem and "there are 0.5 GB" in problem
