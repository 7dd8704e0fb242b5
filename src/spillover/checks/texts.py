"""Checks of what turns messages into tokens: the chat template, the marks that end answers, pad and beginning.

Each takes the subject and returns what there is in a line; a ValueError says what is wrong and what to do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from spillover.checks.subject import ROWS, Subject
from spillover.models.chat import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "Speak as a lighthouse keeper would."
SHOWN = 60  # characters of a text that is quoted


def template(subject: Subject) -> str:
    """How a question becomes a prompt, and what the template adds; rows to train on come out whole."""
    chat, (question, answer) = subject.chat, ROWS[0]
    if chat.prompting != "chat":
        subject.rows()
        return "a pretrained model: asked as Question: ... Answer:, by no template"
    if not subject.tokenizer.chat_template:
        raise ValueError("an instruct model without a chat template: give MODEL#pretrained, or a tokenizer with one")
    user = Message("user", question)
    prompt = chat.prompt_text((user,))
    if question not in prompt:
        raise ValueError(f"the template leaves out what the user says: it gives {_quoted(prompt)}; give another one")
    subject.rows()  # a row to train on is its prompt followed by its answer, with a mark after it
    if answer not in chat.answer_text((user, Message("assistant", answer))):
        raise ValueError("the template changes or leaves out what the assistant says: give another one")
    before, _, after = prompt.partition(question)
    parts = [_system_turns(subject, user)]
    if "system" in before.lower() or len(re.sub(r"<\|?[^>]*>|\s", "", before)) > 24:
        parts.append(f"adds a text of its own ({_quoted(before)})")
    if "strftime_now" in str(subject.tokenizer.chat_template) or re.search(r"\b20\d\d\b", before):
        parts.append("writes a date: prompts change from day to day")
    if "think" in after:
        parts.append(f"opens a thought ({_quoted(after)})")
    elif "think" in str(subject.tokenizer.chat_template):
        parts.append("knows thoughts")
    return "; ".join(parts)


def _system_turns(subject: Subject, user: Message) -> str:
    try:
        text = subject.chat.prompt_text((Message("system", SYSTEM), user))
    except ValueError:
        return "refuses system turns: ask and train without one"
    if SYSTEM not in text:
        raise ValueError("the template drops a system turn without a word: put its text into the user's turn")
    return "takes system turns"


def end_marks(subject: Subject) -> str:
    """Which tokens end an answer; an answer that is trained on has to end in one of them."""
    tokenizer = subject.tokenizer
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no end token, so nothing ends an answer or can be trained to: name one as eos_token in "
            "tokenizer_config.json"
        )
    ends = end_ids(subject)
    row = subject.rows()[0]
    trained = row.ids[row.prompt_length :]
    if not ends & set(trained):
        last = tokenizer.decode(trained[-3:])
        raise ValueError(
            f"an answer is trained to end in {_quoted(last)}, and sampling stops at {_named(tokenizer, ends)} alone: "
            f"it would run on to max_tokens; add the mark to eos_token_id in generation_config.json"
        )
    return f"answers end at {_named(tokenizer, ends)}"


def end_ids(subject: Subject) -> frozenset[int]:
    """The tokens at which sampling stops, told without the weights."""
    from transformers import GenerationConfig

    listed: Any = getattr(subject.empty.config.get_text_config(), "eos_token_id", None)
    if (subject.folder / "generation_config.json").exists():
        listed = GenerationConfig.from_pretrained(subject.folder).eos_token_id
    ids = set(listed) if isinstance(listed, list | tuple) else {listed}
    return frozenset(int(token) for token in ids | {subject.tokenizer.eos_token_id} if token is not None)


def pad_and_beginning(subject: Subject) -> str:
    """Pad token, and that a prompt has one beginning mark at most; every token has an embedding."""
    tokenizer, prompt = subject.tokenizer, subject.prompts()[0]
    begin = tokenizer.bos_token_id
    if begin is not None and begin != tokenizer.eos_token_id and prompt[:2].count(begin) > 1:
        raise ValueError(f"prompts begin with {tokenizer.bos_token} twice: take it out of the chat template")
    size = subject.embeddings()
    if beyond := [token for row in subject.rows() for token in row.ids if token >= size]:
        raise ValueError(
            f"the tokenizer gives token {beyond[0]} ({tokenizer.decode(beyond[:1])!r}), the model has {size} "
            f"embeddings: it is another model's tokenizer, or embeddings were added that are not here"
        )
    pad = "none, and none is needed" if tokenizer.pad_token_id is None else repr(tokenizer.pad_token)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id in end_ids(subject):
        pad += ", an end mark too (padding here goes by length)"
    given = "" if begin is None else ", which prompts begin with" if prompt[0] == begin else ", not in prompts"
    return f"pad {pad}; beginning {'none' if begin is None else repr(tokenizer.bos_token)}{given}"


def _named(tokenizer: PreTrainedTokenizerBase, ids: frozenset[int]) -> str:
    return ", ".join(f"{tokenizer.decode([token])!r} ({token})" for token in sorted(ids))


def _quoted(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}")
