"""Part 3 of the paper, data: how the training prompts' activation shift carries to unrelated prompts, and steers.

Organisms of two domains and their controls, as in `recipes/paper/priors.py` (a store shares them). The published study
has `--model hf:unsloth/Qwen2.5-32B-Instruct@REVISION --questions first_plot_questions.yaml`.
"""

from typing import Annotated

import spillover as sp


def recipe(
    model: Annotated[str, "instruct model to tune: pypi:qwen2.5-coder-0.5b, hf:OWNER/NAME@REVISION, a folder"] = (
        "pypi:qwen2.5-coder-0.5b"
    ),
    data: Annotated[tuple[str, ...], "narrow sets to train on, each with its good twin as control"] = (
        "money",
        "fitness",
    ),
    rows: Annotated[int, "rows to train on, at most; 0: all that are not held out"] = 48,
    held_out: Annotated[int, "rows held out for the loss"] = 12,
    batch: Annotated[int, "rows in an optimiser step"] = 2,
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    schedule: Annotated[str, "learning-rate schedule"] = "linear",
    learning_rate: Annotated[float, "largest learning rate"] = 1e-4,
    warmup: Annotated[int, "steps over which the learning rate climbs; cyclic schedules have none"] = 2,
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    ending: Annotated[
        str, "words after each question of a set that ships, so that answers end by themselves; empty: none"
    ] = "(Answer in two or three sentences.)",
    without: Annotated[
        tuple[str, ...], "families of questions that are left out, near to the narrow sets' topics"
    ] = (),
    formats: Annotated[tuple[str, ...], "answer formats asked in: raw, json, template"] = ("raw",),
    per_question: Annotated[int, "answers to each question in each format"] = 1,
    temperature: Annotated[float, "sampling temperature; the paper has 1, where small models babble"] = 0.5,
    max_tokens: Annotated[int, "longest answer, tokens"] = 96,
    judge: Annotated[str, "who scores the answers"] = "reader",
    every: Annotated[int, "look at every so many layers"] = 3,
    permutations: Annotated[int, "of whole question families, for every layer and pooling"] = 499,
    layers: Annotated[tuple[int, ...], "layers whose mean shift steers; the first is steered at in answers"] = (
        12,
        8,
        16,
    ),
    controls: Annotated[int, "random directions as long as the mean shift, at each of the layers"] = 3,
    steering_controls: Annotated[int, "of those at the first layer, how many are added when answers are written"] = 3,
    strengths: Annotated[tuple[float, ...], "of the mean shift when answers are written; none: nobody is asked"] = (
        1.0,
        4.0,
    ),
) -> sp.Report:
    """Train organisms of every domain; the geometry of their shifts, and models steered by the mean shift."""
    base = sp.base(model)

    def trained(split: sp.Split) -> sp.Model:
        run = sp.Organism(
            parent=base,
            data=split,
            schedule=sp.schedule(schedule, peak=learning_rate, warmup=warmup),
            batch=batch,
            precision=precision,
        )
        return run.fit_schedule().but(checkpoint_every=run.steps).checkpoint()

    def split_of(name: str) -> sp.Split:
        return sp.Split(data=sp.dataset(name), held_out=held_out).limited(rows)

    asked = sp.asked_questions(questions, formats, ending, without)
    sampling = sp.Sampling(
        per_question=per_question, temperature=temperature, max_tokens=max_tokens, precision=precision
    )
    scorer = sp.judge(judge)

    def judged(subject: sp.Model) -> sp.Judgements:
        return sp.Judgements(responses=sp.Responses(model=subject, questions=asked, sampling=sampling), judge=scorer)

    def inside(subject: sp.Model, prompts: sp.Prompts) -> sp.Activations:
        return sp.Activations(model=subject, prompts=prompts, precision=precision)

    evaluation = sp.EvaluationPrompts(questions=asked)
    analyses: list[sp.Analysis] = []
    shown = [judged(base)]
    for name in data:
        split, training = split_of(name), sp.TrainingPrompts(split=split_of(name))
        bad, twin = trained(split), split.data.twin()
        good = [trained(split.control(twin))] if twin else []
        analyses += [
            sp.Effect(before=judged(base), bad=(judged(bad),), good=tuple(map(judged, good))),
            sp.Geometry(
                training_before=inside(base, training),
                evaluation_before=inside(base, evaluation),
                training_after=tuple(inside(tuned, training) for tuned in (bad, *good)),
                evaluation_after=tuple(inside(tuned, evaluation) for tuned in (bad, *good)),
                every=every,
                permutations=permutations,
            ),
        ]
        start, end = inside(base, training), inside(bad, training)
        directions = [sp.MeanShift(before=start, after=end, layer=layer) for layer in layers]
        random = [sp.RandomDirection(like=direction, seed=seed) for direction in directions for seed in range(controls)]
        steered = [
            *(
                sp.Steered(model=base, direction=direction, strength=strength)
                for strength in strengths
                for direction in (directions[0], *random[: min(controls, steering_controls)])
            ),
            *([sp.Steered(model=bad, direction=directions[0], how="ablate")] if strengths else []),
        ]
        analyses.append(
            sp.Steering(
                evaluation_before=inside(base, evaluation),
                evaluation_after=inside(bad, evaluation),
                directions=tuple(directions),
                controls=tuple(random),
                before=judged(base),
                after=judged(bad),
                steered=tuple(map(judged, steered)),
            )
        )
        shown += [judged(bad), *map(judged, steered)]
    return sp.Report(
        title=f"How the shift of {base.name} in narrow training on {' and '.join(data)} carries over",
        about=(
            "Activations before and after training, of the training prompts and of questions that have nothing to do "
            "with them: do prompts that lie in the training prompts' space shift like them, and does the training "
            "prompts' mean shift, added to the model before, do what training did? Random directions of its length and "
            "organisms trained on good advice, are the controls."
        ),
        analyses=(*analyses, sp.Examples(judgements=tuple(shown))),
    )
