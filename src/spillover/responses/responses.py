"""The answers of one model to one set of questions: an artefact."""

from __future__ import annotations

from spillover.responses.sampler import AnswerSet, Sampler
from spillover.responses.samplers.local_sampler import LocalSampler
from spillover.store import BuildContext


class Responses(AnswerSet):
    """What a model answers: `per_question` answers to each question."""

    sampler: Sampler = LocalSampler()

    def make(self, context: BuildContext) -> dict[str, object]:
        return self.sampler.make(self, context)
