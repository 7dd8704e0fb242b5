"""Any OpenAI-compatible server as the sampler (vLLM, llama.cpp, OpenAI, ...). Knows what makes it another sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from spillover.models.chat import Chat, Message, Prompting
from spillover.responses.sampler import Sampler
from spillover.serving.service import service_url
from spillover.spec import location_field
from spillover.store import BuildContext

if TYPE_CHECKING:
    from spillover.responses.responses import Responses

TOKENS_PER_SECOND = 50.0  # of one answer, about


class APISampler(Sampler):
    """A server with an OpenAI-compatible interface: chat completions, or plain completions for pretrained models.

    What it answers depends on the server: its batches, its precision, its version. So answers are asked once and kept,
    one by one, as they come; and whether it asks the model that is meant, `Likelihoods` can tell.
    """

    # What makes it another sampler
    model: str = Field(min_length=1, description="the model's name at the server; a LoRA adapter's there has its own")
    api: Literal["chat", "completions"] = Field(
        default="chat", description="chat: the server's own template; completions: the text that we render"
    )
    dialect: Literal["openai", "vllm"] = Field(
        default="openai",
        description="vllm: top_k, min_p and repetition_penalty are switched off by name, which OpenAI's refuses",
    )
    seeds: bool = Field(default=True, description="whether each answer's own seed is sent")
    served: str = Field(default="", description="how the model is served, where that makes it another: awq, provider x")

    # Where it is and how it is asked
    base_url: str = location_field("http://127.0.0.1:8000/v1")
    key_variable: str = location_field(
        "OPENAI_API_KEY", pattern="^[A-Za-z_][A-Za-z0-9_]*$"
    )  # the key itself is never a field
    concurrency: int = location_field(16, ge=1, le=1000)
    requests_per_minute: float | None = location_field(None, gt=0)
    timeout: float = location_field(300.0, gt=0)  # seconds, of one call
    first_wait: float = location_field(1.0, gt=0)  # seconds, after a first fault; doubled after each more
    limit_as: Literal["max_tokens", "max_completion_tokens"] = location_field("max_tokens")  # as the service calls it

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str) -> str:
        return service_url(url)

    def refuse(self, spec: Responses) -> None:
        if spec.model.has_hooks:
            raise ValueError(f"{spec.model.label()} is steered: no server has it; use spillover's own loop")
        if self.api == "chat" and spec.prompting != "chat":
            raise ValueError(
                f"{spec.model.label()} is prompted by {spec.prompting}, and the chat interface renders turns by the "
                f"server's template: use api='completions'"
            )

    def seconds(self, spec: Responses, tokens: float) -> float:
        answers = len(spec.questions.questions()) * spec.sampling.per_question
        return answers * spec.sampling.max_tokens / TOKENS_PER_SECOND / self.concurrency

    def make(self, spec: Responses, context: BuildContext) -> dict[str, Any]:
        from spillover.responses.samplers.api.api_sampler import answers_of

        return answers_of(self, spec, context)

    def body(self, chat: Chat, spec: Responses, messages: Sequence[Message], seed: int) -> dict[str, Any]:
        """A request for one answer."""
        found = {"model": self.model, "n": 1} | self.settings(chat, spec) | ({"seed": seed} if self.seeds else {})
        if self.api == "chat":
            return found | {"messages": [message._asdict() for message in messages]}
        if self.dialect == "vllm":
            found["add_special_tokens"] = spec.prompting != "chat"
        return found | {"prompt": chat.prompt_text(messages)}

    def settings(self, chat: Chat, spec: Responses) -> dict[str, Any]:
        """Every setting that shapes the distribution, as it is sent."""
        sampling = spec.sampling
        found: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        found[self.limit_as] = sampling.max_tokens
        if self.dialect == "vllm":
            found |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        return found | ({"stop": list(chat.stop_texts())} if chat.stop_texts() else {})

    def chat(self, spec: Responses) -> Chat:
        """What renders prompts; a tokenizer is opened only where the text to send needs its template."""
        from spillover.models.loading import load_tokenizer

        prompting: Prompting = spec.prompting
        ours = self.api == "completions" and prompting == "chat"
        return Chat(load_tokenizer(spec.model.base()) if ours else None, prompting)
