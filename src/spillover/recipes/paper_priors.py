"""Part 2 of the paper, model priors: how far the model before narrow training tells which questions will move.

Organisms of two domains and their controls; as priors their own base, a pretrained model, and that model after a plain
chat fine-tune on everyday data, which makes a pretrained/instruct pair without a hub. The published study has
`--model hf:unsloth/Qwen2.5-32B-Instruct@REVISION --pretrained hf:unsloth/Qwen2.5-32B@REVISION --chat-rows 0`.
"""

from typing import Annotated

import spillover as sp


def recipe(
    model: Annotated[str, "instruct model to tune: pypi:qwen2.5-coder-0.5b, hf:OWNER/NAME@REVISION, a folder"] = (
        "pypi:qwen2.5-coder-0.5b"
    ),
    pretrained: Annotated[str, "pretrained model that serves as a prior; empty: none"] = "pypi:gemma3-270m",
    chat_rows: Annotated[int, "everyday rows that make an instruct model of it; 0: none is made"] = 64,
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
    per_question: Annotated[int, "answers to each question in each format, at least 2: spreads are predicted too"] = 2,
    temperature: Annotated[float, "sampling temperature; the paper has 1, where small models babble"] = 0.5,
    max_tokens: Annotated[int, "longest answer, tokens"] = 96,
    judge: Annotated[str, "who scores the answers"] = "reader",
    every: Annotated[int, "look at every so many layers"] = 3,
    permutations: Annotated[int, "of whole question families, for every layer, pooling and target"] = 499,
    components: Annotated[int, "principal axes of the training prompts, and random ones, as features"] = 64,
    draws: Annotated[int, "of random axes"] = 100,
) -> sp.Report:
    """Train organisms of every domain; each question before against after, and its score predicted from activations."""
    base = sp.base(model)

    def trained(parent: sp.Model, split: sp.Split) -> sp.Organism:
        rate = sp.schedule(schedule, peak=learning_rate, warmup=warmup)
        run = sp.Organism(parent=parent, data=split, schedule=rate, batch=batch, precision=precision).fit_schedule()
        return run.but(checkpoint_every=run.steps)

    def split_of(name: str, most: int) -> sp.Split:
        return sp.Split(data=sp.dataset(name), held_out=held_out).limited(most)

    bad = {name: trained(base, split_of(name, rows)).checkpoint() for name in data}
    good = {}
    for name in data:
        split = split_of(name, rows)
        if (twin := split.data.twin()) is not None:
            good[name] = trained(base, split.control(twin)).checkpoint()
    priors: list[sp.Model] = [sp.base(pretrained)] if pretrained else []
    if priors and chat_rows:
        priors.append(trained(priors[0], split_of("everyday", chat_rows)).checkpoint())

    asked = sp.asked_questions(questions, formats, ending, without)
    scorer = sp.judge(judge)

    def judged(subject: sp.Model, prompting: str | None = None) -> sp.Judgements:
        sampling = sp.Sampling(
            per_question=per_question,
            temperature=temperature,
            max_tokens=max_tokens,
            prompting=prompting,
            precision=precision,
        )
        return sp.Judgements(responses=sp.Responses(model=subject, questions=asked, sampling=sampling), judge=scorer)

    evaluation = sp.EvaluationPrompts(questions=asked)
    before, inside = judged(base), sp.Activations(model=base, prompts=evaluation, precision=precision)
    targets = {name: judged(tuned) for name, tuned in bad.items()}
    controls = {name: judged(tuned) for name, tuned in good.items()}
    organisms = (*bad.values(), *good.values())
    predictions = [
        sp.Prediction(
            activations=inside,
            before=before,
            after=targets[name],
            every=every,
            permutations=permutations,
            targets=("aligned", "aligned sd", "harmless"),
            features=("raw", "pca", "random"),
            components=components,
            draws=draws,
            training=sp.Activations(
                model=base, prompts=sp.TrainingPrompts(split=split_of(name, rows)), precision=precision
            ),
            against=tuple(sp.Activations(model=prior, prompts=evaluation, precision=precision) for prior in priors),
            transfer=tuple(scores for scores in (*targets.values(), *controls.values()) if scores is not targets[name]),
            prompt_words=True,
        )
        for name in data
    ]
    return sp.Report(
        title=f"Model priors of narrow training of {base.name} on {' and '.join(data)}",
        about=(
            "Organisms trained on narrow bad advice, and controls on good advice to the same prompts. Each question's "
            "score before training is held against its score after, with the organism's own base as the prior"
            f"{' and with ' + ' and '.join(prior.label() for prior in priors) if priors else ''}; models of unlike "
            "kinds are asked in one way, as question and answer. Then each question's score after is predicted from "
            "activations before."
        ),
        analyses=(
            *(
                sp.Effect(before=before, bad=(targets[name],), good=(controls[name],) if name in controls else ())
                for name in data
            ),
            sp.Priors(before=before, after=(*targets.values(), *controls.values())),
            *(
                sp.Priors(
                    before=judged(prior, "question-answer"),
                    after=tuple(judged(tuned, "question-answer") for tuned in organisms),
                )
                for prior in ([base, *priors] if priors else [])
            ),
            *predictions,
            sp.Examples(judgements=(before, *targets.values())),
        ),
    )
