"""The answers of one model to one set of questions: an artefact. Knows who is asked what."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import model_validator

from spillover.models.base import Model
from spillover.models.chat import Prompting
from spillover.models.loading import default_prompting
from spillover.responses.question import QuestionSelection
from spillover.responses.sampler import Sampler
from spillover.responses.samplers.local.sampler import LocalSampler
from spillover.responses.sampling import Sampling
from spillover.store import Artefact, BuildContext, Cost

READ = 40  # tokens of a prompt that it does not share with others, about


class Responses(Artefact):
    """What a model answers: `per_question` answers to each question."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    questions: QuestionSelection
    sampling: Sampling = Sampling()
    sampler: Sampler = LocalSampler()

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        self.sampler.refuse(self)
        return self

    @property
    def prompting(self) -> Prompting:
        """How the model is prompted: as the sampling says, else by what the base is."""
        return self.sampling.prompting or default_prompting(self.model.base())

    def summary(self) -> str:
        return f"{self.sampling.per_question} answers of {self.model.label()} to each question"

    def cost(self) -> Cost:
        """Tokens that go through a model of 135M parameters, were no answer to end early."""
        questions, written = len(self.questions.questions()), self.sampling.per_question * self.sampling.max_tokens
        units = questions * (READ + written) * self.model.relative_size
        seconds = self.sampler.seconds(self, units)
        return Cost(units, seconds / units, tokens=questions * written, token_use="written at most")

    def make(self, context: BuildContext) -> dict[str, Any]:
        return self.sampler.make(self, context)
