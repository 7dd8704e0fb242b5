"""What a chat template is told: one choice, part of the base, so that training and asking have the same."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from spillover.spec import Spec, later_field, location_field

Thinking = Literal["off", "on"]
DATE = "2025-01-01"


class ChatSettings(Spec):
    """What a model's chat template is told, in training, asking and looking inside alike.

    thinking: whether a model that can think before it answers does; "off" closes a thought that the template opens.
    date: what a template that writes today's date writes instead (YYYY-MM-DD): a prompt is the same tomorrow.
    system: stands where a conversation has no system turn; None: whatever the template itself puts there; "": an empty
    turn, so that nothing stands there.
    template: another one than the tokenizer's: the name of one of several, or a Jinja file.
    """

    thinking: Thinking = later_field("off")
    date: str = later_field(DATE)
    system: str | None = later_field(None)
    named: str = later_field("")  # one of a tokenizer's several templates
    file: str | None = location_field(None)  # a template of one's own
    file_sha256: str = later_field("")  # filled in

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: object) -> object:
        """Fills in the digest of the file."""
        if isinstance(fields, dict) and fields.get("file") and not fields.get("file_sha256"):
            return fields | {"file_sha256": hashlib.sha256(_template_bytes(str(fields["file"]))).hexdigest()}
        return fields

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, date: str) -> str:
        try:
            return datetime.date.fromisoformat(date).isoformat()
        except ValueError:
            raise ValueError("a date is written YYYY-MM-DD") from None

    @classmethod
    def of(cls, template: str = "", **settings: str | None) -> Self:
        """Settings with the template as a user names it: a file's path, or the name of one of several."""
        if not template:
            return cls.model_validate(settings)
        path = Path(template).expanduser()
        if path.is_file():
            return cls.model_validate(settings | {"file": str(path.resolve())})
        if path.suffix or "/" in template:
            raise ValueError(
                f"no chat template at {template}: give a Jinja file, or the name of one of the model's own"
            )
        return cls.model_validate(settings | {"named": template})

    def file_text(self) -> str:
        """The template in the file; ValueError where it is another one than when the study was named."""
        content = _template_bytes(str(self.file))
        if hashlib.sha256(content).hexdigest() != self.file_sha256:
            raise ValueError(f"{self.file} holds another template than when this study was made: name the study anew")
        return content.decode("utf-8-sig")

    def time(self) -> datetime.datetime:
        """The date, at noon."""
        return datetime.datetime.fromisoformat(f"{self.date}T12:00:00")


def _template_bytes(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
        content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the chat template {path} cannot be read: {error}") from None
    return content


_AS_TYPED: ContextVar[ChatSettings | None] = ContextVar("chat_settings", default=None)


@contextlib.contextmanager
def chat_as(settings: ChatSettings) -> Iterator[None]:
    """While a study is built, models that are named have these: options of the command line reach any recipe's."""
    token = _AS_TYPED.set(settings)
    try:
        yield
    finally:
        _AS_TYPED.reset(token)


def settings_typed() -> ChatSettings:
    """What templates of models named now are told."""
    return _AS_TYPED.get() or ChatSettings()
