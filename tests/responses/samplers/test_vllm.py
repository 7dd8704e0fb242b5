"""vLLM in process against our own loop, where $SPILLOVER_VLLM names an environment that has it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from responses.samplers.vllm_parity import RUN
from spillover.models.base import Base
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.samplers.vllm_sampler import VLLMSampler
from spillover.store import Store

CHECKOUT = Path(__file__).resolve().parents[3]


def test_without_vllm_it_is_said_how_to_get_it(store: Store, tiny: Base) -> None:
    responses = Responses(model=tiny, questions=QuestionSelection(source=FreeForm(), count=1), sampler=VLLMSampler())
    assert (
        responses.fingerprint
        != Responses(model=tiny, questions=QuestionSelection(source=FreeForm(), count=1)).fingerprint
    )
    with pytest.raises(ValueError, match="vLLM is not installed here: pip install"):
        store.get(responses)


@pytest.mark.slow
def test_vllm_asks_the_same_model_and_an_ignored_adapter_is_told(tmp_path: Path) -> None:
    venv = os.environ.get("SPILLOVER_VLLM")
    if not venv:
        pytest.skip("$SPILLOVER_VLLM names no environment with vLLM and what spillover needs (docs/servers.md)")
    where = Store.open(tmp_path / "store")
    where.get(RUN)
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT / "src"),
        "VLLM_CPU_OMP_THREADS_BIND": "auto",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
    }
    words = [f"{venv}/bin/python", str(Path(__file__).with_name("vllm_parity.py")), str(where.root)]
    job = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900, check=False)
    line = next((line for line in job.stdout.splitlines() if line.startswith("PARITY ")), None)
    assert line, job.stderr[-3000:]
    results = json.loads(line.removeprefix("PARITY "))
    for name in ("base", "organism"):
        assert abs(results[name]["difference"]) < 0.001 and results[name]["absolute"] < 0.001  # float32
        assert results[name]["wrong_model"] > 0.2
        assert len(set(results[name]["answers"])) > 6
        assert results[name]["facts"]["adapter_by_request"] == (name == "organism")
    assert "so it is ignored" in results["ignored"]
