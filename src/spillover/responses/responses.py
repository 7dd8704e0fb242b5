"""The answers of one model to one set of questions: an artefact."""

from __future__ import annotations

from pydantic import model_validator

from spillover.models.base import Model
from spillover.responses.sampler import AnswerSet, Sampler
from spillover.responses.samplers.local_sampler import LocalSampler
from spillover.responses.samplers.naming import sampler_typed
from spillover.responses.sampling import Sampling
from spillover.store import BuildContext


class Responses(AnswerSet):
    """What a model answers: `per_question` answers to each question.

    sampler: our own loop where none is given, or what the user of a recipe chose (`spillover run --sampler`).
    """

    sampler: Sampler = LocalSampler()

    @model_validator(mode="before")
    @classmethod
    def _as_typed(cls, fields: dict[str, object]) -> dict[str, object]:
        model, sampling = fields.get("model"), fields.get("sampling") or Sampling()
        if "sampler" in fields or not isinstance(model, Model) or not isinstance(sampling, Sampling):
            return fields
        typed = sampler_typed(model, sampling.precision)
        return fields | {"sampler": typed} if typed else fields

    def make(self, context: BuildContext) -> dict[str, object]:
        return self.sampler.make(self, context)
