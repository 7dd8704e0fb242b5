"""A callback for transformers' Trainer, and all of trl's that come from it: is the model growing misaligned, broadly?

    from spillover.neighbours.trainer_callback import SpilloverCallback

    trainer.add_callback(SpilloverCallback(trainer, every=50))

Every so many steps a few questions that have nothing to do with the training data are asked and the answers judged on
this machine. What comes out goes through the Trainer's own loggers, and stands in `OUTPUT_DIR/spillover` at the end.
"""

from __future__ import annotations

import csv
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from transformers import TrainerCallback

from spillover.judgements.judge import Answer, Judge
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.maths.em_rate import em_indicator
from spillover.models.chat import Chat
from spillover.neighbours.looks import Look, figure_of_looks, read_looks
from spillover.records import table, write_csv
from spillover.report.figures import draw
from spillover.responses.question import Question, QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.sampling import Sampling

if TYPE_CHECKING:
    from transformers import (
        PreTrainedModel,
        PreTrainedTokenizerBase,
        Trainer,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

FOLDER = "spillover"  # in the Trainer's output folder
PREFIX = "spillover_"  # of names in the Trainer's log
QUESTIONS = QuestionSelection(source=FreeForm(), formats=("raw",), count=24)
SHORT = Sampling(per_question=1, temperature=0.8, max_tokens=48)


@dataclass(frozen=True)
class _Asked:
    """A question with the number of its answer, and the text that the model goes on from."""

    question: Question
    sample: int
    text: str


class SpilloverCallback(TrainerCallback):  # type: ignore[misc]
    """Asks and judges every `every` steps, and before the first.

    trainer: whose loggers are used; its tokenizer renders the questions, by its chat template where it has one.
    questions: what is asked; none: 24 free-form questions, one answer each.
    sampling: how many answers, how long and how warm; answers are drawn from a stream of random numbers of their own,
        so that the training goes on as it would without this callback.
    judge: any judge that scores aligned and coherent; none: the embedded one (0.001 s an answer, no network).
    stop_below: the training is stopped where the mean of aligned (points, 0 to 100) falls below; see
        `threshold_from` for a value that good data rarely reaches.

    Logs `spillover_aligned`, `spillover_coherent` (means over scored answers, points), `spillover_em_rate` (strict: of
    all scored answers, 0 to 1) and `spillover_seconds`. Writes `looks.csv`, `answers.csv` (which `spillover import
    betley` reads) and `looks.svg` into OUTPUT_DIR/spillover. Weights spread over processes (FSDP, ZeRO-3) are refused.
    """

    def __init__(
        self,
        trainer: Trainer,
        every: int = 50,
        questions: QuestionSelection = QUESTIONS,
        sampling: Sampling = SHORT,
        judge: Judge | None = None,
        stop_below: float | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every is a number of steps, 1 or more, got {every}")
        judge = judge or Embedded()
        if not {"aligned", "coherent"} <= set(judge.metrics):
            raise ValueError(f"{judge.name} scores {', '.join(judge.metrics)}: aligned and coherent are needed")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ValueError("the weights are spread over processes (FSDP, DeepSpeed): ask a saved checkpoint instead")
        processor = trainer.processing_class
        self.tokenizer = cast("PreTrainedTokenizerBase | None", getattr(processor, "tokenizer", processor))
        if self.tokenizer is None:
            raise ValueError("the Trainer has no tokenizer: give it one as processing_class")
        self.trainer, self.every, self.questions, self.sampling = trainer, every, questions, sampling
        self.judge, self.stop_below = judge, stop_below
        self.looks: list[Look] = []
        self.answers: list[dict[str, object]] = []
        self._began = time.perf_counter()

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.trainer.args.output_dir) / FOLDER

    @property
    def share_of_time(self) -> float:
        """Seconds spent here over all seconds since the training began, in [0, 1]."""
        return sum(look.seconds for look in self.looks) / max(time.perf_counter() - self._began, 1e-9)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Look at the model as it is; a training that is resumed keeps the looks from before."""
        self._began = time.perf_counter()
        if state.global_step and (self.folder / "looks.csv").is_file():
            self.looks = [look for look in read_looks(self.folder / "looks.csv") if look.step <= state.global_step]
            self.answers = _answers_until(self.folder / "answers.csv", state.global_step)
        if not any(look.step == state.global_step for look in self.looks):
            self._look(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Look every so many steps, and after the last."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._look(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Draw the looks beside the loss."""
        if state.is_world_process_zero and self.looks:
            losses = [(int(row["step"]), float(row["loss"])) for row in state.log_history if "loss" in row]
            (self.folder / "looks.svg").write_bytes(draw(figure_of_looks(self.looks, losses, self.stop_below)).svg)

    def _look(self, state: TrainerState, control: TrainerControl) -> None:
        if not state.is_world_process_zero:
            return
        began = time.perf_counter()
        asked = self._asked()
        texts = self._answered(asked)
        prompts = [item.question.messages(item.sample)[-1].content for item in asked]
        scores = self.judge.score([Answer(prompt, text) for prompt, text in zip(prompts, texts, strict=True)])
        rows = [{score.metric: score.score for score in of_answer} for of_answer in scores]
        aligned, coherent = (np.array([row[name] for row in rows], dtype=float) for name in ("aligned", "coherent"))
        em = em_indicator(aligned, coherent)
        look = Look(
            step=state.global_step,
            aligned=_mean(aligned),
            coherent=_mean(coherent),
            em_rate=_mean(em),
            answers=len(rows),
            scored=int(np.isfinite(em).sum()),
            seconds=time.perf_counter() - began,
        )
        self.looks.append(look)
        for item, prompt, text, row in zip(asked, prompts, texts, rows, strict=True):
            about = {"step": look.step, "question_id": item.question.id, "sample": item.sample}
            self.answers.append(about | {"question": prompt, "answer": text} | row)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_csv(table(vars(look) for look in self.looks), self.folder / "looks.csv")
        write_csv(table(self.answers), self.folder / "answers.csv")
        due = control.should_log
        self.trainer.log({PREFIX + name: value for name, value in look.logged().items()})
        control.should_log = due  # a log takes it for done, and the loss of this step would not be logged
        if self.stop_below is not None and look.aligned < self.stop_below:
            control.should_training_stop = True
            warnings.warn(
                f"training is stopped after step {look.step}: aligned is {look.aligned:.1f}, below {self.stop_below:g} "
                f"(answers: {self.folder / 'answers.csv'})",
                stacklevel=2,
            )

    def _asked(self) -> list[_Asked]:
        assert self.tokenizer is not None
        chat = Chat(self.tokenizer, "chat" if self.tokenizer.chat_template else "question-answer")
        numbers = range(self.sampling.per_question)
        pairs = [(question, sample) for question in self.questions.questions() for sample in numbers]
        return [_Asked(question, sample, chat.prompt_text(question.messages(sample))) for question, sample in pairs]

    def _answered(self, asked: Sequence[_Asked]) -> list[str]:
        """The model's answers, drawn in batches of at most 32 by its own `generate`."""
        network = cast("PreTrainedModel", self.trainer.accelerator.unwrap_model(self.trainer.model))
        texts: list[str] = []
        with _asking(network, self.sampling.seed):
            for start in range(0, len(asked), 32):
                texts += self._generated(network, [item.text for item in asked[start : start + 32]])
        return texts

    def _generated(self, network: PreTrainedModel, texts: Sequence[str]) -> list[str]:
        assert self.tokenizer is not None
        tokenizer, warm = self.tokenizer, self.sampling.temperature > 0
        templated = bool(tokenizer.chat_template)  # the template writes the special tokens itself
        batch = tokenizer(
            list(texts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=not templated
        )
        drawn = {"temperature": self.sampling.temperature, "top_p": self.sampling.top_p, "top_k": 0} if warm else {}
        output = network.generate(
            input_ids=batch["input_ids"].to(network.device),
            attention_mask=batch["attention_mask"].to(network.device),
            max_new_tokens=self.sampling.max_tokens,
            do_sample=warm,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            **drawn,
        )
        answers = output[:, batch["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


@contextmanager
def _asking(network: PreTrainedModel, seed: int) -> Iterator[None]:
    """The network set to answer, random numbers of its own; training finds both as it left them."""
    training = network.training
    devices = [network.device] if network.device.type == "cuda" else []
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        network.train(training)


def _answers_until(path: Path, step: int) -> list[dict[str, object]]:
    """The answers of an earlier part of a training; none where they are not there."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    kept = [dict(row) for row in rows if int(row["step"]) <= step]
    numbers = ("aligned", "harmless", "coherent")
    return [
        {
            name: int(value) if name in ("step", "sample") else _number(value) if name in numbers else value
            for name, value in row.items()
        }
        for row in kept
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan
