"""An artefact that can be made while a sampler reads its prompts, with no pass of its own. Knows no network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from spillover.responses.responses import Responses
from spillover.store import Artefact, Store

if TYPE_CHECKING:
    from spillover.models.forward.load_models import LoadedModels
    from spillover.models.forward.prompt_reading import Watch


class Onlooker(Artefact):
    """An artefact that is made of what a network shows while it reads prompts."""

    @abstractmethod
    def looking_on(
        self, asked: Sequence[Responses], opened: LoadedModels, store: Store
    ) -> AbstractContextManager[Watch | None]:
        """Who looks on while `asked` are answered by `opened`; None where nothing that this needs is to be seen.

        What was seen is kept for this artefact when the context ends without an error.
        """
