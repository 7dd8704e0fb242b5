"""The decoding loop: many answers at once, each the same whatever shares its batch.

Prompts are read in blocks of 8 tokens that start at multiples of 8, and a block that several prompts begin with is
read once. A prompt's last token is the first step of its answers. With a batch of a multiple of 8 rows, matrix products
and attention here give a row the same bits whatever stands beside it (tests hold it), and so does the choice of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from spillover.models.forward.cached_network import BLOCK, CachedNetwork, read_prompts
from spillover.models.forward.generating_network import GeneratingNetwork
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.probing import askable_at
from spillover.models.forward.row_cache import RowCache, even_batch_size, round_up
from spillover.models.loading import Loaded
from spillover.responses.sampler import AnswerSet, SampledAnswer
from spillover.responses.sampling import expect_numbers, pick, uniforms
from spillover.store import ProgressFn

if TYPE_CHECKING:
    from torch import Tensor

ROW_MULTIPLE = 8
OWN_ROWS = 32  # at once through a network's own cache, whose size is not known
SHRINK_AT = 0.75  # rows still running, as a share of the batch, below which finished rows leave it
HEARD_EACH = {"cpu": 1}  # tokens of a row that are written before the host looks at them; elsewhere, where it waits:
HEARD_EACH_ELSEWHERE = 8
CACHE_BYTES = 1 << 30  # for the keys and values of a batch; fewer rows where they would need more


@dataclass
class Draft:
    """One answer being written: which prompt it starts from, its random numbers, its tokens so far.

    group: which of the models that are asked together writes it.
    """

    prompt: tuple[int, ...]
    uniforms: np.ndarray  # (max_tokens,) float64
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None
    group: int = 0

    def answer(self, rules: Rules) -> SampledAnswer:
        """The answer that it became, without end mark and stop text."""
        text = str(rules.decode(self.tokens, skip_special_tokens=True))
        for stop in rules.stops if self.finish == "stop_text" else ():
            text = text.split(stop)[0]
        return SampledAnswer(text, self.finish, len(self.tokens), len(self.prompt))


@dataclass(frozen=True)
class Rules:
    """When an answer ends and how its tokens are drawn."""

    max_tokens: int
    temperature: float
    top_p: float
    ends: frozenset[int]
    stops: tuple[str, ...]  # texts that end an answer
    decode: Callable[..., str]  # token ids -> text

    def stopped(self, tokens: list[int]) -> bool:
        """Whether the answer so far ends with a stop text; a token is a byte of text at least."""
        if not self.stops:
            return False
        tail = self.decode(tokens[-max(len(stop.encode()) for stop in self.stops) :])
        return any(stop in tail for stop in self.stops)


def answer(
    asked: Sequence[AnswerSet], models: LoadedModels, rows: int, progress: ProgressFn
) -> tuple[list[list[SampledAnswer]], dict[str, object]]:
    """The answers of each set, and facts for the manifest of all.

    The sets are alike but for their model and questions, and `models` has their models in this order. At most `rows`
    answers are written at a time. ValueError where a prompt leaves no room for `max_tokens`.
    """
    sampling, loaded = asked[0].sampling, models.loaded
    chat = loaded.chat(asked[0].prompting)
    drafts = [
        [
            Draft(
                tuple(chat.prompt(question.messages(sample))),
                uniforms(sampling.seed, question.id, sample, sampling.max_tokens),
                group=group,
            )
            for question, sample in answer_set.pairs()
        ]
        for group, answer_set in enumerate(asked)
    ]
    rules = Rules(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        ends=loaded.end_tokens | chat.end_tokens(),
        stops=chat.stop_texts(),
        decode=chat.decode,
    )
    every = [draft for of_set in drafts for draft in of_set]
    longest = max(len(draft.prompt) for draft in every)
    limit = getattr(loaded.network.config.get_text_config(), "max_position_embeddings", None)
    if limit and longest + sampling.max_tokens > limit:
        raise ValueError(
            f"the longest prompt has {longest} tokens and max_tokens is {sampling.max_tokens}, but {loaded.base.name} "
            f"holds {limit}: answers would be cut in silence; lower max_tokens"
        )
    write_answers(models, every, rules, rows, progress)
    facts: dict[str, object] = {
        "effective_sampling": sampling.effective(),
        "stop_tokens": sorted(rules.ends),
        "stop_texts": list(rules.stops),
        **chat.facts(),
    }
    return [
        [
            draft.answer(rules).without_thought(chat, chat.prompt_text(question.messages(sample)))
            for draft, (question, sample) in zip(of_set, answer_set.pairs(), strict=True)
        ]
        for of_set, answer_set in zip(drafts, asked, strict=True)
    ], facts


def write_answers(opened: LoadedModels, drafts: Sequence[Draft], rules: Rules, rows: int, progress: ProgressFn) -> None:
    """Finish every draft, at most `rows` at a time; `progress` hears the share of the work done, 0 to 1."""
    done, loaded = 0, opened.loaded
    longest = max((draft.prompt for draft in drafts), key=len, default=())
    network = askable_at(opened.network, loaded.network, longest)
    own = isinstance(network, GeneratingNetwork)
    batches = _even_batches(drafts, rows) if own else _batches(loaded, drafts, rules.max_tokens, rows)
    with torch.inference_mode():
        for part in batches:

            def heard(step: int, before: int = done, size: int = len(part)) -> None:
                progress((before + size * step / rules.max_tokens) / len(drafts))

            running = _Running(part, rules, loaded.device, heard)
            if isinstance(network, GeneratingNetwork):
                prompts = torch.tensor(running.prompts, device=loaded.device)
                network.write(prompts, running.draw, rules.max_tokens)
            else:
                _decode(network, loaded, running)
            done += len(part)
    progress(1.0)


class _Running:
    """One batch of answers that are being written, a row each; rows are a multiple of 8.

    heard: told after each step how many were done.
    """

    def __init__(
        self, drafts: Sequence[Draft], rules: Rules, device: torch.device, heard: Callable[[int], None]
    ) -> None:
        idle = -len(drafts) % ROW_MULTIPLE  # rows that fill up: they repeat the last prompt, and nobody hears them
        self.rows: list[Draft | None] = [*drafts, *[None] * idle]
        self.prompts = [draft.prompt for draft in drafts] + [drafts[-1].prompt] * idle
        self.groups = [draft.group for draft in drafts] + [drafts[-1].group] * idle
        self.rules, self.heard, self.step = rules, heard, 0
        drawn = [draft.uniforms for draft in (*drafts, *[drafts[-1]] * idle)]
        self.uniforms = torch.from_numpy(np.stack(drawn)).to(device)  # (rows, max_tokens)
        self.each = HEARD_EACH.get(device.type, HEARD_EACH_ELSEWHERE)
        self.unheard: list[Tensor] = []  # tokens (rows,) of the steps that the host has not looked at yet

    def draw(self, logits: Tensor) -> Tensor | None:
        """The token of each row (rows,) that comes after logits (rows, vocabulary); None where all are finished."""
        tokens = pick(logits, self.uniforms[:, self.step], self.rules.temperature, self.rules.top_p)
        self.unheard.append(tokens)
        self.step += 1
        if len(self.unheard) == self.each or self.step == self.rules.max_tokens:
            self._hear()
            if not any(self.rows):
                return None
        return tokens.clamp(min=0)

    def _hear(self) -> None:
        """Look at what was written since the last time: which answers are finished. What came after is left."""
        for tokens in torch.stack(self.unheard).tolist():
            expect_numbers(tokens)
            self.rows = [_append(draft, token, self.rules) for draft, token in zip(self.rows, tokens, strict=True)]
        self.unheard.clear()
        self.heard(self.step)

    def leaving(self) -> list[int] | None:
        """Which rows go on, in order, once enough are finished for a smaller batch; None where not."""
        if self.unheard:
            return None
        alive = [row for row, draft in enumerate(self.rows) if draft]
        size = round_up(len(alive), ROW_MULTIPLE)
        if len(alive) > SHRINK_AT * len(self.rows) or size == len(self.rows):
            return None
        keep = alive + [alive[-1]] * (size - len(alive))
        self.rows = [self.rows[row] if place < len(alive) else None for place, row in enumerate(keep)]
        self.uniforms = self.uniforms[keep]
        return keep


def _decode(network: CachedNetwork, loaded: Loaded, running: _Running) -> None:
    """Write one batch of answers."""
    prompts, device = running.prompts, loaded.device
    room = round_up(max(map(len, prompts)), BLOCK) + running.rules.max_tokens
    cache = RowCache(loaded.network, len(prompts), room)
    cache.groups = running.groups
    read_prompts(network, cache, prompts)
    tokens = torch.tensor([prompt[-1] for prompt in prompts], device=device)
    starts = [len(prompt) - 1 for prompt in prompts]
    positions = torch.tensor(starts, device=device)
    while True:
        last = max(starts) + running.step
        cache.position.move(torch.arange(len(tokens), device=device), positions[:, None], every=True, last=last)
        drawn = running.draw(network.next_logits(tokens[:, None], cache))
        if drawn is None:
            return
        tokens, positions = drawn, positions + 1
        if keep := running.leaving():
            tokens, positions = tokens[keep], positions[keep]
            starts = [starts[row] for row in keep]
            cache.keep_rows(keep)


def _append(draft: Draft | None, token: int, rules: Rules) -> Draft | None:
    """The draft with one token more; None once it is finished."""
    if draft is None:
        return None
    if token in rules.ends:
        draft.finish = "stop"
        return None
    draft.tokens.append(token)
    if rules.stopped(draft.tokens):
        draft.finish = "stop_text"
    elif len(draft.tokens) == rules.max_tokens:
        draft.finish = "length"
    return None if draft.finish else draft


def _even_batches(drafts: Sequence[Draft], rows: int) -> Iterator[Sequence[Draft]]:
    """Drafts with prompts of one length together, so that nothing is padded."""
    order = sorted(drafts, key=lambda draft: (len(draft.prompt), draft.prompt))
    for _, alike in groupby(order, key=lambda draft: len(draft.prompt)):
        group = list(alike)
        size = even_batch_size(len(group), min(rows, OWN_ROWS), ROW_MULTIPLE)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _batches(loaded: Loaded, drafts: Sequence[Draft], max_tokens: int, rows: int) -> Iterator[Sequence[Draft]]:
    """Drafts with prompts of similar length together, so that little of the cache is empty; in a batch, by model."""
    order = sorted(drafts, key=lambda draft: (len(draft.prompt), draft.prompt))
    longest = round_up(len(order[-1].prompt), BLOCK) + max_tokens
    fitting = CACHE_BYTES // RowCache.row_bytes(loaded.network, longest) // ROW_MULTIPLE * ROW_MULTIPLE
    rows = max(ROW_MULTIPLE, min(rows, fitting))
    rows = even_batch_size(len(order), rows, ROW_MULTIPLE)
    for start in range(0, len(order), rows):
        yield sorted(order[start : start + rows], key=lambda draft: draft.group)
