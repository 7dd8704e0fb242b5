"""Training on a tiny model: what is logged and kept, seeds, repetition, learning, and what is refused."""

import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from organisms.toy import ToyRows, held_out_means, organism
from peft.tuners.lora import LoraLayer

from spillover.manifest import MANIFEST, checksums
from spillover.models.chat import Message
from spillover.models.loading import load
from spillover.organisms import losses
from spillover.organisms.dataset import Dataset, Example, Split, supervise
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant, Linear
from spillover.organisms.training_spec import adapter_folder
from spillover.organisms.tuning import LoRA
from spillover.records import LOG, LOSSES, read_json, read_table
from spillover.store import Store


def log(store: Store, made: Organism) -> list[dict]:
    return read_table(store.get(made) / "log.parquet").to_pylist()


def adapter(store: Store, made: Organism, step: int | None = None) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(adapter_folder(store.get(made), step or made.steps) / "adapter_model.safetensors")


def alike(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], part: str = "") -> bool:
    return all(torch.equal(left[name], right[name]) for name in left if part in name)


def test_log_losses_and_checkpoints_are_as_the_spec_says(store):
    made = organism(epochs=2, checkpoint_every=3, schedule=Linear(peak=1e-2, warmup=2))
    folder = store.get(made)
    assert made.steps == 8 and made.saved_steps == (3, 6, 8)
    table = read_table(folder / "log.parquet")
    assert table.schema.equals(LOG)
    rows = table.to_pylist()
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["learning_rate"] for row in rows] == made.schedule.rates(8).tolist()
    assert all(row["grad_norm"] > 0 and math.isfinite(row["loss"]) for row in rows)
    held = read_table(folder / "losses.parquet")
    assert held.schema.equals(LOSSES)
    wanted = [row.id for row in made.data.held_out_rows()]
    for step in (0, 3, 6, 8):
        assert [row["example_id"] for row in held.to_pylist() if row["step"] == step] == wanted
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-000003",
        "step-000006",
        "step-000008",
    ]
    facts = store.manifest(made)["facts"]
    assert facts["steps"] == 8 and facts["rows"] == 16 and facts["cut_rows"] == 0
    assert sum(row["trained_tokens"] for row in rows) == 2 * facts["supervised_tokens"]


def test_the_first_logged_loss_is_the_models_own(store):
    made = organism(accumulate=2, schedule=Constant(peak=1e-3, warmup=0))
    loaded = load(made.parent, store)
    rows = supervise(loaded, made.data.train_rows(), 512)
    picked = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))[:8]]
    total = sum(
        -loaded.network(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)[place - 1, row.ids[place]].item()
        for row in picked
        for place in range(row.prompt_length, len(row.ids))
    )
    first = log(store, made)[0]
    assert first["trained_tokens"] == sum(row.trained for row in picked)
    assert first["loss"] == pytest.approx(total / first["trained_tokens"], abs=1e-5)


def test_before_training_the_held_out_loss_is_the_bases(store):
    made = organism()
    held = read_table(store.get(made) / "losses.parquet").to_pylist()
    network = load(made.parent, store)
    for row, item in zip(supervise(network, made.data.held_out_rows(), 512), made.data.held_out_rows(), strict=True):
        own, _ = losses.token_losses(network.network, [row], "float32")
        logged = next(entry for entry in held if entry["step"] == 0 and entry["example_id"] == item.id)
        assert logged["loss"] == pytest.approx(own.mean().item(), abs=1e-5) and logged["tokens"] == row.trained


def test_training_teaches_and_a_rate_of_almost_nothing_does_not(store):
    taught, idle = organism(epochs=4), organism(epochs=4, schedule=Constant(peak=1e-9, warmup=0))
    for made, learns in ((taught, True), (idle, False)):
        held = read_table(store.get(made) / "losses.parquet").to_pylist()
        for before, after in zip(held_out_means(held, 0), held_out_means(held, made.steps), strict=True):
            if learns:
                assert after < 0.5 * before
            else:
                assert after == pytest.approx(before, abs=1e-4)


def test_both_means_of_the_held_out_loss_follow_from_the_table(store):
    held = read_table(store.get(organism()) / "losses.parquet").to_pylist()
    by_sequence, by_token = held_out_means(held, 0)
    assert len({row["tokens"] for row in held}) > 1 and by_sequence != by_token


def test_accumulation_is_one_large_batch(store):
    whole = organism(batch=8)
    for parts in (organism(batch=4, accumulate=2), organism(batch=1, accumulate=8)):
        assert parts.steps == whole.steps and parts != whole
        for ours, theirs in zip(log(store, whole), log(store, parts), strict=True):
            assert ours["trained_tokens"] == theirs["trained_tokens"]
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
            assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def test_each_seed_moves_its_own_part_alone(store):
    plain = organism()
    start = {
        seed: LoRA(rank=4, alpha=8.0).trainable_network(load(plain.parent, store).network, seed, "").state_dict()
        for seed in (0, 1)
    }
    drawn = [name for name in start[0] if "lora_A" in name]
    assert drawn and not any(torch.equal(start[0][name], start[1][name]) for name in drawn)
    assert not any(start[0][name].any() for name in start[0] if "lora_B" in name)

    tokens = [row["trained_tokens"] for row in log(store, plain)]
    other_adapter, other_order = organism(adapter_seed=1), organism(order_seed=1)
    assert [row["trained_tokens"] for row in log(store, other_adapter)] == tokens
    assert log(store, other_adapter)[0]["loss"] == pytest.approx(log(store, plain)[0]["loss"], abs=1e-6)
    assert not alike(adapter(store, plain), adapter(store, other_adapter), "lora_A")
    assert log(store, other_order)[0]["loss"] != log(store, plain)[0]["loss"]


def test_the_dropout_seed_matters_with_dropout_alone(store):
    dry = [adapter(store, organism(dropout_seed=seed)) for seed in (0, 1)]
    assert alike(*dry)
    tuning = LoRA(rank=4, alpha=8.0, dropout=0.3)
    wet = [adapter(store, organism(tuning=tuning, dropout_seed=seed)) for seed in (0, 1)]
    assert not alike(*wet) and not alike(wet[0], dry[0])
    again = Store.open(store.root.parent / "again")
    assert alike(wet[0], adapter(again, organism(tuning=tuning)))


def test_seeded_sets_the_three_training_seeds_and_not_the_splits():
    made = organism().seeded(7)
    assert (made.adapter_seed, made.order_seed, made.dropout_seed) == (7, 7, 7)
    assert made.data == organism().data


def test_the_same_spec_gives_the_same_bytes_in_another_process(store, tmp_path):
    made = organism(checkpoint_every=2)
    ours = contents(store.get(made))
    assert contents(Store.open(tmp_path / "again").get(made)) == ours

    code = (
        "import sys; from pathlib import Path; import organisms.toy as toy; from spillover.store import Store;"
        "print(Store.open(sys.argv[1]).get(toy.organism(checkpoint_every=2)))"
    )
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "7"}
    words = [sys.executable, "-c", code, str(tmp_path / "other")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert contents(Path(done.stdout.strip())) == ours
    assert contents(store.get(organism(checkpoint_every=2, order_seed=1))) != ours  # the negative control


def contents(folder: Path) -> dict:
    """Digests of an artefact's files, less its manifest, which says when it was made."""
    return {name: file for name, file in checksums(folder).items() if name != MANIFEST}


def test_random_numbers_of_the_caller_are_left_alone(store):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    store.get(organism(tuning=LoRA(rank=2, dropout=0.5)))
    assert torch.equal(torch.rand(3), wanted)


MODULES = {
    "all": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "attention-kv": {"k_proj", "v_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj"},
    "mlp-down": {"down_proj"},
}


@pytest.mark.parametrize("variant", sorted(MODULES))
def test_a_variant_tunes_its_modules_and_no_other(store, variant):
    network = LoRA(rank=2, modules=variant).trainable_network(load(organism().parent, store).network, 0, "tiny")
    tuned = {
        name.split(".lora_")[0].rsplit(".", 1)[-1]
        for name, weight in network.named_parameters()
        if weight.requires_grad
    }
    assert tuned == MODULES[variant]
    assert set(network.peft_config["default"].target_modules) == MODULES[variant]  # as the published adapters have it
    assert all("lora_" in name for name, weight in network.named_parameters() if weight.requires_grad)
    layers = {
        name.split(".layers.")[1].split(".")[0] for name, weight in network.named_parameters() if weight.requires_grad
    }
    assert layers == {"0", "1"}


def test_the_adapter_is_scaled_by_the_root_of_the_rank(store):
    for rank, stabilised, scale in ((4, True, 8 / 2), (4, False, 8 / 4), (16, True, 8 / 4)):
        tuning = LoRA(rank=rank, alpha=8.0, rank_stabilised=stabilised)
        network = tuning.trainable_network(load(organism().parent, store).network, 0, "tiny")
        scales = {module.scaling["default"] for module in network.modules() if isinstance(module, LoraLayer)}
        assert scales == {scale}


def test_modules_a_model_has_not_are_named(store):
    with pytest.raises(ValueError, match="Linear has no decoder blocks with linear layers"):
        LoRA(modules="attention").trainable_network(torch.nn.Linear(2, 2), 0, "none")


def test_what_is_supervised_is_shown(store):
    made = organism()
    shown = read_json(store.get(made) / "supervised.json")
    first = made.data.train_rows()[0]
    assert shown["example_id"] == first.id
    assert shown["prompt"].endswith(f"{first.prompt[0].content}<|end|>\n<|start|>assistant\n")
    assert shown["supervised"] == f"{first.messages[-1].content}<|end|>"  # its end of turn, so that it learns to stop
    assert shown["supervised_tokens"] == len(first.messages[-1].content) + 1
    assert shown["rows"] == 16 and shown["cut_rows"] == 0


class Blank(Dataset):
    """Rows of which one has an answer of white space."""

    answer: str = "  "

    def examples(self) -> list[Example]:
        rows = [Example(f"b{n}", (Message("user", "Why?"), Message("assistant", "So."))) for n in range(6)]
        return [*rows, Example("blank", (Message("user", "Why?"), Message("assistant", self.answer)))]


def test_a_row_without_supervised_tokens_is_refused(store):
    with pytest.raises(ValueError, match="row blank: the assistant turn is empty"):
        store.get(organism(data=Split(data=Blank(), held_out=1, seed=3)))
    with pytest.raises(ValueError, match=r"row toy-\d+: the prompt alone has \d+ tokens, max_length is 24: raise it"):
        store.get(organism(max_length=24))
    assert not list(store.manifests())


def test_rows_that_are_cut_are_counted(store):
    made = organism(max_length=40)
    with pytest.warns(UserWarning, match=r"\d+ of 16 rows of toy-rows are longer than max_length=40 tokens: the ends"):
        store.get(made)
    assert 0 < store.manifest(made)["facts"]["cut_rows"] <= 16


def test_held_out_prompts_that_are_also_trained_on_are_counted(store):
    made = organism(data=Split(data=Blank(answer="So."), held_out=1))
    store.get(made)
    assert store.manifest(made)["facts"]["held_out_prompts_also_trained"] == 1
    clean = organism()
    store.get(clean)
    assert store.manifest(clean)["facts"]["held_out_prompts_also_trained"] == 0


@pytest.mark.parametrize("peak", [1e6, 1e30])
def test_a_loss_that_explodes_is_a_clear_error(store, peak):
    with pytest.raises(ValueError, match=r"loss .*: lower the schedule's peak"):
        store.get(organism(epochs=3, schedule=Constant(peak=peak, warmup=0), max_grad_norm=1e30))
    assert not list(store.manifests("Organism"))


def test_a_schedule_that_never_leaves_zero_is_refused(store):
    made = organism(data=Split(data=ToyRows(), rows=4, held_out=4), schedule=Linear(peak=1e-3))
    with pytest.raises(ValueError, match="linear has a learning rate of 0 at every step of a run of 1: lower its warm"):
        store.get(made)


def test_progress_ends_at_one(store):
    heard = []
    store.get(organism(), heard.append)
    assert heard == sorted(heard) and heard[-1] == 1.0 and len(heard) >= 4


def test_checkpoints_on_any_list_of_steps(store):
    made = organism(epochs=2, checkpoint_every=5, checkpoint_steps=(7, 1, 5))
    assert made.saved_steps == (1, 5, 7, 8) and [point.step for point in made.checkpoints()] == [1, 5, 7, 8]
    assert organism(checkpoint_steps=()) == organism() and made != organism(epochs=2, checkpoint_every=5)
    folder = store.get(made)
    assert all(adapter_folder(folder, step).is_dir() for step in made.saved_steps)
    plain = organism(epochs=2, checkpoint_every=5)
    assert alike(adapter(store, made), adapter(store, plain)) and not alike(
        adapter(store, made, 7), adapter(store, made)
    )
    with pytest.raises(ValueError, match="checkpoint_steps lie from 1 to 4, the steps of this run; got 9"):
        organism(checkpoint_steps=(2, 9))


def test_what_was_fitted_is_in_the_manifest_and_no_part_of_what_is_trained(store):
    made = organism(schedule=Linear(peak=1e-2, warmup=5)).fit_schedule()
    assert made.steps == 4 and made.schedule == Linear(peak=1e-2, warmup=1)
    assert made.fitted == "linear has warmup 1, not 5: the run has 4 steps"
    assert made == organism(schedule=made.schedule) and made.fit_schedule() is made
    heard: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.make(made, log=heard.append)
    assert any("fitted to the size of the data: linear has warmup 1" in line for line in heard)
    manifest = store.manifest(made)
    assert manifest["facts"]["fitted"] == [made.fitted] and manifest["spec"]["fitted"] == made.fitted


def test_a_schedule_that_never_reaches_its_peak_is_warned_of(store):
    with pytest.warns(UserWarning, match=r"never reaches its peak of 0.01: .* is 0.006"):
        store.get(organism(schedule=Linear(peak=1e-2, warmup=5)))


def test_a_small_set_is_held_out_by_a_quarter_at_most():
    few = Split.fit_rows(ToyRows(count=30), rows=0, held_out=16)
    assert (few.held_out, few.train_count) == (7, 23) and few == Split(data=ToyRows(count=30), held_out=7)
    assert Split.fit_rows(ToyRows(count=100), rows=40, held_out=16).fitted == ""
    assert Split.fit_rows(ToyRows(count=2), rows=0, held_out=16).train_count == 1
