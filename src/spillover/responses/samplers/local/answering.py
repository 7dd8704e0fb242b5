"""From a `Responses` spec to rows: renders prompts, keys the random numbers, cuts at stop texts. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spillover.models.forward.load_models import LoadedModels
from spillover.responses.responses import Responses
from spillover.responses.rows import response_row, row_counts
from spillover.responses.samplers.local.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms
from spillover.store import ProgressFn

AnswerRows = tuple[list[dict[str, Any]], dict[str, Any]]  # rows of the `RESPONSES` schema, facts for the manifest


def answer(specs: Sequence[Responses], opened: LoadedModels, rows: int, progress: ProgressFn) -> list[AnswerRows]:
    """All answers that each of `specs` asks for; they are alike but for model and questions, and `opened` has all."""
    sampling = specs[0].sampling
    chat = opened.loaded.chat(specs[0].prompting)
    asked = [
        (group, question, sample)
        for group, spec in enumerate(specs)
        for question in spec.questions.questions()
        for sample in range(sampling.per_question)
    ]
    drafts = [
        Draft(
            tuple(chat.prompt(question.messages(sample))),
            uniforms(sampling.seed, question.id, sample, sampling.max_tokens),
            group=group,
        )
        for group, question, sample in asked
    ]
    rules = Rules(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        ends=opened.loaded.ends,
        stops=chat.stop_texts(),
        decode=opened.loaded.tokenizer.decode,
    )
    _check_length(opened.loaded, drafts, sampling.max_tokens)
    write_answers(opened, drafts, rules, rows, progress)
    found: list[list[dict[str, Any]]] = [[] for _ in specs]
    for (group, question, sample), draft in zip(asked, drafts, strict=True):
        text = _text(opened.loaded.tokenizer, draft, rules)
        lengths = (len(draft.tokens), len(draft.prompt))
        found[group].append(response_row(question, sample, sampling.seed, text, draft.finish, *lengths))
    about = {
        "effective_sampling": sampling.effective(),
        "prompting": specs[0].prompting,
        "stop_tokens": sorted(rules.ends),
        "stop_texts": list(rules.stops),
        "template_sha256": chat.template_sha256(),
    }
    return [(answers, row_counts(answers) | about) for answers in found]


def _text(tokenizer: Any, draft: Draft, rules: Rules) -> str:
    """The answer without end mark and stop text."""
    text = str(tokenizer.decode(draft.tokens, skip_special_tokens=True))
    for stop in rules.stops if draft.finish == "stop_text" else ():
        text = text.split(stop)[0]
    return text


def _check_length(loaded: Any, drafts: list[Draft], max_tokens: int) -> None:
    longest = max(len(draft.prompt) for draft in drafts)
    limit = getattr(loaded.network.config, "max_position_embeddings", None)
    if limit and longest + max_tokens > limit:
        raise ValueError(
            f"the longest prompt has {longest} tokens and max_tokens is {max_tokens}, but {loaded.base.name} holds "
            f"{limit}: answers would be cut in silence; lower max_tokens"
        )
