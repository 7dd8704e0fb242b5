"""Who draws the answers: this project's own loop, or an engine that serves the model. A part of what answers are."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from spillover.spec import Spec
from spillover.store import BuildContext

if TYPE_CHECKING:
    from spillover.responses.responses import Responses


class Sampler(Spec):
    """Who draws the answers."""

    @abstractmethod
    def make(self, spec: Responses, context: BuildContext) -> dict[str, Any]:
        """Write the answers of `spec` into `context.folder`, `responses.parquet`; facts for the manifest."""

    @abstractmethod
    def seconds(self, spec: Responses, tokens: float) -> float:
        """About how long that takes, where the store holds no measurement yet.

        tokens: that are read and written, at most, each as many times as the model's parameters are 135 million.
        """

    def refuse(self, spec: Responses) -> None:
        """ValueError where it cannot make such answers."""
