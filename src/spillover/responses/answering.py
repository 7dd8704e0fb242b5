"""From a `Responses` spec to rows: renders prompts, keys the random numbers, cuts at stop texts. Knows no torch."""

from __future__ import annotations

from collections import Counter
from typing import Any

from spillover.models.loading import load
from spillover.responses.decoding import Draft, Rules, write_answers
from spillover.responses.responses import Responses
from spillover.responses.sampling import uniforms
from spillover.store import Work


def answer(spec: Responses, work: Work, rows: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All answers as rows of the `RESPONSES` schema, and facts for the manifest."""
    sampling = spec.sampling
    loaded = load(spec.model, work.store, sampling.dtype)
    chat = loaded.chat(spec.prompting)
    asked = [(question, sample) for question in spec.questions.picked() for sample in range(sampling.per_question)]
    drafts = [
        Draft(
            tuple(chat.prompt(question.messages(sample))),
            uniforms(sampling.seed, question.id, sample, sampling.max_tokens),
        )
        for question, sample in asked
    ]
    rules = Rules(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        ends=loaded.ends,
        stops=chat.stop_texts(),
        decode=loaded.tokenizer.decode,
    )
    _check_length(loaded, drafts, sampling.max_tokens)
    write_answers(loaded, drafts, rules, rows, work.tick)
    found = [
        {
            "question_id": question.id,
            "sample": sample,
            "question": question.question,
            "family": question.family,
            "category": question.category,
            "format": question.format,
            "prompt": question.messages(sample)[-1].content,
            "answer": _text(loaded.tokenizer, draft, rules),
            "finish_reason": draft.finish,
            "tokens": len(draft.tokens),
            "prompt_tokens": len(draft.prompt),
            "seed": sampling.seed,
        }
        for (question, sample), draft in zip(asked, drafts, strict=True)
    ]
    return found, {
        "answers": len(found),
        "tokens": sum(row["tokens"] for row in found),
        "finish_reasons": dict(sorted(Counter(row["finish_reason"] for row in found).items())),
        "effective_sampling": sampling.effective(),
        "prompting": spec.prompting,
        "stop_tokens": sorted(rules.ends),
        "stop_texts": list(rules.stops),
        "template_sha256": chat.template_sha256(),
    }


def _text(tokenizer: Any, draft: Draft, rules: Rules) -> str:
    """The answer without end mark and stop text; half characters, which no table takes, become a question mark."""
    text = str(tokenizer.decode(draft.tokens, skip_special_tokens=True))
    for stop in rules.stops if draft.finish == "stop_text" else ():
        text = text.split(stop)[0]
    return text.strip().encode("utf-8", "replace").decode("utf-8")


def _check_length(loaded: Any, drafts: list[Draft], max_tokens: int) -> None:
    longest = max(len(draft.prompt) for draft in drafts)
    limit = getattr(loaded.network.config, "max_position_embeddings", None)
    if limit and longest + max_tokens > limit:
        raise ValueError(
            f"the longest prompt has {longest} tokens and max_tokens is {max_tokens}, but {loaded.base.name} holds "
            f"{limit}: answers would be cut in silence; lower max_tokens"
        )
