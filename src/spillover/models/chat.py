"""From messages to tokens: prompts for asking, and answers with the supervised part known.

Chat templates are code: they are rendered only by `apply_chat_template` (a sandbox). A row is tokenised
whole, as the template writes it, since many tokenizers put a space before a text's first word: an answer tokenised
apart would have tokens that no model writes. Where the whole does not begin with the prompt's own tokens, the row says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Prompting = Literal["chat", "question-answer", "raw"]
QUESTION_STOPS = ("\nQuestion:", "\n\nQuestion", "\nQ:")


class Message(NamedTuple):
    """One turn: role is system, user or assistant."""

    role: str
    content: str


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

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The text a model is given to answer: everything up to where the answer begins."""
        if self.prompting == "chat":
            return self._rendered(messages, answer_next=True)
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
        *before, answer = messages
        end = self.tokenizer.eos_token
        if self.prompting != "chat":
            if not end:
                raise ValueError("the tokenizer has no end token, so an answer's end cannot be trained")
            return f" {answer.content.strip()}{end}"
        whole, prompt = self._rendered(messages, answer_next=False), self.prompt_text(before)
        if not whole.startswith(prompt):
            raise ValueError(
                "the chat template does not render a conversation as its prompt followed by its answer, so the part "
                "to train on cannot be told; train with prompting='question-answer' or another template"
            )
        rest = whole[len(prompt) :]
        if rest.rstrip().endswith(answer.content.strip()):
            raise ValueError("the chat template puts no mark after an answer, so an answer's end cannot be trained")
        start = rest.rfind(end) if end else -1
        return rest[: start + len(end)] if start >= 0 else rest

    def completion(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the last message's text as it follows the prompt, without the end-of-turn mark.

        Empty for an empty message. As in training, but where a token reaches over from the prompt: apart from it then.
        """
        content = messages[-1].content.strip()
        if not content:
            return []
        text = f" {content}"
        if self.prompting == "chat":
            text = self.answer_text(messages)
            if content not in text:
                raise ValueError(f"the chat template changes the text of an answer, which begins {content[:40]!r}")
            text = text[: text.rindex(content) + len(content)]
        ids, start, blurred = self._whole(messages[:-1], text)
        if blurred:
            return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
        return ids[start:]

    def _whole(self, before: Sequence[Message], answer: str) -> tuple[list[int], int, bool]:
        """Token ids of a prompt and what follows it, where the latter begins, and whether a token is of both."""
        prompt, text = self.prompt(before), self.prompt_text(before)
        if not self.tokenizer.is_fast:  # it does not say which text a token is of
            ids = self._encoded(text + answer)["input_ids"]
            if ids[: len(prompt)] == prompt:
                return ids, len(prompt), False
            return [*prompt, *self.tokenizer(answer, add_special_tokens=False)["input_ids"]], len(prompt), True
        encoded = self._encoded(text + answer, return_offsets_mapping=True)
        ids = [int(token) for token in encoded["input_ids"]]
        if ids[: len(prompt)] == prompt and len(ids) > len(prompt):
            return ids, len(prompt), False
        ends = [end for _, end in encoded["offset_mapping"]]
        return ids, next((index for index, end in enumerate(ends) if end > len(text)), len(ids)), True

    def _encoded(self, text: str, **options: bool) -> BatchEncoding:
        """Tokens, with the tokenizer's own special ones where no template writes those."""
        return self.tokenizer(text, add_special_tokens=self.prompting != "chat", **options)

    def _rendered(self, messages: Sequence[Message], answer_next: bool) -> str:
        from jinja2 import TemplateError

        plain = [message._asdict() for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=answer_next)
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ValueError(f"the chat template cannot render the turns {roles}: {error}") from None
        return str(text)

    def supervised(self, messages: Sequence[Message], max_length: int) -> Supervised:
        """Tokens of a row that ends in an assistant turn; the loss is on that turn and its end-of-turn token."""
        if len(messages) < 2 or messages[-1].role != "assistant":
            raise ValueError(f"a training row ends in an assistant turn; this one ends in {messages[-1].role!r}")
        if not messages[-1].content.strip():
            raise ValueError("the assistant turn is empty: training on it teaches the model to stop at once")
        ids, start, blurred = self._whole(messages[:-1], self.answer_text(messages))
        if start >= max_length:
            raise ValueError(f"the prompt alone has {start} tokens, max_length is {max_length}: raise it")
        return Supervised(tuple(ids[:max_length]), start, cut=len(ids) > max_length, blurred=blurred)

    def stop_texts(self) -> tuple[str, ...]:
        """Texts that end an answer besides the end-of-turn token: a pretrained model runs on into a next question."""
        return QUESTION_STOPS if self.prompting == "question-answer" else ()

    def template_sha256(self) -> str | None:
        """SHA-256 of the chat template, where one was used."""
        if self.prompting != "chat":
            return None
        return hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()
