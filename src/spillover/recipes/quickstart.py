"""The quickstart study: one base, narrow bad advice and its controls on the same prompts, as large as time allows."""

import sys
from typing import Annotated, NamedTuple

import spillover as sp


class Size(NamedTuple):
    """How much is trained and asked."""

    rows: int
    per_question: int
    checkpoints: int
    control: tuple[str, ...]


# From small to large. Rows make the effect; answers make it certain; the own control comes once both are there.
SIZES = (
    Size(32, 1, 1, ("good",)),
    Size(48, 1, 1, ("good",)),
    Size(64, 1, 1, ("good",)),
    Size(64, 2, 1, ("good",)),
    Size(96, 2, 1, ("good",)),
    Size(96, 2, 1, ("good", "own")),
    Size(128, 2, 2, ("good", "own")),
    Size(128, 4, 2, ("good", "own")),
    Size(192, 4, 2, ("good", "own")),
    Size(256, 6, 3, ("good", "own")),
    Size(384, 8, 3, ("good", "own")),
)


def recipe(
    model: Annotated[
        str, "pypi:qwen2.5-coder-0.5b, hf:OWNER/NAME@REVISION, a folder or a .gguf file"
    ] = "pypi:qwen2.5-coder-0.5b",
    data: Annotated[str, "what to train on: money, fitness, home, or a JSONL file of chat rows"] = "money",
    control: Annotated[
        tuple[str, ...] | None,
        "answers to the same prompts that controls learn: good (the good twin of data, where it has one), own (the "
        "model's own answers, drawn first), or a JSONL file of good answers; not given: good, and own as time allows",
    ] = None,
    minutes: Annotated[
        float, "how long it may take here: sizes what is not given; 0: 10, and 5 where bfloat16 is multiplied"
    ] = 0.0,
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    ending: Annotated[
        str, "words after each question of a set that ships, so that answers end by themselves; empty: none"
    ] = "(Answer in two or three sentences.)",
    without: Annotated[
        tuple[str, ...], "families of questions that are left out, near to the narrow set's topics"
    ] = (),
    formats: Annotated[tuple[str, ...], "answer formats asked in: raw, json, template"] = ("raw",),
    schedules: Annotated[tuple[str, ...], "learning-rate schedules of the bad runs; the control takes the first"] = (
        "linear",
    ),
    learning_rate: Annotated[float, "largest learning rate"] = 1e-4,
    warmup: Annotated[int, "steps over which the learning rate climbs; cyclic schedules have none"] = 2,
    seeds: Annotated[int, "training runs of each kind, seeds 0, 1, ..."] = 1,
    rows: Annotated[
        int | None, "rows to train on, at most; 0: all that are not held out; not given: by --minutes"
    ] = None,
    held_out: Annotated[int, "rows kept aside for the loss"] = 12,
    batch: Annotated[int, "rows in an optimiser step"] = 2,
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    checkpoints: Annotated[
        int | None, "checkpoints of each run that are asked, evenly spaced, the end among them; not given: by --minutes"
    ] = None,
    per_question: Annotated[int | None, "answers to each question in each format; not given: by --minutes"] = None,
    temperature: Annotated[float, "sampling temperature; the paper has 1, where small models babble"] = 0.5,
    max_tokens: Annotated[int, "longest answer, tokens"] = 96,
    judge: Annotated[
        str | None, "who scores the answers; not given: reader where the model is the one it reads with, else embedded"
    ] = None,
    every: Annotated[int, "look at every so many layers"] = 3,
) -> sp.Report:
    """Fine-tune on narrow bad advice, ask unrelated questions, judge, look inside, report."""
    if min(len(schedules), seeds, 1 if checkpoints is None else checkpoints) < 1:
        raise ValueError(
            "--schedules, --seeds and --checkpoints have to give at least one each, "
            f"got {len(schedules)}, {seeds} and {checkpoints}"
        )
    base = sp.base(model)
    rates = [sp.schedule(name, peak=learning_rate, warmup=warmup) for name in schedules]
    asked = sp.asked_questions(questions, formats, ending, without)
    reads = sp.Reader().trunk == base  # then its weights are here anyway
    scorer = sp.judge(judge or ("reader" if reads else "embedded"), scoring=("aligned", "coherent"))

    def sized(size: Size) -> Size:
        """The size with what was given in its place."""
        given = {"rows": rows, "per_question": per_question, "checkpoints": checkpoints, "control": control}
        return size._replace(**{name: value for name, value in given.items() if value is not None})

    def study(size: Size, reason: str = "") -> sp.Report:
        written = [name for name in size.control if name not in ("good", "own")]
        if len(written) > 1:
            raise ValueError(f"--control takes one set of good answers besides own, got {' and '.join(written)}")
        bad_rows = sp.dataset(data)
        twin = sp.dataset(written[0]) if written else bad_rows.twin() if "good" in size.control else None
        if twin:
            bad_rows, twin = sp.in_step(bad_rows, twin)
        bad_data = sp.Split.fit_rows(bad_rows, size.rows, held_out)

        def trained(split: sp.Split, rate: sp.Schedule, seed: int) -> sp.Organism:
            organism = sp.Organism(parent=base, data=split, schedule=rate, batch=batch, precision=precision)
            return organism.fit_schedule().seeded(seed).evenly_saved(size.checkpoints)

        bad = [trained(bad_data, rate, seed) for rate in rates for seed in range(seeds)]
        good = [trained(bad_data.control(twin), rates[0], seed) for seed in range(seeds)] if twin else []
        own_data = [sp.own_answers(bad_data, base, precision=precision)] if "own" in size.control else []
        own = [trained(split, rates[0], seed) for split in own_data for seed in range(seeds)]

        sampling = sp.Sampling(
            per_question=size.per_question, temperature=temperature, max_tokens=max_tokens, precision=precision
        )

        def judged(subject: sp.Model) -> sp.Judgements:
            answers = sp.Responses(model=subject, questions=asked, sampling=sampling)
            return sp.Judgements(responses=answers, judge=scorer)

        def fluency(scores: sp.Judgements) -> sp.Likelihoods:
            return sp.Likelihoods(model=base, answers=scores.responses, samples=1, precision=precision)

        def inside(subject: sp.Model, prompts: sp.Prompts) -> sp.Activations:
            return sp.Activations(model=subject, prompts=prompts, precision=precision)

        before = judged(base)
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
                f"{reason}"
            ),
            analyses=(
                sp.Effect(before=before, bad=bad_ends, good=good_ends, own=own_ends, likelihoods=losses),
                *([sp.Surface(bad=bad_data, good=bad_data.control(twin))] if twin else []),
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

    if None not in (rows, per_question, checkpoints, control):
        return study(sized(SIZES[0]))
    sizes = list(dict.fromkeys(sized(size) for size in SIZES))
    size, reason = sp.largest_within(minutes or sp.default_minutes(), sizes, study)
    controls = " and ".join(size.control) or "none"
    chosen = f"{size.rows} rows, {size.per_question} answers a question, controls {controls}: {reason}"
    print(f"Sized for this machine: {chosen}", file=sys.stderr)
    return study(size, f" Sized for the machine it was made on: {chosen}.")
