"""A tokenizer's chat template at work: rendered only by `apply_chat_template` (a sandbox), told by what it does.

Templates are known by their behaviour, never by a model's name: each question about one (does it take system turns,
what does it write after an answer, what does it put before the first turn) is answered by rendering probes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from spillover.models.chat_settings import ChatSettings
from spillover.models.thoughts import MARKS, opened_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER, _ANSWER, _NEXT = "SYSTEMPROBE", "USERPROBE", "ANSWERPROBE", "NEXTPROBE"
_LIKE_A_MARK = re.compile(r"[<\[|].*[>\]|]")
_told: set[str] = set()  # templates whose folding was told


class Message(NamedTuple):
    """One turn: role is system, user or assistant."""

    role: str
    content: str


class ChatTemplate:
    """The template that a tokenizer and the settings give, rendered with those settings."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: ChatSettings) -> None:
        self.tokenizer, self.settings = tokenizer, settings

    @cached_property
    def text(self) -> str:
        """Its Jinja text; ValueError where there is none, or none of the name asked for."""
        own, named = self.tokenizer.chat_template, self.settings.named
        if self.settings.file:
            return self.settings.file_text()
        if not own:
            raise ValueError(
                "the tokenizer has no chat_template: give one (--template FILE.jinja, sp.base(MODEL, template=...)), "
                "or write MODEL#pretrained for a model that is asked as Question: ... Answer:"
            )
        several = own if isinstance(own, dict) else {"default": own}
        if (named or "default") not in several:
            asked = f"none is called {named!r}" if named else "none is the default"
            raise ValueError(
                f"of the tokenizer's chat templates {asked}: choose one (--template NAME, sp.base(MODEL, "
                f"template=NAME)) of {', '.join(sorted(several))}"
            )
        return str(several[named or "default"])

    def render(self, messages: Sequence[Message], answer_next: bool) -> str:
        """The turns as text; with `answer_next` up to where the answer begins, a thought closed if none is wanted."""
        messages = self._prepared(messages)
        text = self._plain(messages, answer_next)
        opened = opened_in(text) if answer_next and self.settings.thinking == "off" else ""
        return f"{text.rstrip()}\n\n{MARKS[opened]}\n\n" if opened else text

    @cached_property
    def _with_date(self) -> str:
        """The template, which writes the date of the settings where it would write today's.

        A macro stands in the place of the function that knows today: a template is given no function of ours.
        """
        if not self.writes_a_date:
            return self.text
        time = self.settings.time()
        codes = [f"%{sign}{letter}" for sign in ("-", "") for letter in "aAbBdHIjmMpSuUVwWyYZ"]
        codes += ["%c", "%x", "%X", "%D", "%F", "%T", "%R", "%e", "%G", "%h"]
        replaced = "".join(f" | replace({code!r}, {time.strftime(code)!r})" for code in codes)
        return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{self.text}"

    def _plain(self, messages: Sequence[Message], answer_next: bool) -> str:
        from jinja2 import TemplateError

        thinks = self.settings.thinking == "on"
        try:
            text = self.tokenizer.apply_chat_template(
                [message._asdict() for message in messages],
                chat_template=self._with_date,
                tokenize=False,
                add_generation_prompt=answer_next,
                enable_thinking=thinks,
                thinking=thinks,
            )
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ValueError(f"the chat template cannot render the turns {roles}: {error}") from None
        return str(text)

    def _prepared(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The turns with the system text of the settings, and without system turns where the template has none."""
        system = self.settings.system
        if system is not None and messages[0].role != "system" and (system or self.takes_system):
            if not system:
                self._expect_off()
            messages = (Message("system", system), *messages)
        if any(message.role == "system" for message in messages) and not self.takes_system:
            self._tell_folding()
            return folded(messages)
        return messages

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system turn is rendered: some templates refuse one, some drop it without a word."""
        try:
            return _SYSTEM in self._plain((Message("system", _SYSTEM), Message("user", _USER)), True)
        except ValueError:
            return False

    @cached_property
    def end_mark(self) -> str:
        """What ends an answer: a mark that is written after it, or that begins the next turn; empty: nothing."""
        turns = (Message("user", _USER), Message("assistant", _ANSWER))
        try:
            tail = self._plain(turns, False).rpartition(_ANSWER)[2]
            if tail.strip():
                return self._mark_in(tail)
            whole = self._plain((*turns, Message("user", _NEXT)), False)
        except ValueError:
            return ""
        return self._mark_in(whole.rpartition(_ANSWER)[2].partition(_NEXT)[0]) if _ANSWER in whole else ""

    def _mark_in(self, text: str) -> str:
        """The tokenizer's end token, or the first mark there is in a text, else the text itself."""
        end = self.tokenizer.eos_token
        if end and end in text:
            return str(end)
        known = {str(token) for token in self.tokenizer.all_special_tokens}
        for token in getattr(self.tokenizer, "added_tokens_decoder", {}).values():
            if token.special or _LIKE_A_MARK.fullmatch(token.content):
                known.add(token.content)
        longest_first = sorted(filter(str.strip, known), key=len, reverse=True)
        match = re.search("|".join(map(re.escape, longest_first)), text) if longest_first else None
        return match[0] if match else text.strip()

    @cached_property
    def end_token(self) -> int | None:
        """The token that ends an answer; None where a text of several does."""
        ids = self.tokenizer(self.end_mark, add_special_tokens=False)["input_ids"] if self.end_mark else []
        return int(ids[0]) if len(ids) == 1 and self.tokenizer.decode(ids).strip() == self.end_mark else None

    @cached_property
    def inserted(self) -> str:
        """The text that stands before the first user turn where no system turn is given, without marks."""
        lead = self.render((Message("user", _USER),), True).partition(_USER)[0]
        turns = (Message("user", _NEXT), Message("assistant", _ANSWER), Message("user", _USER))
        try:
            header = self.render(turns, True).partition(_ANSWER)[2].partition(_USER)[0]
        except ValueError:
            header = ""
        pairs = zip(reversed(lead), reversed(header), strict=False)
        shared = next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(lead), len(header)))
        text = lead[: len(lead) - shared]
        for mark in {token for token in self._marks() if token in text}:
            text = text.replace(mark, "")
        return re.sub(r"^\s*(system|developer)\b:?\s*", "", text, flags=re.IGNORECASE).strip()

    def _marks(self) -> list[str]:
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        return sorted({token.content for token in added if token.content.strip()}, key=len, reverse=True)

    @property
    def writes_a_date(self) -> bool:
        """Whether it would write today's date."""
        return "strftime_now" in self.text

    def _expect_off(self) -> None:
        """ValueError where the template puts its own text before the conversation in spite of an empty system turn."""
        user = Message("user", _USER)
        before = self._plain((user,), True).partition(_USER)[0]
        if self._plain((Message("system", ""), user), True).partition(_USER)[0] == before and self._adds(before):
            raise ValueError(
                "the chat template puts a system text of its own even before a conversation with an empty one, so it "
                "cannot be switched off: give a text in its place (--system TEXT), or another template"
            )

    def _adds(self, lead: str) -> bool:
        for mark in self._marks():
            lead = lead.replace(mark, "")
        return len(re.findall(r"\w+", lead)) > 2  # more than a role's name

    def _tell_folding(self) -> None:
        if self.text not in _told:
            _told.add(self.text)
            warnings.warn(
                "the chat template has no system turns: their text stands at the beginning of the user's turn after "
                "them, an empty line between",
                stacklevel=5,
            )


def folded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns with the text of each system turn at the beginning of the user turn after it."""
    turns: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting += [message.content] if message.content.strip() else []
        elif message.role == "user":
            turns.append(Message("user", "\n\n".join((*waiting, message.content))))
            waiting = []
        else:
            turns.append(message)
    return (*turns, *(Message("system", text) for text in waiting))
