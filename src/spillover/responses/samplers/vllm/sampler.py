"""vLLM in this process as the sampler: one engine for a base, its checkpoints as LoRA requests."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from spillover.responses.sampler import Sampler
from spillover.spec import location_field
from spillover.store import BuildContext

if TYPE_CHECKING:
    from spillover.responses.responses import Responses

TOKENS_PER_SECOND = 2000.0  # of 135M parameters, about


class VLLMSampler(Sampler):
    """vLLM's engine in this process (extra `vllm`): continuous batching, prefix caching, adapters by request.

    Every answer has its own seed, but its text may depend on what shares its batch, on vLLM's version and the device:
    unlike those of our own loop, these answers are not the same bit for bit when they are made again.
    """

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_lora_rank: int = location_field(64, ge=1)
    adapters_at_once: int = location_field(8, ge=1)  # LoRA requests of one batch
    gpu_memory: float = location_field(0.9, gt=0, le=1)  # share of the GPU's memory
    gpus: int = location_field(1, ge=1)  # tensor parallel
    max_length: int | None = location_field(None, ge=16)  # tokens of prompt and answer; None: what the model takes
    eager: bool = location_field(False)  # no compilation: starts sooner, answers more slowly
    probe: int = Field(default=16, ge=1, description="tokens over which an adapter has to change something")

    def refuse(self, spec: Responses) -> None:
        if spec.model.has_hooks:
            raise ValueError(f"{spec.model.label()} is steered: vLLM cannot; use spillover's own loop")

    def seconds(self, spec: Responses, tokens: float) -> float:
        return tokens / TOKENS_PER_SECOND

    def make(self, spec: Responses, context: BuildContext) -> dict[str, Any]:
        if importlib.util.find_spec("vllm") is None:
            raise ValueError(
                "vLLM is not installed here: pip install 'spillover[vllm]' on a machine with a GPU, or "
                "scripts/vllm_server.sh install VENV for a processor (see docs/servers.md)"
            )
        from spillover.responses.samplers.vllm.engine import answers_of

        return answers_of(self, spec, context)
