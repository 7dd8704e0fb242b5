"""The page of a study that is still being made: what is finished of it, the answers judged so far, what comes next."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spillover.analyses.blocks import Block, Column, Number, Section, Table, columns, paragraph
from spillover.analyses.effect import Effect
from spillover.analyses.figures import arms_coloured
from spillover.analyses.rows import TableRow, TableRows, prefixed
from spillover.maths.estimate import Resampling
from spillover.report.answers import JudgedModel, arms_by_run, judged_models
from spillover.report.page import Page, PageSection, render, write_section
from spillover.report.provenance_section import Provenance
from spillover.report.report import PAGE, Report, answers_of_page, in_reading_order, named
from spillover.store import Store, artefacts_in

DRAWS = 199  # of intervals that are computed anew at every look
NEXT = 5  # artefacts named that come next
SO_FAR = "sofar"


@dataclass(frozen=True)
class Progress:
    """How many of a study's artefacts are made, and how many answers are judged."""

    made: int
    all: int
    answers: int


def write_unfinished(report: Report, store: Store, folder: Path, every: int) -> Progress:
    """Write the page of what there is into `folder`, whose tables and figures are replaced; it reloads itself.

    every: seconds after which a browser loads it again.
    """
    for name in ("tables", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    everything = [artefact for artefact in artefacts_in(report) if artefact != report]
    missing = [artefact for artefact in everything if not store.has(artefact)]
    models = judged_models(report, store)
    answers = sum(len(model.scores) for model in models)
    progress = Progress(len(everything) - len(missing), len(everything), answers)
    parts = [_so_far(progress, models, [artefact.summary() for artefact in missing[:NEXT]], folder)]
    effect = None
    for name, analysis in in_reading_order(named(report.analyses)).items():
        if store.has(analysis):
            result = analysis.read_result(store.path(analysis))
            effect = result if isinstance(analysis, Effect) and effect is None else effect
            with arms_coloured(arms_by_run(report)):
                parts.append(write_section(name, analysis.section(result), result.tables, folder))
    page = Page(report.title, "This study is not finished.", parts, Provenance((), (), (), ()), reload=every)
    if models:
        page = replace(page, **answers_of_page(models, effect, folder))
    written = folder / f"{PAGE}.new"
    written.write_text(render(page), encoding="utf-8", errors="replace")
    written.replace(folder / PAGE)
    return progress


def _so_far(progress: Progress, models: Sequence[JudgedModel], to_come: Sequence[str], folder: Path) -> PageSection:
    rows: TableRows = [_levels(model) for model in models]
    blocks: list[Block] = [
        paragraph(
            "{made} of {all} parts are made; {answers}. Next: {next}",
            made=progress.made,
            all=progress.all,
            answers=Number(f"{progress.answers:,} answers are judged", "models") if rows else "no answer is judged yet",
            next="; ".join(to_come) or "the report itself.",
        )
    ]
    if rows:
        shown = (
            *columns("text", model="model", arm="arm"),
            Column("aligned", "aligned [95%]", "points", interval=True),
            Column("coherent", "coherent [95%]", "points", interval=True),
            Column("em_strict", "EM rate, strict", "percent", interval=True),
            Column("answers", "answers", "count"),
        )
        caption = "Every model judged so far, with 95% intervals over question families."
        blocks.append(Table("models", caption, shown, rows, open=True))
    section = Section("So far", "What is there, and what comes?", tuple(blocks))
    return write_section(SO_FAR, section, {"models": rows} if rows else {}, folder)


def _levels(model: JudgedModel) -> TableRow:
    resampling = Resampling(DRAWS)
    row: TableRow = {"model": model.label, "arm": model.arm or None, "answers": len(model.scores)}
    for metric in ("aligned", "coherent"):
        level = model.scores.mean(metric, resampling) if metric in model.metrics else None
        row |= (
            {metric: None, f"{metric}_low": None, f"{metric}_high": None}
            if level is None
            else prefixed(metric, level, p=False)
        )
    if model.scores.scored_for_em:
        return row | prefixed("em_strict", model.scores.em_rates(resampling).strict, p=False)
    return row | {"em_strict": None, "em_strict_low": None, "em_strict_high": None}
