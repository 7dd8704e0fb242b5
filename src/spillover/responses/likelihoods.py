"""How probable a model finds answers that were given, its own or another model's: an artefact. Knows specs and rows."""

from __future__ import annotations

from typing import Any, ClassVar

from spillover.models.base import Model
from spillover.models.chat import Message, Prompting
from spillover.models.loading import DType, default_prompting
from spillover.records import LIKELIHOODS, read_table, write_table
from spillover.responses.responses import Responses
from spillover.responses.sampler import PROMPT_TOKENS
from spillover.store import Artefact, BuildContext, Cost

ROWS = 32  # answers read at once; changes speed and memory, not numbers


class Likelihoods(Artefact):
    """Teacher-forced log-probabilities of stored answers under a model, token by token, at temperature 1.

    An answer's text is tokenised as it follows the prompt, without the mark that ends it. Under the model that gave it,
    at temperature 1 and top_p 1, this is what it was drawn with, up to the few answers whose tokens their text does not
    say; of another sampler of the same weights (`responses/vllm`) it tells whether that one asks the same model.
    """

    runs_a_network: ClassVar[bool] = True

    model: Model
    answers: Responses
    prompting: Prompting | None = None  # of `model`; None: as `Responses` prompts it
    dtype: DType = "float32"

    def summary(self) -> str:
        return f"Log-probabilities under {self.model.label()} of {self.answers.summary()}"

    def cost(self) -> Cost:
        sampling, questions = self.answers.sampling, len(self.answers.questions.questions())
        written = sampling.per_question * sampling.max_tokens
        units = questions * (PROMPT_TOKENS + written) * self.model.relative_size
        return Cost(units, 1 / 800, tokens=questions * written, token_use="read at most")

    def make(self, context: BuildContext) -> dict[str, Any]:
        from spillover.models.forward.load_models import open_model
        from spillover.responses.teacher_forcing import log_probabilities

        path = context.path(self.answers) / "responses.parquet"
        answers = read_table(path, ["question_id", "sample", "answer"]).to_pylist()
        opened = open_model(self.model, context.store, self.dtype)
        chat = opened.loaded.chat(self.prompting or default_prompting(self.model.base()))
        questions = {question.id: question for question in self.answers.questions.questions()}
        texts = []
        for row in answers:
            before = questions[row["question_id"]].messages(row["sample"])
            answer = chat.completion((*before, Message("assistant", row["answer"])))
            texts.append((tuple(chat.prompt(before)), tuple(answer)))
        found = log_probabilities(opened, texts, ROWS, context.progress)
        rows = [
            {
                "question_id": row["question_id"],
                "sample": row["sample"],
                "tokens": len(each),
                "log_probability": float(each.sum(dtype="float64")) if len(each) else None,
                "per_token": each.tolist(),
            }
            for row, each in zip(answers, found, strict=True)
        ]
        write_table(rows, context.folder / "likelihoods.parquet", LIKELIHOODS)
        tokens = sum(row["tokens"] for row in rows)
        total = sum(row["log_probability"] or 0.0 for row in rows)
        return {
            "answers": len(rows),
            "empty": sum(row["tokens"] == 0 for row in rows),
            "tokens": tokens,
            "nats_per_token": total / tokens if tokens else None,
            "prompting": chat.prompting,
            "template_sha256": chat.template_sha256(),
        }
