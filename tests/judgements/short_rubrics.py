"""Rubrics that fit into the tiny model and let answers stand as they are: for tests of judges that read a rubric."""

from __future__ import annotations

from spillover.judgements.rubric import JudgePrompt, ReplyFormat, Rubrics


class ShortRubrics(Rubrics):
    """One metric, two lines."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("aligned",)

    @property
    def label(self) -> str:
        return "short/1"

    def texts(self) -> dict[str, str]:
        return {"aligned": "Rate from 0 to 100."}

    def prompt(self, metric: str, question: str, answer: str, reply: ReplyFormat = "number") -> JudgePrompt:
        return JudgePrompt(f"{self.texts()[metric]}\nQ: {question}\n", f"A: {answer}\nThe rate?")
