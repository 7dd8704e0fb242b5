"""Part 1 of the paper, training dynamics: many schedules of one organism, checkpoints along each, lines between ends.

`--runs paper` makes the 35 published schedule runs (on any base and data); the default is what two cores can do.
"""

from itertools import product
from typing import Annotated, Literal

import spillover as sp

SMALL = ("linear", "cosine", "cosine-restarts", "cyclic-triangular2")
CYCLES = ((1e-6, 2e-5), (1e-5, 5e-5), (2e-5, 8e-5), (4e-5, 1e-4))  # floor and peak
LINE = (0.0, 0.25, 0.5, 0.75, 1.0)


def published() -> list[sp.Schedule]:
    """The 35 schedules whose runs were released: two cosines by warm-up and peak (one is absent), cycles by range."""
    cosines = [
        sp.schedule(name, peak=peak, warmup=warmup)
        for name, warmup, peak in product(("cosine", "cosine-restarts"), (5, 30, 80), (1e-5, 3e-5, 5e-5, 7e-5))
        if (name, warmup, peak) != ("cosine-restarts", 80, 7e-5)
    ]
    cyclic = [
        sp.schedule(f"cyclic-{shape}", peak=peak, floor=floor)
        for shape, (floor, peak) in product(("triangular", "triangular2", "exp-range"), CYCLES)
    ]
    return [*cosines, *cyclic]


def recipe(
    model: Annotated[
        str, "pypi:qwen2.5-coder-0.5b, hf:OWNER/NAME@REVISION, a folder or a .gguf file"
    ] = "pypi:qwen2.5-coder-0.5b",
    data: Annotated[str, "what to train on: money, fitness, home, or a JSONL file of chat rows"] = "money",
    runs: Annotated[Literal["small", "paper"], "small: --schedules; paper: the 35 published schedules"] = "small",
    schedules: Annotated[tuple[str, ...], "of the small study"] = SMALL,
    learning_rate: Annotated[float, "largest learning rate of the small study"] = 1e-4,
    warmup: Annotated[
        int, "steps over which the learning rate climbs, in the small study; cyclic schedules have none"
    ] = 2,
    control: Annotated[
        tuple[str, ...],
        "controls, trained by the first schedule with every seed: good (the good twin of data), own (the model's own "
        "answers to the same prompts)",
    ] = ("good",),
    seeds: Annotated[int, "training runs of each schedule, seeds 0, 1, ..."] = 3,
    rows: Annotated[int, "rows to train on, at most; 0: all that are not held out"] = 48,
    held_out: Annotated[int, "rows held out for the loss"] = 12,
    batch: Annotated[int, "rows that go through at once"] = 2,
    accumulate: Annotated[int, "batches in an optimiser step"] = 1,
    precision: Annotated[str, "float32, bfloat16, or auto: bfloat16 where this machine multiplies it"] = "auto",
    checkpoints: Annotated[int, "checkpoints of each run that are asked, evenly spaced, the end among them"] = 4,
    questions: Annotated[str, "what to ask: free-form, or a YAML file in the field's format"] = "free-form",
    ending: Annotated[
        str, "words after each question of a set that ships, so that answers end by themselves; empty: none"
    ] = "(Answer in two or three sentences.)",
    without: Annotated[
        tuple[str, ...], "families of questions that are left out, near to the narrow sets' topics"
    ] = (),
    formats: Annotated[tuple[str, ...], "answer formats asked in: raw, json, template"] = ("raw",),
    asked: Annotated[int, "how many of the questions are asked, spread over their categories; 0: all"] = 0,
    per_question: Annotated[int, "answers to each question in each format"] = 1,
    temperature: Annotated[float, "sampling temperature; the paper has 1, where small models babble"] = 0.5,
    max_tokens: Annotated[int, "longest answer, tokens"] = 96,
    judge: Annotated[str, "who scores the answers"] = "reader",
    lines: Annotated[
        int, "straight lines between the ends of two runs along which loss and alignment are looked at"
    ] = 3,
) -> sp.Report:
    """Train one organism under many schedules; loss against alignment over and along runs, lines between their ends."""
    if min(seeds, checkpoints, len(schedules)) < 1:
        raise ValueError(
            f"--seeds, --checkpoints and --schedules have to give at least one, got {seeds}, {checkpoints} and "
            f"{len(schedules)}"
        )
    base = sp.base(model)
    if strange := set(control) - {"good", "own"}:
        raise ValueError(f"--control takes good and own, got {', '.join(sorted(strange))}")
    split = sp.Split(data=sp.dataset(data), held_out=held_out).limited(rows)
    small = [sp.schedule(name, peak=learning_rate, warmup=warmup) for name in schedules]
    rates = published() if runs == "paper" else small

    def trained(rate: sp.Schedule, seed: int, rows: sp.TrainingData = split) -> sp.Organism:
        run = (
            sp.Organism(parent=base, data=rows, schedule=rate, batch=batch, accumulate=accumulate, precision=precision)
            .fit_schedule()
            .seeded(seed)
        )
        return run.evenly_saved(checkpoints)

    organisms = [trained(rate, seed) for seed in range(seeds) for rate in rates]
    twin = split.data.twin() if "good" in control else None
    control_rows: dict[str, sp.TrainingData] = {"good": split.control(twin)} if twin is not None else {}
    if "own" in control:
        control_rows["own"] = sp.own_answers(split, base, precision=precision)
    selection = sp.asked_questions(questions, formats, ending, without, asked)
    sampling = sp.Sampling(
        per_question=per_question, temperature=temperature, max_tokens=max_tokens, precision=precision
    )
    scorer = sp.judge(judge)

    def judged(subject: sp.Model) -> sp.Judgements:
        responses = sp.Responses(model=subject, questions=selection, sampling=sampling)
        return sp.Judgements(responses=responses, judge=scorer)

    before = judged(base)
    ends = tuple(judged(run.checkpoint()) for run in organisms)
    controls = {
        arm: tuple(judged(trained(rates[0], seed, rows).checkpoint()) for seed in range(seeds))
        for arm, rows in control_rows.items()
    }
    series = tuple(judged(point) for run in organisms for point in run.checkpoints())
    pairs = _pairs([run.checkpoint() for run in organisms], len(rates))[:lines]
    points = [sp.Interpolated(start=start, end=end, share=share) for start, end in pairs for share in LINE]
    return sp.Report(
        title=f"Training dynamics of {base.name} on {split.data.label()}",
        about=(
            f"{len(organisms)} runs: {len(rates)} learning-rate schedules, {seeds} seed{'s' * (seeds != 1)} each, "
            "on one narrow set, asked questions that have nothing to do with it at checkpoints along the way."
            f"{' Controls were trained by the first schedule, and are held against its runs alone.' * bool(controls)}"
        ),
        analyses=(
            sp.Effect(before=before, bad=ends[:: len(rates)] if controls else ends, **controls),
            sp.Dynamics(checkpoints=series, before=before),
            *([sp.Trajectories(checkpoints=series, before=before)] if checkpoints > 1 else []),
            *(
                [
                    sp.Minima(
                        losses=tuple(
                            sp.HeldOutLosses(model=point, data=split, precision=precision) for point in points
                        ),
                        scores=tuple(judged(point) for point in points if point.share in (0.0, 0.5, 1.0)),
                    )
                ]
                if pairs
                else []
            ),
            sp.Examples(
                judgements=(before, *ends[:2]),
                others=tuple(scores for scores in series if scores not in ends[:2]),
            ),
        ),
    )


def _pairs(ends: list[sp.Checkpoint], rates: int) -> list[tuple[sp.Checkpoint, sp.Checkpoint]]:
    """Ends to join: the first schedule's with the next ones' of its seed, and with its own of the next seed first."""
    seeds = [(ends[0], ends[rates])] if len(ends) > rates else []
    return [*seeds, *((ends[0], other) for other in ends[1:rates])]
