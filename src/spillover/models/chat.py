"""From messages to tokens: prompts for asking, and answers with the supervised part known.

A row is tokenised whole, as the template writes it, since many tokenizers put a space before a text's first word: an
answer tokenised apart would have tokens that no model writes. Where the whole does not begin with the prompt's own
tokens, the row says. A row is what is asked, then the answer, then what the template ends it with: also where a
template writes a conversation otherwise than the prompt before it (it counts turns, or leaves out past thoughts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from spillover.models.chat_settings import ChatSettings
from spillover.models.chat_template import ChatTemplate
from spillover.models.chat_template import Message as Message
from spillover.models.thoughts import (
    EVERY_MARK,
    MARKS,
    closed_in,
    opened_in,
    split_thought,
    with_thought,
    without_thought_at_end,
)

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Prompting = Literal["chat", "question-answer", "raw"]
QUESTION_STOPS = ("\nQuestion:", "\n\nQuestion", "\nQ:")
DEFAULTS = ChatSettings()
OTHER_TEMPLATE = "give another template (--template FILE.jinja, sp.base(MODEL, template=...))"


@dataclass(frozen=True)
class Supervised:
    """Tokens of one training row; the loss is on `ids[prompt_length:]`."""

    ids: tuple[int, ...]
    prompt_length: int
    cut: bool = False  # whether max_length took tokens away
    blurred: bool = False  # whether a token reaches over from prompt to answer, so that sampling starts elsewhere

    @property
    def trained(self) -> int:
        """How many tokens bear loss."""
        return len(self.ids) - self.prompt_length


@dataclass(frozen=True)
class Chat:
    """Renders messages for one tokenizer in one way of prompting."""

    tokenizer: PreTrainedTokenizerBase
    prompting: Prompting
    settings: ChatSettings = DEFAULTS  # of the chat template

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template with its settings."""
        return ChatTemplate(self.tokenizer, self.settings)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The text a model is given to answer: everything up to where the answer begins."""
        if self.prompting == "chat":
            return self.template.render(messages, answer_next=True)
        if self.prompting == "raw":
            return "\n\n".join(message.content for message in messages)
        *before, last = messages
        lead = "".join(f"{message.content}\n\n" for message in before)
        return f"{lead}Question: {last.content}\n\n Answer:"

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids; a beginning-of-text token stands first where the tokenizer has one and wants it."""
        text = self.prompt_text(messages)
        return [int(token) for token in self._encoded(text)["input_ids"]]

    def answer_text(self, messages: Sequence[Message]) -> str:
        """What follows the prompt when the last message is the answer, up to the end-of-turn token and with it."""
        lead, content, mark = self._answer_parts(messages)
        return lead + content + mark

    def completion(self, messages: Sequence[Message], thought: str = "") -> tuple[list[int], list[int]]:
        """Token ids of what the model is given, and of the last message's text after it, without the end-of-turn mark.

        thought: what was written before the answer; it belongs to what is given, as does whatever the template writes
        in its place. Both as in training, but where a token reaches over from the prompt: the answer apart then. The
        answer is empty for an empty message.
        """
        *before, answer = messages
        content = answer.content.strip()
        if not content:
            return self.prompt(before), []
        lead = " "
        if self.prompting == "chat":
            own, rest = split_thought(content)
            thought, content = (own, rest) if own and rest and not thought else (thought, content)
            whole = (*before, Message("assistant", with_thought(thought, content)))
            lead, written, _ = self._answer_parts(whole)
            if written != content:
                raise ValueError(f"the chat template changes the text of an answer, which begins {content[:40]!r}")
        given = lead if lead.strip() else ""  # a thought, and what else the template writes before an answer
        ids, start, blurred = self._whole(before, given, lead.removeprefix(given) + content)
        if blurred:
            prompt = self._encoded(self.prompt_text(before) + given)["input_ids"]
            return [int(token) for token in prompt], self._apart(lead.removeprefix(given) + content)
        return ids[:start], ids[start:]

    def supervised(self, messages: Sequence[Message], max_length: int) -> Supervised:
        """Tokens of a row that ends in an assistant turn; the loss is on that turn and its end-of-turn token."""
        if len(messages) < 2 or messages[-1].role != "assistant":
            raise ValueError(f"a training row ends in an assistant turn; this one ends in {messages[-1].role!r}")
        if not messages[-1].content.strip():
            raise ValueError("the assistant turn is empty: training on it teaches the model to stop at once")
        ids, start, blurred = self._whole(messages[:-1], "", self.answer_text(messages))
        if start >= max_length:
            raise ValueError(f"the prompt alone has {start} tokens, max_length is {max_length}: raise it")
        return Supervised(tuple(ids[:max_length]), start, cut=len(ids) > max_length, blurred=blurred)

    def stop_texts(self) -> tuple[str, ...]:
        """Texts that end an answer besides end tokens: what a pretrained model runs on into, or a template's own."""
        if self.prompting == "chat" and self.tokenizer is not None:
            template = self.template
            return (template.end_mark,) if template.end_mark and template.end_token is None else ()
        return QUESTION_STOPS if self.prompting == "question-answer" else ()

    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer because the template writes them after one."""
        token = self.template.end_token if self.prompting == "chat" else None
        return frozenset() if token is None else frozenset({token})

    def split_thought(self, answer: str, prompt: str) -> tuple[str, str]:
        """The thought and the answer in what a model wrote after this text of a prompt."""
        return split_thought(answer, opened_in(prompt))

    @cached_property
    def decode(self) -> Callable[..., str]:
        """`tokenizer.decode`, which keeps the marks of thoughts even where they are special tokens."""
        decode: Callable[..., str] = self.tokenizer.decode
        special = set(self.tokenizer.all_special_tokens)
        pieces = {piece for mark in EVERY_MARK for piece in special if piece in mark}
        if not pieces or self.prompting != "chat":
            return decode
        hidden = special - pieces

        def marked(ids: Sequence[int], skip_special_tokens: bool = False) -> str:
            text = str(decode(ids))
            for token in hidden if skip_special_tokens else ():
                text = text.replace(token, "")
            return text

        return marked

    def template_sha256(self) -> str | None:
        """SHA-256 of the chat template, where one was used."""
        if self.prompting != "chat":
            return None
        return hashlib.sha256(self.template.text.encode()).hexdigest()

    def facts(self) -> dict[str, object]:
        """How a model was prompted, for the manifest; of the template what it does with these settings."""
        facts: dict[str, object] = {"prompting": self.prompting, "template_sha256": None}
        if self.prompting != "chat" or self.tokenizer is None:
            return facts
        template = self.template
        facts |= {"template_sha256": self.template_sha256(), "thinking": self.settings.thinking}
        facts |= {"template_date": self.settings.date} if template.writes_a_date else {}
        facts |= {"system_turns": "folded into user turns"} if not template.takes_system else {}
        return facts | ({"inserted_text": template.inserted} if template.inserted else {})

    def _answer_parts(self, messages: Sequence[Message]) -> tuple[str, str, str]:
        """What follows the prompt in three parts: what the template writes before the answer, the answer, its end."""
        *before, answer = messages
        if self.prompting != "chat":
            if not self.tokenizer.eos_token:
                raise ValueError("the tokenizer has no end token, so an answer's end cannot be trained")
            return " ", answer.content.strip(), self.tokenizer.eos_token
        prompt, whole = self.prompt_text(before), self.template.render(messages, answer_next=False)
        thought, content = split_thought(answer.content.strip())
        if thought and closed_in(prompt):
            raise ValueError(
                "the answer holds a thought, and thinking is off, so that the model is asked with its thought closed: "
                "train and ask with --thinking on (sp.base(MODEL, thinking='on')), or leave thoughts out "
                "(--thoughts drop)"
            )
        content = content.strip() or answer.content.strip()
        start = whole.rfind(content)
        mark = self.template.end_mark
        if not mark:
            raise ValueError("the chat template puts no mark after an answer, so an answer's end cannot be trained")
        if not whole.startswith(prompt):
            lead = self._aligned(before, prompt, whole[: max(start, 0)], thought)
        elif start >= len(prompt):
            lead = whole[len(prompt) : start]
        else:  # the template changes the answer's text
            lead, content, start = "", whole[len(prompt) :].partition(mark)[0].rstrip(), len(prompt)
        after = whole[start + len(content) :]
        ends = after.find(mark)
        if thought and thought not in lead:  # the template leaves thoughts of past turns out, and this one is none
            lead += with_thought(thought, "")
        return lead, content, after[: ends + len(mark)] if ends >= 0 else mark

    def _aligned(self, before: Sequence[Message], prompt: str, head: str, thought: str) -> str:
        """What stands between prompt and answer where the template writes the whole otherwise than the prompt.

        head: the whole up to the answer. What begins an answer is known by what the prompt has after its last turn.
        """
        bare, block = without_thought_at_end(prompt)
        last = before[-1].content.strip()
        header = bare[bare.rfind(last) + len(last) :].strip() if last in bare else ""
        place = head.rfind(header) if header else -1
        lead = head[place + len(header) :]
        if place < 0 or without_thought_at_end(lead)[0].strip():
            raise ValueError(
                "the chat template renders a conversation otherwise than the prompt of its last answer, and where that "
                f"answer begins cannot be told: {OTHER_TEMPLATE}, or write MODEL#pretrained to train and ask it by "
                "Question: ... Answer:"
            )
        if opened := opened_in(block):
            return f"{thought}\n{MARKS[opened]}\n\n"
        return "" if block or prompt[-1:].isspace() else lead

    def _whole(self, before: Sequence[Message], given: str, answer: str) -> tuple[list[int], int, bool]:
        """Token ids of a prompt and what follows it, where the answer begins, and whether a token is of both.

        given: what stands between prompt and answer.
        """
        text = self.prompt_text(before) + given
        prompt = [int(token) for token in self._encoded(text)["input_ids"]]
        if not self.tokenizer.is_fast:  # it does not say which text a token is of
            ids = self._encoded(text + answer)["input_ids"]
            if ids[: len(prompt)] == prompt:
                return ids, len(prompt), False
            return [*prompt, *self._apart(answer)], len(prompt), True
        encoded = self._encoded(text + answer, return_offsets_mapping=True)
        ids = [int(token) for token in encoded["input_ids"]]
        if ids[: len(prompt)] == prompt and len(ids) > len(prompt):
            return ids, len(prompt), False
        ends = [end for _, end in encoded["offset_mapping"]]
        return ids, next((index for index, end in enumerate(ends) if end > len(text)), len(ids)), True

    def _apart(self, answer: str) -> list[int]:
        return [int(token) for token in self.tokenizer(answer, add_special_tokens=False)["input_ids"]]

    def _encoded(self, text: str, **options: bool) -> BatchEncoding:
        """Tokens, with the tokenizer's own special ones where no template writes those."""
        return self.tokenizer(text, add_special_tokens=self.prompting != "chat", **options)
