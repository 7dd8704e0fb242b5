"""Options of `run` that say who answers: our own loop, vLLM, or a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from spillover.cli.parameters import option

if TYPE_CHECKING:
    from spillover.responses.samplers.naming import SamplerChoice

SAMPLER = typer.Option(
    help="Who answers: auto (vLLM where it and a GPU are there, else local), local, vllm, server, "
    "or server:MODEL=NAME,... with the names that models have there."
)
BASE_URL = typer.Option(help="Where the server is: http://127.0.0.1:8000/v1 if not given.")
SAMPLING_OPTIONS = (
    option("sampler", Annotated[str, SAMPLER], "auto"),
    option("base_url", Annotated[str, BASE_URL], ""),
)


def sampler_of(given: Mapping[str, object]) -> SamplerChoice:
    """Who answers, from what the user gave for `SAMPLING_OPTIONS`."""
    from spillover.responses.samplers.naming import sampler_named

    return sampler_named(str(given["sampler"]), str(given["base_url"]))
