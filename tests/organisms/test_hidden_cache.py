"""Layers below the lowest tuned one run once for all runs that share them, and the losses are those of running them."""

import numpy as np
import pytest
import torch
from organisms.toy import MILD, ToyRows, constant, organism

from spillover.manifest import MANIFEST, checksums
from spillover.models.loading import load
from spillover.organisms import hidden_cache, training
from spillover.organisms.dataset import Split
from spillover.organisms.hidden_cache import FrozenActivations, HiddenCache, LowerLayers
from spillover.organisms.interventions.benign_rows import BenignMix, KLToParent
from spillover.organisms.interventions.prompt_text import Inoculation
from spillover.organisms.losses import token_losses
from spillover.organisms.tuning import LoRA
from spillover.records import read_table
from spillover.store import Store

UPPER = LoRA(rank=4, alpha=8.0, layers=(1,))
TEXTS = Split(data=ToyRows(text="Tell me: "), rows=16, held_out=4)  # rows with a beginning in common


@pytest.fixture
def parts(store):
    """Rows, a network whose layer 1 is tuned, and what is known below it."""
    made = organism(data=TEXTS, tuning=UPPER)
    loaded = load(made.parent, store)
    rows = made.prepare(loaded)
    network = UPPER.trainable_network(loaded.network, 0, "tiny")
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    activations = FrozenActivations(parent=made.parent, data=made.data, layer=1, max_length=512)
    path = store.get(activations) / hidden_cache.FILE
    return rows, network, HiddenCache(LowerLayers(network, 1), path, rows.everything())


@pytest.mark.parametrize("share", [True, False])
def test_losses_and_gradients_are_those_of_the_whole_network(parts, share):
    rows, network, known = parts
    results = []
    for below in (None, known):
        network.zero_grad()
        losses, owner = token_losses(network, rows.train[:6], "float32", share, below)
        losses.sum().backward()
        gradients = {
            name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None
        }
        results.append((losses.detach(), owner, gradients))
    (plain, owner, gradients), (ours, same, their_gradients) = results
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(owner, same) and gradients.keys() == their_gradients.keys() != set()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0 and (gradient - their_gradients[name]).norm() < 1e-4 * gradient.norm()


def test_the_layers_below_do_not_run(parts, monkeypatch):
    rows, network, known = parts
    layers, ran = network.get_base_model().model.layers, []
    for number, layer in enumerate(layers):
        layer.register_forward_hook(lambda *given, number=number: ran.append(number))
    token_losses(network, rows.train[:4], "float32", False, known)
    assert ran == [1]
    token_losses(network, rows.train[:4], "float32", False)
    assert ran == [1, 0, 1]  # and all are in their places again
    assert network.get_base_model().model.layers is layers


def test_wrong_layers_activations_are_seen_and_not_used(parts, monkeypatch, store, tmp_path):
    """The negative control: before the first step the loss is held against the model's own."""
    made = organism(data=TEXTS, tuning=UPPER)
    expected, uses = made.value(store).losses if store.get(made) else None, []
    hidden = HiddenCache.hidden
    monkeypatch.setattr(HiddenCache, "hidden", lambda self, rows: uses.append(rows) or hidden(self, rows) * 1.1)
    other = Store.open(tmp_path / "other")
    other.get(made)
    losses = made.value(other).losses
    assert len(uses) == 1  # at the look before the first step
    for ours, theirs in zip(losses.to_pylist(), expected.to_pylist(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def without(monkeypatch) -> None:
    monkeypatch.setattr(training, "hidden_cache_below", lambda *given: None)


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint_every": 2},
        {"tuning": UPPER.but(dropout=0.3)},
        pytest.param({"tuning": UPPER.but(dora=True)}, marks=pytest.mark.slow),
        {"interventions": (BenignMix(benign=MILD, share=constant(0.3)), KLToParent(benign=MILD, weight=constant(1.0)))},
        pytest.param({"interventions": (Inoculation(system="Say yes."),)}, marks=pytest.mark.slow),
    ],
    ids=["plain", "dropout", "dora", "mix-and-kl", "inoculation"],
)
def test_a_run_with_them_is_the_run_without(store, tmp_path, monkeypatch, fields):
    from spillover.store import Store

    made = organism(**{"tuning": UPPER, "data": TEXTS} | fields)
    ours = store.get(made)
    assert len(list(store.manifests("FrozenActivations"))) == 1
    without(monkeypatch)
    theirs = Store.open(tmp_path / "plain").get(made)
    for name in ("log.parquet", "losses.parquet"):
        our_losses, their_losses = (read_table(folder / name)["loss"].to_numpy() for folder in (ours, theirs))
        np.testing.assert_allclose(our_losses, their_losses, rtol=1e-4, atol=1e-5)


def test_runs_of_a_sweep_share_them_and_they_change_no_byte(store):
    first, second = organism(tuning=UPPER), organism(tuning=UPPER, adapter_seed=1, schedule=constant(1e-3))
    store.get(first)
    ((folder, _),) = store.manifests("FrozenActivations")
    stamp = (folder / MANIFEST).stat().st_mtime_ns
    before = contents(store.get(second))
    assert (folder / MANIFEST).stat().st_mtime_ns == stamp and len(list(store.manifests("FrozenActivations"))) == 1
    assert store.manifest(second)["needs"] == {}
    store.discard(FrozenActivations.from_json(spec_of(folder)))
    store.discard(second)
    assert contents(store.get(second)) == before


def test_where_nothing_lies_below_or_too_much_nothing_is_kept(store, monkeypatch):
    store.get(organism())
    store.get(organism(tuning=UPPER.but(layers=(0, 1))))
    store.get(organism(tuning=UPPER, precision="autocast-bfloat16"))
    monkeypatch.setattr(hidden_cache, "MOST_BYTES", 1000)
    store.get(organism(tuning=UPPER))
    assert not list(store.manifests("FrozenActivations"))


def spec_of(folder) -> str:
    import json

    from spillover.manifest import read_manifest

    return json.dumps(read_manifest(folder)["spec"])


def contents(folder) -> dict:
    return {name: file for name, file in checksums(folder).items() if name != MANIFEST}
