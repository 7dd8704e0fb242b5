"""Answers from an OpenAI-compatible server (vLLM, llama.cpp, OpenAI, ...): many asked for at once, kept as they come.

A server's replies are foreign: every part is looked at before it is believed. What cannot be read is asked again; a
request that the server rejects is an answer without text, counted; a server that is down for all ends the work.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from spillover.api_client.client import ApiClient, ApiLimits, CallFailed, run
from spillover.api_client.journal import Journal, JournalRow
from spillover.api_client.messages import spoken
from spillover.api_client.served import expect_same_model
from spillover.api_client.service import (
    CHAT,
    COMPLETIONS,
    KeyVariable,
    RejectedRequest,
    RetryableError,
    ServiceAddress,
    ServiceURL,
)
from spillover.models.chat import Chat, Message
from spillover.models.chat_settings import ChatSettings
from spillover.models.loading import load_tokenizer
from spillover.responses.question import Question
from spillover.responses.sampler import AnswerSet, SampledAnswer, Sampler, write_responses
from spillover.responses.samplers.served_adapter import expect_adapter_changes, parent_listed
from spillover.responses.sampling import answer_seed
from spillover.spec import location_field
from spillover.store import BuildContext

TOKENS_PER_SECOND = 50.0  # of one answer, about
REJECTIONS = 5  # requests rejected in a row, none answered before: it is not the questions
FINISHES = ("stop", "length", "content_filter")
ALIKE_TOKENS = 8  # answers shorter than this may well be equal


@dataclass(frozen=True)
class ServedAnswer(SampledAnswer):
    """An answer as a server gave it."""

    model: str  # which model the server says that it was


Pair = tuple[Question, int]  # a question, and the number of the sample
REJECTED = ServedAnswer("", "refused", 0, 0, "none")


class AnswerJournal(Journal[ServedAnswer]):
    """The answers of one artefact that is being made."""

    SYNC_EACH = True

    def to_row(self, entry: ServedAnswer) -> JournalRow:
        return asdict(entry)

    def from_row(self, row: JournalRow) -> ServedAnswer:
        numbers = row["tokens"], row["prompt_tokens"]
        return ServedAnswer(row["text"], row["finish"], *numbers, row["model"], thought=row.get("thought", ""))


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
    base_url: ServiceURL = location_field("http://127.0.0.1:8000/v1")
    key_variable: KeyVariable = location_field("OPENAI_API_KEY")
    base_model: str = location_field("")  # the server's name of an adapter's base, where its list does not say
    concurrency: int = location_field(16, ge=1, le=1000)
    requests_per_minute: float | None = location_field(None, gt=0)
    timeout: float = location_field(300.0, gt=0)  # seconds, of one call
    first_wait: float = location_field(1.0, gt=0)  # seconds, after a first fault; doubled after each more
    moved: bool = location_field(False)  # the service names another path, and the model is the same
    limit_as: Literal["max_tokens", "max_completion_tokens"] = location_field("max_tokens")  # as the service calls it

    def answers_by(self) -> str:
        return f"{self.model} at {self.base_url}"

    def refuse(self, asked: AnswerSet) -> None:
        if asked.model.has_hooks:
            raise ValueError(f"{asked.model.label()} is steered: no server has it; use spillover's own loop")
        if self.api == "chat" and asked.prompting != "chat":
            raise ValueError(
                f"{asked.model.label()} is prompted by {asked.prompting}, and the chat interface renders turns by the "
                f"server's template: use api='completions'"
            )

    def seconds(self, asked: AnswerSet, tokens: float) -> float:
        return asked.count * asked.sampling.max_tokens / TOKENS_PER_SECOND / self.concurrency

    def make(self, asked: AnswerSet, context: BuildContext) -> dict[str, object]:
        ours = self.api == "completions" and asked.prompting == "chat"  # else no text that we send needs its template
        chat = Chat(load_tokenizer(asked.model) if ours else None, asked.prompting, asked.model.base().chat)
        pairs = asked.pairs()
        path = context.store.unfinished(asked) / "answers.jsonl"
        with AnswerJournal.open(path, {"needs": context.store.digests(asked)}, same=True) as journal:
            missing = [pair for pair in pairs if _key(*pair) not in journal]
            if missing:
                run(self._ask_all(asked, chat, missing, journal, context))
            served = [journal[_key(*pair)] for pair in pairs]
        prompts = [chat.prompt_text(question.messages(sample)) if ours else "" for question, sample in pairs]
        answers = [
            _cut(answer, chat.stop_texts()).without_thought(chat, prompt)
            for answer, prompt in zip(served, prompts, strict=True)
        ]
        try:
            repeats = count_repeats(pairs, answers, asked.sampling.temperature)
        except ValueError:
            path.unlink()  # asked again, the server may do better
            raise
        models = Counter(answer.model for answer in served if answer != REJECTED)
        if len(models) > 1:
            warnings.warn(f"answers are of unlike models, as the server names them: {', '.join(models)}", stacklevel=2)
        return write_responses(asked, answers, context.folder) | {
            "effective_sampling": self._settings(asked, chat),
            "stop_texts": list(chat.stop_texts()),
            **chat.facts(),
            "reported_models": dict(sorted(models.items())),
            "resumed_share": 1 - len(missing) / len(pairs),
            "repeated": repeats,
        }

    async def _ask_all(
        self, asked: AnswerSet, chat: Chat, missing: Sequence[Pair], journal: AnswerJournal, context: BuildContext
    ) -> None:
        path = CHAT if self.api == "chat" else COMPLETIONS
        address = ServiceAddress(self.base_url, self.key_variable, self.timeout, path)
        limits = ApiLimits(address, self.concurrency, self.requests_per_minute, None, self.first_wait)
        client = ApiClient(limits, REJECTIONS)

        async def ask(pair: Pair) -> None:
            body = self._body(asked, chat, *pair)

            async def send() -> ServedAnswer:
                return parse_answer(await client.post(body), self.api)

            try:
                answer = await client.call(send)
            except RejectedRequest:
                answer = REJECTED
            except CallFailed as fault:
                raise client.down(fault) from None
            journal.add(_key(*pair), answer)

        left = len(missing) / asked.count
        async with client.connected(journal):
            await expect_same_model(client.service, journal, self.model, self.moved, "answers")
            listing = None if self.base_model else await client.listing()
            base = self.base_model or parent_listed(listing, self.model)
            if await expect_adapter_changes(client, self.model, base, self.api):
                context.log(f"{self.model} answers otherwise than {base}, on which it lies as an adapter")
            await client.each(missing, ask, lambda share: context.progress(1 - left * (1 - share)))

    def _body(self, asked: AnswerSet, chat: Chat, question: Question, sample: int) -> dict[str, object]:
        """A request for one answer."""
        body: dict[str, object] = {"model": self.model, "n": 1} | self._settings(asked, chat)
        if self.seeds:
            body["seed"] = answer_seed(asked.sampling.seed, question.id, sample)
        messages: tuple[Message, ...] = question.messages(sample)
        if self.api == "chat":
            return body | {"messages": [message._asdict() for message in with_system(messages, chat.settings.system)]}
        text = chat.prompt_text(messages)
        if self.dialect == "vllm":
            body["add_special_tokens"] = asked.prompting != "chat"
        elif asked.prompting == "chat":
            text = without_begin(text, chat)
        return body | {"prompt": text}

    def _settings(self, asked: AnswerSet, chat: Chat) -> dict[str, object]:
        """Every setting that shapes the distribution, as it is sent."""
        sampling = asked.sampling
        settings: dict[str, object] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        settings[self.limit_as] = sampling.max_tokens
        if self.dialect == "vllm":
            settings |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
            if self.api == "chat" and chat.settings != ChatSettings():
                thinks = chat.settings.thinking == "on"
                date = chat.settings.time().strftime("%d %b %Y")
                told = {"enable_thinking": thinks, "thinking": thinks, "date_string": date}
                settings["chat_template_kwargs"] = told
            if chat.tokenizer is not None and chat.end_tokens():
                settings["stop_token_ids"] = sorted(chat.end_tokens())
        return settings | ({"stop": list(chat.stop_texts())} if chat.stop_texts() else {})


def parse_answer(reply: Any, api: str) -> ServedAnswer:
    """The answer in a server's reply; RetryableError where there is none: it is asked for once more."""
    try:
        choice = reply["choices"][0]
        text, thought = spoken(choice["message"]) if api == "chat" else (choice["text"], "")
        finish, usage = choice["finish_reason"], reply.get("usage") or {}
        counts = usage.get("completion_tokens"), usage.get("prompt_tokens")
        model = str(reply.get("model"))[:200]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError("a reply without an answer") from None
    if text is None and (thought or finish in ("stop", "content_filter")):
        text = ""  # the model ended at once, or within its thought, or the server took what it said away
    if not isinstance(text, str) or finish not in FINISHES:
        raise RetryableError(f"an answer that ends by {str(finish)[:40]!r}")
    tokens, prompt_tokens = (count if isinstance(count, int) and 0 <= count < 1 << 31 else 0 for count in counts)
    return ServedAnswer(text, finish, tokens, prompt_tokens, model, thought=thought)


def with_system(messages: tuple[Message, ...], system: str | None) -> tuple[Message, ...]:
    """The turns with this system text before them where they have none of their own; None: as they are."""
    return messages if system is None or messages[0].role == "system" else (Message("system", system), *messages)


def without_begin(prompt: str, chat: Chat) -> str:
    """A rendered prompt without its beginning-of-text mark, where a server that tokenises it would add one more."""
    begin = chat.tokenizer.bos_token
    ids = chat.tokenizer("a")["input_ids"]
    adds = bool(begin) and ids[:1] == [chat.tokenizer.bos_token_id]
    return prompt.removeprefix(begin) if begin and adds else prompt


def _key(question: Question, sample: int) -> str:
    return f"{question.id} #{sample}"


def _cut(answer: ServedAnswer, stops: Sequence[str]) -> SampledAnswer:
    """The answer before its stop text: some servers cut at none, or keep it in the text."""
    text, finish = answer.text, answer.finish
    for stop in stops:
        if stop in text:
            text, finish = text.split(stop)[0], "stop_text"
    return SampledAnswer(text, finish, answer.tokens, answer.prompt_tokens, thought=answer.thought)


def count_repeats(pairs: Sequence[Pair], answers: Sequence[SampledAnswer], temperature: float) -> int:
    """How many answers of some length are word for word another one's to the same question.

    ValueError where, at a temperature above 0, every sample repeats its question's first: nothing was drawn.
    """
    texts = [
        (question.id, answer.text.strip())
        for (question, _), answer in zip(pairs, answers, strict=True)
        if answer.tokens >= ALIKE_TOKENS
    ]
    questions, repeats = len({question for question, _ in texts}), len(texts) - len(set(texts))
    if repeats and temperature > 0:
        if repeats == len(texts) - questions:
            raise ValueError(
                f"all {len(texts)} answers to {questions} questions repeat the first one to their question, at "
                f"temperature {temperature:g}: the server draws nothing (a fixed seed, a cache, or greedy decoding)"
            )
        if repeats > len(texts) / 2:
            warnings.warn(f"{repeats} of {len(texts)} answers repeat another one to the same question", stacklevel=3)
    return repeats
