"""Answers from a server: many asked for at once, each kept as it comes, faults waited out. Knows requests and replies.

A server's replies are foreign: every part is looked at before it is believed. What cannot be read is asked again; a
request that the server refuses is an answer without text, counted; a server that is down for all ends the work.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spillover.models.chat import Chat
from spillover.records import RESPONSES, write_table
from spillover.responses.question import Question
from spillover.responses.rows import counted, row
from spillover.responses.samplers.api.journal import AnswerJournal
from spillover.serving.pace import Pace, back_off
from spillover.serving.running import all_of, run
from spillover.serving.service import (
    CHAT,
    COMPLETIONS,
    RejectedRequest,
    RetryableError,
    Service,
    ServiceAddress,
    ServiceDown,
)
from spillover.store import BuildContext

if TYPE_CHECKING:
    from spillover.responses.responses import Responses
    from spillover.responses.samplers.api.sampler import APISampler

TRIES = 8  # of a call, before its fault is taken to last
REFUSALS = 5  # requests refused in a row, none answered before: it is not the questions
LONGEST_HOLD = 900.0  # seconds that a service may have all calls wait
FINISHES = ("stop", "length", "content_filter")
ALIKE_TOKENS = 8  # answers shorter than this may well be equal


def answers_of(sampler: APISampler, spec: Responses, context: BuildContext) -> dict[str, Any]:
    """Write the answers of `spec` as its server gives them; facts for the manifest."""
    chat = sampler.chat(spec)
    asked = [(one, sample) for one in spec.questions.questions() for sample in range(spec.sampling.per_question)]
    path = context.store.unfinished(spec) / "answers.jsonl"
    with AnswerJournal(path, {"needs": context.store.digests(spec)}) as kept:
        wanted = [(one, sample) for one, sample in asked if (one.id, sample) not in kept.answers]
        if wanted:
            run(_Asking(sampler, spec, chat, kept, context).all(wanted, len(asked)))
        found = [_row(spec, one, sample, kept.answers[one.id, sample]) for one, sample in asked]
    if why := _all_repeat(spec, found):
        path.unlink()  # asked again, the server may do better
        raise ValueError(why)
    write_table(found, context.folder / "responses.parquet", RESPONSES)
    models = Counter(answer["model"] for answer in kept.answers.values() if answer["finish"] != "refused")
    if len(models) > 1:
        warnings.warn(f"answers are of unlike models, as the server names them: {', '.join(models)}", stacklevel=2)
    return counted(found) | {
        "effective_sampling": sampler.settings(chat, spec),
        "prompting": spec.prompting,
        "stop_texts": list(chat.stop_texts()),
        "template_sha256": chat.template_sha256() if chat.tokenizer else None,
        "reported_models": dict(sorted(models.items())),
        "resumed_share": 1 - len(wanted) / len(asked),
        "repeated": _repeats(found),
    }


def seed_of(seed: int, question_id: str, sample: int) -> int:
    """The seed that is sent for one answer, 0 to 2^31 - 1, from SHA-256: it depends on the answer's key alone."""
    key = f"{seed}\x1f{question_id}\x1f{sample}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1


class _Asking:
    """One artefact's answers being asked for."""

    def __init__(
        self, sampler: APISampler, spec: Responses, chat: Chat, kept: AnswerJournal, context: BuildContext
    ) -> None:
        self.sampler, self.spec, self.chat, self.kept, self.context = sampler, spec, chat, kept, context
        self.pace = Pace(sampler.requests_per_minute, None)
        self.answered = self.refused = 0
        self.last = time.monotonic()  # when the server last took a call

    async def all(self, wanted: Sequence[tuple[Question, int]], whole: int) -> None:
        """Ask for all that is wanted; Stopped where the server does not answer any more."""
        sampler, queue, done = self.sampler, iter(wanted), whole - len(wanted)
        path = CHAT if sampler.api == "chat" else COMPLETIONS
        place = ServiceAddress(sampler.base_url, sampler.key_variable, sampler.timeout, path)

        async def worker(service: Service) -> None:
            nonlocal done
            for question, sample in queue:
                answer = await self._ask(service, question, sample)
                self.kept.add((question.id, sample), answer)
                done += 1
                self.context.progress(done / whole)

        async with Service(place, sampler.concurrency) as service:
            await all_of(worker(service) for _ in range(min(sampler.concurrency, len(wanted))))

    async def _ask(self, service: Service, question: Question, sample: int) -> dict[str, Any]:
        """One answer; Stopped where the fault does not pass."""
        seed = seed_of(self.spec.sampling.seed, question.id, sample)
        body = self.sampler.body(self.chat, self.spec, question.messages(sample), seed)
        tried = 0
        while True:
            await self.pace.turn(1)
            try:
                found = read_reply(await service.post(body), self.sampler.api)
            except RejectedRequest as fault:
                self.refused += 1
                if self.refused >= REFUSALS and not self.answered:
                    raise ServiceDown(
                        f"{service.place.url}: {fault}, {REFUSALS} times in a row: {fault.said}"
                    ) from None
                return {"text": "", "finish": "refused", "tokens": 0, "prompt_tokens": 0, "model": "none"}
            except RetryableError as fault:
                tried += fault.wait is None
                if tried >= TRIES:
                    raise ServiceDown(self._down(service.place, fault)) from None
                await self._after(service.place, fault, tried)
                continue
            self.answered += 1
            self.last = time.monotonic()
            return found

    async def _after(self, place: ServiceAddress, fault: RetryableError, tried: int) -> None:
        if fault.wait is None:
            await asyncio.sleep(back_off(tried, self.sampler.first_wait))
        elif time.monotonic() + fault.wait - self.last > LONGEST_HOLD:
            raise ServiceDown(self._down(place, fault))
        else:
            self.pace.hold(fault.wait)

    def _down(self, place: ServiceAddress, fault: RetryableError) -> str:
        where = (
            f"put the key into ${place.key_variable}" if fault.denied else "the same command goes on when it is back"
        )
        return f"the server at {place.url} does not answer (last: {fault.reason}): what came is kept; {where}"


def read_reply(reply: Any, api: str) -> dict[str, Any]:
    """The answer in a server's reply; Again where it is none: it is asked for once more."""
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] if api == "chat" else choice["text"]
        finish, usage = choice["finish_reason"], reply.get("usage") or {}
        tokens, read = usage.get("completion_tokens"), usage.get("prompt_tokens")
        model = str(reply.get("model"))[:200]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RetryableError("a reply without an answer") from None
    if text is None and finish in ("stop", "content_filter"):
        text = ""  # the model ended at once, or the server took what it said away
    if not isinstance(text, str) or finish not in FINISHES:
        raise RetryableError(f"an answer that ends by {str(finish)[:40]!r}")
    counts = [number if isinstance(number, int) and 0 <= number < 1 << 31 else 0 for number in (tokens, read)]
    return {"text": text, "finish": finish, "tokens": counts[0], "prompt_tokens": counts[1], "model": model}


def _row(spec: Responses, question: Question, sample: int, answer: dict[str, Any]) -> dict[str, Any]:
    text, finish = answer["text"], answer["finish"]
    for stop in Chat(None, spec.prompting).stop_texts():  # a server that cuts at none, or keeps it in the text
        if stop in text:
            text, finish = text.split(stop)[0], "stop_text"
    return row(question, sample, spec.sampling.seed, text, finish, answer["tokens"], answer["prompt_tokens"])


def _repeats(rows: Sequence[dict[str, Any]]) -> int:
    """Answers of some length that are word for word another one's to the same question."""
    by_question: dict[str, list[str]] = defaultdict(list)
    for one in rows:
        if one["tokens"] >= ALIKE_TOKENS:
            by_question[one["question_id"]].append(one["answer"])
    return sum(len(answers) - len(set(answers)) for answers in by_question.values())


def _all_repeat(spec: Responses, rows: Sequence[dict[str, Any]]) -> str | None:
    """Why answers are not taken: every sample to a question repeats its first, so that nothing was drawn."""
    long = [one for one in rows if one["tokens"] >= ALIKE_TOKENS]
    questions, repeats = len({one["question_id"] for one in long}), _repeats(rows)
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
