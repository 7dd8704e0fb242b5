"""`scripts/real_size.py`, small: every stage is made in a process of its own, and what it prints is its peak."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from safetensors import safe_open

from spillover.store import Store

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "real_size.py"
MODEL_BYTES, LIBRARIES = 9_195_728, 1.2e9


@pytest.fixture(scope="module")
def real_size() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_size", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_study_at_a_size_is_measured(real_size: ModuleType, tmp_path: Path) -> None:
    load, study = real_size.measured("tiny", "bfloat16", tmp_path, ("load", "study"))
    assert [load["stage"], study["stage"]] == ["load", "study"]
    assert load["weights_bytes"] == study["weights_bytes"] == MODEL_BYTES and load["dtype"] == "bfloat16"
    assert MODEL_BYTES < load["peak_bytes"] < study["peak_bytes"] < LIBRARIES
    assert study["ratio"] == round(study["peak_bytes"] / MODEL_BYTES, 3)
    made = {path.name for path in Store.open(tmp_path / "study").root.iterdir()}
    assert {"Organism", "Responses", "Activations", "Likelihoods", "AtRealSize"} <= made
    table = real_size.shown([load, study], csv=True).splitlines()
    assert table[0] == "stage,dtype,peak_bytes,weights_bytes,ratio" and table[1].startswith("load,bfloat16,")


def test_the_model_is_written_a_shard_at_a_time(
    real_size: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spillover.models.conversion.SHARD_BYTES", 1 << 21)
    real_size.write_model(tmp_path, "tiny")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2 and max(path.stat().st_size for path in shards) < 2 * (1 << 21)
    with safe_open(shards[0], framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
