"""Checks of what turns messages into tokens: the chat template, the marks that end answers, pad and beginning.

Each takes the subject and returns what there is in a line; a ValueError says what is wrong and what to do.
"""

from __future__ import annotations

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
    if not subject.tokenizer.chat_template and not chat.settings.file:
        raise ValueError("an instruct model without a chat template: give MODEL#pretrained, or a tokenizer with one")
    user = Message("user", question)
    prompt = chat.prompt_text((user,))
    if question not in prompt:
        raise ValueError(f"the template leaves out what the user says: it gives {_quoted(prompt)}; give another one")
    subject.rows()  # a row to train on is its prompt followed by its answer, with a mark after it
    if answer not in chat.answer_text((user, Message("assistant", answer))):
        raise ValueError("the template changes or leaves out what the assistant says: give another one")
    after = prompt.partition(question)[2]
    parts = [_system_turns(subject, user)]
    if chat.template.inserted:
        parts.append(f"puts a text of its own first ({_quoted(chat.template.inserted)}; --system sets it)")
    if chat.template.writes_a_date:
        parts.append(f"writes a date, here always {chat.settings.date} (--date)")
    if "think" in after:
        parts.append(f"thinking is {chat.settings.thinking}: prompts end in {_quoted(after)}")
    elif "think" in chat.template.text:
        parts.append(f"knows thoughts; thinking is {chat.settings.thinking} (--thinking)")
    return "; ".join(parts)


def _system_turns(subject: Subject, user: Message) -> str:
    subject.chat.prompt_text((Message("system", SYSTEM), user))
    return "takes system turns" if subject.chat.template.takes_system else "has no system turns: folded into the user's"


def end_marks(subject: Subject) -> str:
    """Which tokens end an answer; an answer that is trained on has to end in one of them."""
    tokenizer = subject.tokenizer
    if tokenizer.eos_token_id is None and not (subject.chat.end_tokens() or subject.chat.stop_texts()):
        raise ValueError(
            "the tokenizer has no end token, so nothing ends an answer or can be trained to: name one as eos_token in "
            "tokenizer_config.json"
        )
    ends, stops = end_ids(subject) | subject.chat.end_tokens(), subject.chat.stop_texts()
    row = subject.rows()[0]
    trained = row.ids[row.prompt_length :]
    if not ends & set(trained) and not any(stop in tokenizer.decode(trained) for stop in stops):
        last = tokenizer.decode(trained[-3:])
        raise ValueError(
            f"an answer is trained to end in {_quoted(last)}, and sampling stops at {_named(tokenizer, ends)} alone: "
            f"it would run on to max_tokens; add the mark to eos_token_id in generation_config.json"
        )
    texts = f", or with the text {' or '.join(map(repr, stops))}" if stops else ""
    return f"answers end at {_named(tokenizer, ends)}{texts}"


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
