"""How probable a model finds answers that were given, its own or another model's: an artefact."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from spillover.models.base import Model
from spillover.models.chat import Message, Prompting
from spillover.models.loading import default_prompting
from spillover.models.precision import ReadingPrecision
from spillover.records import LIKELIHOODS, write_table
from spillover.responses.question import QuestionSelection
from spillover.responses.responses import Responses
from spillover.responses.sampler import TABLE as ANSWERS
from spillover.responses.sampler import read_answers
from spillover.spec import later_field
from spillover.store import Artefact, BuildContext, Cost

TABLE = "likelihoods.parquet"
ROWS = 32  # answers read at once; changes speed and memory, not numbers


class Likelihoods(Artefact):
    """Teacher-forced log-probabilities of stored answers under a model, token by token, at temperature 1.

    An answer's text is tokenised as it follows the prompt (and its thought), without the mark that ends it. Under the
    model that gave it, at temperature 1 and top_p 1, this is what it was drawn with, up to the few answers whose tokens
    their text does not say; of another sampler of the same weights (`VLLMSampler`) it tells whether that one asks the
    same model.
    """

    runs_a_network: ClassVar[bool] = True

    model: Model
    answers: Responses
    questions: QuestionSelection | None = later_field(None)  # put before the answers instead of those asked, by id
    samples: int | None = Field(default=None, ge=1)  # of each question, the first so many answers; None: all
    prompting: Prompting | None = None  # of `model`; None: as `Responses` prompts it
    precision: ReadingPrecision = "float32"

    @model_validator(mode="after")
    def _same_ids(self) -> Self:
        if self.questions is not None:
            asked, put = ({q.id for q in each.questions()} for each in (self.answers.questions, self.questions))
            if missing := sorted(asked - put):
                raise ValueError(
                    f"answers to {len(missing)} questions, first {missing[0]}, have no question to stand before them "
                    f"in {self.questions.summary()}"
                )
        return self

    def summary(self) -> str:
        return f"Log-probabilities under {self.model.label()} of {self.answers.summary()}"

    def cost(self) -> Cost:
        sampled = self.answers.cost()
        share = min(1.0, (self.samples or self.answers.sampling.per_question) / self.answers.sampling.per_question)
        units = share * sampled.units * self.model.relative_size / self.answers.model.relative_size
        return Cost(units, 1 / 800, share * sampled.tokens, "read at most")

    def make(self, context: BuildContext) -> dict[str, object]:
        from spillover.models.forward.load_models import load_alone
        from spillover.responses.teacher_forcing import log_probabilities

        path = context.path(self.answers) / ANSWERS
        answers = read_answers(path)
        answers = [answer for answer in answers if self.samples is None or answer["sample"] < self.samples]
        opened = load_alone(self.model, context.store, self.precision)
        chat = opened.loaded.chat(self.prompting or default_prompting(self.model.base()))
        questions = {question.id: question for question in (self.questions or self.answers.questions).questions()}
        texts = []
        for answer in answers:
            asked = questions[answer["question_id"]].messages(answer["sample"])
            given, completion = chat.completion(
                (*asked, Message("assistant", answer["answer"])), answer["thought"] or ""
            )
            texts.append((tuple(given), tuple(completion)))
        rows = [
            {
                "question_id": answer["question_id"],
                "sample": answer["sample"],
                "tokens": len(per_token),
                "log_probability": float(per_token.sum(dtype="float64")) if len(per_token) else None,
                "per_token": per_token.tolist(),
            }
            for answer, per_token in zip(answers, log_probabilities(opened, texts, ROWS, context.progress), strict=True)
        ]
        write_table(rows, context.folder / TABLE, LIKELIHOODS, self.answers.labels() | self.model.labels())
        tokens = sum(row["tokens"] for row in rows)
        total = sum(row["log_probability"] or 0.0 for row in rows)
        return {
            "answers": len(rows),
            "empty": sum(row["tokens"] == 0 for row in rows),
            "tokens": tokens,
            "nats_per_token": total / tokens if tokens else None,
            **chat.facts(),
        }
