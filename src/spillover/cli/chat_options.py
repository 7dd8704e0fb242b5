"""Options of commands that say what a model's chat template is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from spillover.cli.parameters import option

if TYPE_CHECKING:
    from spillover.models.chat_settings import ChatSettings

THINKING = typer.Option(help="Whether models that can think before they answer do: off or on, in training too.")
DATE = typer.Option(help="What templates that write today's date write: YYYY-MM-DD.")
SYSTEM = typer.Option(help="System text where a conversation has none; '' for none. Default: the template's own.")
TEMPLATE = typer.Option(help="A Jinja file, or which of the model's several chat templates.")


CHAT_OPTIONS = (
    option("thinking", Annotated[str, THINKING], "off"),
    option("date", Annotated[str, DATE], "2025-01-01"),
    option("system", Annotated[str | None, SYSTEM], None),
    option("template", Annotated[str, TEMPLATE], ""),
)


def chat_settings_of(given: Mapping) -> ChatSettings:
    """What templates are told, from what the user gave for `CHAT_OPTIONS`."""
    from spillover.models.chat_settings import ChatSettings

    return ChatSettings.of(**{option.name: given[option.name] for option in CHAT_OPTIONS})
