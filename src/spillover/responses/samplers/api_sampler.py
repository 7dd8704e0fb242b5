"""Answers from an OpenAI-compatible server (vLLM, llama.cpp, OpenAI, ...): many asked for at once, kept as they come.

A server's replies are foreign: every part is looked at before it is believed. What cannot be read is asked again; a
request that the server rejects is an answer without text, counted; a server that is down for all ends the work.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from spillover.api_client.client import ApiClient, ApiLimits, CallFailed, run
from spillover.api_client.journal import Journal, Row
from spillover.api_client.service import (
    CHAT,
    COMPLETIONS,
    RejectedRequest,
    RetryableError,
    ServiceAddress,
    ServiceURL,
)
from spillover.models.chat import Chat, Message
from spillover.models.loading import load_tokenizer
from spillover.records import RESPONSES, write_table
from spillover.responses.question import Question
from spillover.responses.rows import response_row, row_counts
from spillover.responses.sampler import Sampler
from spillover.responses.sampling import answer_seed
from spillover.spec import location_field
from spillover.store import BuildContext

if TYPE_CHECKING:
    from spillover.responses.responses import Responses

TOKENS_PER_SECOND = 50.0  # of one answer, about
REJECTIONS = 5  # requests rejected in a row, none answered before: it is not the questions
FINISHES = ("stop", "length", "content_filter")
ALIKE_TOKENS = 8  # answers shorter than this may well be equal


@dataclass(frozen=True)
class ServedAnswer:
    """An answer as a server gave it; `tokens` without its end mark, 0 where the server counts none."""

    text: str
    finish: str
    tokens: int
    prompt_tokens: int
    model: str  # which model the server says that it was


REJECTED = ServedAnswer("", "refused", 0, 0, "none")


class AnswerJournal(Journal[ServedAnswer]):
    """The answers of one artefact that is being made."""

    SYNC_EACH = True

    def to_row(self, entry: ServedAnswer) -> Row:
        return asdict(entry)

    def from_row(self, row: Row) -> ServedAnswer:
        return ServedAnswer(row["text"], row["finish"], row["tokens"], row["prompt_tokens"], row["model"])


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
    key_variable: str = location_field(
        "OPENAI_API_KEY", pattern="^[A-Za-z_][A-Za-z0-9_]*$"
    )  # the key itself is never a field
    concurrency: int = location_field(16, ge=1, le=1000)
    requests_per_minute: float | None = location_field(None, gt=0)
    timeout: float = location_field(300.0, gt=0)  # seconds, of one call
    first_wait: float = location_field(1.0, gt=0)  # seconds, after a first fault; doubled after each more
    limit_as: Literal["max_tokens", "max_completion_tokens"] = location_field("max_tokens")  # as the service calls it

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
        ours = self.api == "completions" and spec.prompting == "chat"  # else no text that we send needs its template
        chat = Chat(load_tokenizer(spec.model.base()) if ours else None, spec.prompting)
        asked = [
            (question, sample)
            for question in spec.questions.questions()
            for sample in range(spec.sampling.per_question)
        ]
        path = context.store.unfinished(spec) / "answers.jsonl"
        with AnswerJournal.open(path, {"needs": context.store.digests(spec)}, same=True) as journal:
            wanted = [(question, sample) for question, sample in asked if _key(question, sample) not in journal]
            if wanted:
                run(self._ask_all(spec, chat, wanted, journal, context))
            answers = [journal[_key(question, sample)] for question, sample in asked]
        rows = [_row(spec, *question, answer) for question, answer in zip(asked, answers, strict=True)]
        if reason := _all_repeat(spec, rows):
            path.unlink()  # asked again, the server may do better
            raise ValueError(reason)
        write_table(rows, context.folder / "responses.parquet", RESPONSES)
        models = Counter(answer.model for answer in answers if answer != REJECTED)
        if len(models) > 1:
            warnings.warn(f"answers are of unlike models, as the server names them: {', '.join(models)}", stacklevel=2)
        return row_counts(rows) | {
            "effective_sampling": self._settings(spec, chat),
            "prompting": spec.prompting,
            "stop_texts": list(chat.stop_texts()),
            "template_sha256": chat.template_sha256() if chat.tokenizer else None,
            "reported_models": dict(sorted(models.items())),
            "resumed_share": 1 - len(wanted) / len(asked),
            "repeated": _repeats(rows),
        }

    async def _ask_all(
        self,
        spec: Responses,
        chat: Chat,
        wanted: Sequence[tuple[Question, int]],
        journal: AnswerJournal,
        context: BuildContext,
    ) -> None:
        path = CHAT if self.api == "chat" else COMPLETIONS
        address = ServiceAddress(self.base_url, self.key_variable, self.timeout, path)
        client = ApiClient(
            ApiLimits(address, self.concurrency, self.requests_per_minute, None, self.first_wait), REJECTIONS
        )

        async def ask(item: tuple[Question, int]) -> None:
            question, sample = item
            body = self._body(spec, chat, question, sample)

            async def send() -> ServedAnswer:
                return read_reply(await client.post(body), self.api)

            try:
                answer = await client.call(send)
            except RejectedRequest:
                answer = REJECTED
            except CallFailed as fault:
                raise client.down(fault) from None
            journal.add(_key(question, sample), answer)

        missing = len(wanted) / (len(wanted) + len(journal))
        async with client.connected(journal):
            await client.each(wanted, ask, lambda share: context.progress(1 - missing * (1 - share)))

    def _body(self, spec: Responses, chat: Chat, question: Question, sample: int) -> dict[str, object]:
        """A request for one answer."""
        body: dict[str, object] = {"model": self.model, "n": 1} | self._settings(spec, chat)
        if self.seeds:
            body["seed"] = answer_seed(spec.sampling.seed, question.id, sample)
        messages: tuple[Message, ...] = question.messages(sample)
        if self.api == "chat":
            return body | {"messages": [message._asdict() for message in messages]}
        if self.dialect == "vllm":
            body["add_special_tokens"] = spec.prompting != "chat"
        return body | {"prompt": chat.prompt_text(messages)}

    def _settings(self, spec: Responses, chat: Chat) -> dict[str, object]:
        """Every setting that shapes the distribution, as it is sent."""
        sampling = spec.sampling
        settings: dict[str, object] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        settings[self.limit_as] = sampling.max_tokens
        if self.dialect == "vllm":
            settings |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
        return settings | ({"stop": list(chat.stop_texts())} if chat.stop_texts() else {})


def read_reply(reply: Any, api: str) -> ServedAnswer:
    """The answer in a server's reply; RetryableError where there is none: it is asked for once more."""
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] if api == "chat" else choice["text"]
        finish, usage = choice["finish_reason"], reply.get("usage") or {}
        counts = usage.get("completion_tokens"), usage.get("prompt_tokens")
        model = str(reply.get("model"))[:200]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError("a reply without an answer") from None
    if text is None and finish in ("stop", "content_filter"):
        text = ""  # the model ended at once, or the server took what it said away
    if not isinstance(text, str) or finish not in FINISHES:
        raise RetryableError(f"an answer that ends by {str(finish)[:40]!r}")
    tokens, prompt_tokens = (count if isinstance(count, int) and 0 <= count < 1 << 31 else 0 for count in counts)
    return ServedAnswer(text, finish, tokens, prompt_tokens, model)


def _key(question: Question, sample: int) -> str:
    return f"{question.id} #{sample}"


def _row(spec: Responses, question: Question, sample: int, answer: ServedAnswer) -> Row:
    text, finish = answer.text, answer.finish
    for stop in Chat(None, spec.prompting).stop_texts():  # a server that cuts at none, or keeps it in the text
        if stop in text:
            text, finish = text.split(stop)[0], "stop_text"
    return response_row(question, sample, spec.sampling.seed, text, finish, answer.tokens, answer.prompt_tokens)


def _repeats(rows: Sequence[Row]) -> int:
    """Answers of some length that are word for word another one's to the same question."""
    by_question: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["tokens"] >= ALIKE_TOKENS:
            by_question[row["question_id"]].append(row["answer"])
    return sum(len(answers) - len(set(answers)) for answers in by_question.values())


def _all_repeat(spec: Responses, rows: Sequence[Row]) -> str | None:
    """Why answers are not taken: every sample to a question repeats its first, so that nothing was drawn."""
    long = [row for row in rows if row["tokens"] >= ALIKE_TOKENS]
    questions, repeats = len({row["question_id"] for row in long}), _repeats(rows)
    if not repeats or spec.sampling.temperature == 0:
        return None
    if repeats == len(long) - questions:
        return (
            f"all {len(long)} answers to {questions} questions repeat the first one to their question, at temperature "
            f"{spec.sampling.temperature:g}: the server draws nothing (a fixed seed, a cache, or greedy decoding)"
        )
    if repeats > len(long) / 2:
        warnings.warn(f"{repeats} of {len(long)} answers repeat another one to the same question", stacklevel=3)
    return None
