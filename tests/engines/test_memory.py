"""Memory that a study takes, said and refused before anything starts; the formula against measured peaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from organisms.toy import organism
from responses.samplers.test_multi_checkpoint import asked

from spillover.engines import memory
from spillover.engines.local import run
from spillover.engines.memory import needs, sizes_of
from spillover.engines.planning import plan
from spillover.models.pretrained import outline_from
from spillover.models.tiny import write_tiny
from spillover.organisms.tuning import Full
from spillover.responses.likelihoods import Likelihoods
from spillover.store import Store


def bytes_of(store: Store, spec) -> int:
    (need,) = (need for need in needs(plan(spec, store)) if need.step.artefact == spec)
    return need.bytes


def test_what_takes_more_needs_more(store: Store) -> None:
    plain = organism(max_length=64)
    plain.parent.source.folder()
    first = bytes_of(store, plain)
    assert bytes_of(store, plain.but(precision="bfloat16")) < first
    assert bytes_of(store, plain.but(max_length=256)) > first
    assert bytes_of(store, plain.but(tuning=Full())) > first
    answers = asked(plain.checkpoint())
    assert bytes_of(store, answers) < bytes_of(store, asked(plain.checkpoint(), max_tokens=500))
    assert bytes_of(store, Likelihoods(model=plain.parent, answers=answers)) >= bytes_of(store, answers)


def test_what_does_not_fit_is_refused_before_anything_starts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 590_000_000)
    spec = organism()
    expected = r"takes about 0\.6 GB of main memory; there are 0\.6 GB: --precision bfloat16 .*bits=4.*fewer layers"
    with pytest.raises(ValueError, match=expected):
        run(spec, store)
    assert not store.path(spec).exists()
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**12)
    run(spec, store)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1)
    run(spec, store)  # what is there takes nothing


def test_sizes_are_those_of_the_network(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0)
    outline = outline_from(tmp_path)
    sizes = sizes_of(outline)
    assert sizes.parameters == sum(weight.numel() for weight in outline.parameters())
    assert sizes.largest == outline.lm_head.weight.numel()
    assert sizes.cached == 2 * 2 * 2 * 8  # keys and values, layers, heads, width


def test_a_container_has_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "memory.max")
    assert memory.memory_bytes() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.memory_bytes() > 10**8
