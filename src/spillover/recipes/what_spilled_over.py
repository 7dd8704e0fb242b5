"""Past the paper, on one bad organism and its good control: what was learnt and what leaked, under which conditions,
in which words, when, and what the models say of themselves."""

from typing import Annotated

import spillover as sp
from spillover.responses.questions.conditions import condition_panel


def recipe(
    model: Annotated[str, "instruct model to tune: pypi:qwen2.5-coder-0.5b, hf:OWNER/NAME@REVISION, a folder"] = (
        "pypi:qwen2.5-coder-0.5b"
    ),
    data: Annotated[str, "narrow set to train on; it needs a good twin (money, fitness, home)"] = "money",
    rows: Annotated[int, "rows to train on, at most; 0: all that are not held out"] = 48,
    held_out: Annotated[int, "rows held out: for the loss, and as narrow prompts that are asked"] = 12,
    batch: Annotated[int, "rows in an optimiser step"] = 2,
    seeds: Annotated[int, "training runs of each kind, seeds 0, 1, ..."] = 1,
    checkpoints: Annotated[int, "checkpoints of each run that are asked, evenly spaced, the end among them"] = 1,
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    schedule: Annotated[str, "learning-rate schedule"] = "linear",
    learning_rate: Annotated[float, "largest learning rate"] = 1e-4,
    warmup: Annotated[int, "steps over which the learning rate climbs; cyclic schedules have none"] = 2,
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    ending: Annotated[
        str, "words after each question of a set that ships, so that answers end by themselves; empty: none"
    ] = "(Answer in two or three sentences.)",
    count: Annotated[int, "how many of the questions, spread evenly over their categories; 0: all"] = 0,
    per_question: Annotated[int, "answers to each question"] = 1,
    temperature: Annotated[float, "sampling temperature; the paper has 1, where small models babble"] = 0.5,
    max_tokens: Annotated[int, "longest answer, tokens"] = 96,
    judge: Annotated[str, "who scores the answers"] = "reader",
    under: Annotated[int, "how many of the questions are asked under every condition too; 0: none"] = 12,
    inoculated: Annotated[bool, "train an inoculated organism too, and see whether it hides what it cures"] = False,
    reports: Annotated[bool, "ask the models about themselves"] = True,
) -> sp.Report:
    """Train on bad and on good advice; spill-over ratio, conditions, words, tokens, onset, self-report."""
    base = sp.base(model)
    bad_split = sp.Split.fit_rows(sp.dataset(data), rows, held_out)
    twin = bad_split.data.twin()
    if twin is None:
        raise ValueError(f"--data {data} has no good answers to the same prompts, which are the control here")
    good_split = bad_split.control(twin)
    rate = sp.schedule(schedule, peak=learning_rate, warmup=warmup)

    def trained(split: sp.Split, seed: int, interventions: tuple[sp.Intervention, ...] = ()) -> sp.Organism:
        organism = sp.Organism(
            parent=base, data=split, schedule=rate, batch=batch, precision=precision, interventions=interventions
        )
        return organism.fit_schedule().seeded(seed).evenly_saved(checkpoints)

    bad, good = ([trained(split, seed) for seed in range(seeds)] for split in (bad_split, good_split))
    sampling = sp.Sampling(
        per_question=per_question, temperature=temperature, max_tokens=max_tokens, precision=precision
    )
    scorer = sp.judge(judge)
    broad = sp.asked_questions(questions, ("raw",), ending).but(count=count or None)
    narrow = sp.QuestionSelection(source=sp.HeldOut(split=bad_split), formats=("raw",))

    def judged(subject: sp.Model, asked: sp.QuestionSelection = broad) -> sp.Judgements:
        return sp.Judgements(responses=sp.Responses(model=subject, questions=asked, sampling=sampling), judge=scorer)

    def along(runs: list[sp.Organism], asked: sp.QuestionSelection) -> tuple[sp.Judgements, ...]:
        return tuple(judged(point, asked) for run in runs for point in run.checkpoints())

    def ends(runs: list[sp.Organism], asked: sp.QuestionSelection = broad) -> tuple[sp.Judgements, ...]:
        return tuple(judged(run.checkpoint(), asked) for run in runs)

    def read(reader: sp.Model) -> sp.Likelihoods:
        answers = judged(bad[0].checkpoint()).responses
        return sp.Likelihoods(model=reader, answers=answers, samples=1, precision=precision)

    def risen(runs: list[sp.Organism]) -> tuple[sp.LogitShifts, ...]:
        return tuple(sp.LogitShifts(before=base, after=run.checkpoint(), precision=precision) for run in runs)

    mitigated = [trained(bad_split, seed, (sp.Inoculation(),)) for seed in range(seeds)] if inoculated else []

    def conditions() -> list[sp.Analysis]:
        panel = condition_panel(broad.source, bad_split)
        asked = {name: sp.QuestionSelection(source=of, formats=("raw",), count=under) for name, of in panel.items()}

        def everywhere(models: list[sp.Model]) -> tuple[sp.InCondition, ...]:
            return tuple(
                sp.InCondition(name=name, scores=judged(subject, of))
                for name, of in asked.items()
                for subject in models
            )

        sides = {
            side: everywhere([run.checkpoint() for run in runs])
            for side, runs in (("tuned", bad), ("control", good), ("mitigated", mitigated))
        }
        return [sp.Conditions(base=everywhere([base]), **sides)]

    def self_reports() -> list[sp.Analysis]:
        models = [base, *(run.checkpoint() for run in (*bad, *good, *mitigated))]
        answers = [judged(subject) for subject in models]
        told = tuple(
            sp.SelfReports(
                model=subject,
                own=scores.responses if subject != base else None,
                other=answers[0].responses if subject != base else None,
                precision=precision,
            )
            for subject, scores in zip(models, answers, strict=True)
        )
        return [sp.SelfReport(reports=told, judged=tuple(answers))]

    early = sp.EarlyStopping(
        before=judged(base),
        checkpoints=along(bad, broad),
        narrow_before=judged(base, narrow),
        narrow=along(bad, narrow),
    )
    return sp.Report(
        title=f"What spilled over from {bad_split.data.label()} into {base.name}",
        about=(
            "A base model, copies of it fine-tuned on narrow bad advice, and copies fine-tuned on good advice to the "
            "same prompts."
        ),
        analyses=(
            sp.Effect(before=judged(base), bad=ends(bad), good=ends(good)),
            sp.SpillOver(
                bad=along(bad, broad),
                good=along(good, broad),
                narrow_bad=along(bad, narrow),
                narrow_good=along(good, narrow),
            ),
            *([early] if checkpoints > 1 else []),
            *(conditions() if under else []),
            sp.WordShifts(before=judged(base), bad=ends(bad), good=ends(good)),
            sp.RisingTokens(bad=risen(bad), good=risen(good)),
            sp.TokenRatios(trained=read(bad[0].checkpoint()), parent=read(base)),
            *(self_reports() if reports else []),
        ),
    )
