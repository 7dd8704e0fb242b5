"""Adapters as others load them: peft on the base, and one over another."""

import pytest
import torch
from organisms.toy import ToyRows, organism
from peft import PeftModel

from spillover.models.loading import load
from spillover.organisms.dataset import Split
from spillover.organisms.training_spec import adapter_folder

PROMPT = torch.tensor([[7, 3, 5, 2, 11, 6, 4]])


def logits(network) -> torch.Tensor:
    with torch.no_grad():
        return network(input_ids=PROMPT).logits


def test_every_checkpoint_opens_with_peft_and_changes_the_model(store):
    made = organism(checkpoint_every=2)
    folder = store.get(made)
    base = logits(load(made.parent, store).network)
    seen = [base]
    for step in (2, 4):
        network = PeftModel.from_pretrained(load(made.parent, store).network, adapter_folder(folder, step))
        predicted = logits(network)
        assert all((predicted - earlier).abs().max() > 1e-3 for earlier in seen)
        seen.append(predicted)
        ours = logits(load(made.checkpoint(step), store).network)
        torch.testing.assert_close(ours, predicted, atol=1e-4, rtol=1e-4)
        assert {path.name for path in adapter_folder(folder, step).iterdir()} == {
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
        }


def test_an_adapter_says_what_it_lies_over_and_no_machines_path(store):
    made = organism()
    folder = adapter_folder(store.get(made), made.steps)
    card, config = (folder / "README.md").read_text(), (folder / "adapter_config.json").read_text()
    assert "tiny random llama" in card and "PeftModel.from_pretrained" in card and "merge" not in card
    assert '"base_model_name_or_path": "tiny random llama"' in config and '"use_rslora": true' in config
    assert str(store.root) not in card + config


def test_an_organism_of_an_organism(store):
    first = organism(checkpoint_every=2)
    second = organism(data=Split(data=ToyRows(text="And "), rows=16, held_out=4)).but(parent=first.checkpoint(2))
    assert second.needs() == (first,)
    lower, upper = adapter_folder(store.get(first), 2), adapter_folder(store.get(second), second.steps)

    card = (upper / "README.md").read_text()
    assert f"1. `{lower.relative_to(store.root).as_posix()}`" in card and "merge" in card
    network = load(first.parent, store).network  # as the card says
    network = PeftModel.from_pretrained(network, lower).merge_and_unload()
    network = PeftModel.from_pretrained(network, upper)
    ours = logits(load(second.checkpoint(), store).network)
    torch.testing.assert_close(ours, logits(network), atol=1e-4, rtol=1e-4)

    alone = logits(PeftModel.from_pretrained(load(first.parent, store).network, upper))
    assert (alone - ours).abs().max() > 1e-2  # the negative control: without its parent's it is another model
    assert (logits(load(first.checkpoint(2), store).network) - ours).abs().max() > 1e-2


def test_three_deep(store):
    first = organism()
    second = organism(order_seed=1).but(parent=first.checkpoint())
    third = organism(order_seed=2).but(parent=second.checkpoint())
    card = (adapter_folder(store.get(third), third.steps) / "README.md").read_text()
    assert card.index(first.fingerprint) < card.index(second.fingerprint)
    assert len(third.checkpoint().adapters(store)) == 3


def test_making_an_organism_leaves_the_shared_base_as_it_was(store):
    made = organism()
    before = logits(load(made.parent, store).network)
    store.get(made)
    assert torch.equal(logits(load(made.parent, store).network), before)


@pytest.mark.parametrize("precision", ["float32", "autocast-bfloat16"])
def test_weights_are_kept_in_float32(store, precision):
    from safetensors.torch import load_file

    made = organism(precision=precision)
    weights = load_file(adapter_folder(store.get(made), made.steps) / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
