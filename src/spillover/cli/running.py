"""`spillover run`: from a recipe to its report; with `--plan`, what that would take."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillover.cli.chat_options import chat_settings_of
from spillover.cli.checking import note_new_models
from spillover.cli.options import RUN_OPTIONS, RUN_SWITCHES, command_with
from spillover.cli.parameters import option
from spillover.cli.reading_options import reading_of
from spillover.cli.recipe import first_line, load_recipe, packaged, recipe_file
from spillover.cli.sampling_options import sampler_of
from spillover.cli.watching import watch_study
from spillover.interactive.progress import shown
from spillover.interactive.tags import write_tag
from spillover.interactive.text import be_quiet, columns, duration, is_quiet, one_line, say, size
from spillover.manifest import MANIFEST, Damaged, read_manifest
from spillover.spec import walk
from spillover.store import Artefact, Store, artefacts_in

if TYPE_CHECKING:
    from spillover.engines.listener import ProgressListener
    from spillover.engines.planning import CostEstimates, Step
    from spillover.organisms.training_spec import PreparedRows

    Engine = Callable[[Artefact, Store, ProgressListener], Path]  # makes the study; its folder

GENERAL = """Make the study that a recipe describes: what is not there yet, and nothing twice. The same command goes on
where a stopped one was.

RECIPE is one that comes with spillover, by its name, or a Python file with a function recipe(); its parameters become
options. `spillover new recipe NAME --from RECIPE` writes a copy to edit.

\b
  spillover run RECIPE --help
  spillover run quickstart --data my.jsonl --tag first --plan"""
RECIPE = option("recipe", Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or a Python file.")])
LISTED, TRAININGS = 400, 12  # artefacts that are listed one by one, and trainings that are looked into
MARKS = {"there": "✓", "check": "?", "absent": " ", "damaged": "!"}


def run_with(words: Sequence[str], watch: bool = False) -> None:
    """`spillover run WORDS`; with `watch`, `spillover watch WORDS`."""
    words = list(words)
    place = _recipe_place(words)
    if place is None:
        recipes = "\n".join(f"  {name:<16}{first_line(path)}" for name, path in packaged().items())
        text = f"{GENERAL}\n\n\b\nRecipes that come with spillover:\n{recipes}"
        command_with(_without_recipe, [RECIPE, *RUN_OPTIONS], text)(words or ["--help"], prog_name="spillover run")
        return
    name = words.pop(place)
    recipe = load_recipe(recipe_file(name))

    from spillover.models.chat_settings import chat_as
    from spillover.organisms.chat_rows.reading import reading_as
    from spillover.responses.samplers.naming import sampled_as

    def run_recipe(**given: Any) -> None:
        ours = {option.name: given.pop(option.name) for option in RUN_OPTIONS}
        engine = _engine(ours["engine"], ours["address"], ours["task_cpus"], ours["task_gpus"])
        be_quiet(ours["quiet"] or is_quiet())
        silent = contextlib.redirect_stderr(io.StringIO()) if is_quiet() else contextlib.nullcontext()
        chat, sampler = chat_settings_of(ours), sampler_of(ours)
        with reading_as(reading_of(ours)), chat_as(chat), sampled_as(sampler), silent:
            study = recipe.study(given)
        store = Store(ours["store"].expanduser().absolute())
        if ours["plan"]:
            show_plan(study, store)
            return
        if ours["tag"] is not None and not watch:
            write_tag(store, ours["tag"], study)
        out = ours["out"] or report_folder(study, ours["tag"])
        if watch:
            watch_study(study, store.root, out, lambda: make_study(study, store.root, out))
        else:
            make_study(study, store.root, out, engine)

    options = [*(parameter.option() for parameter in recipe.parameters), *RUN_OPTIONS]
    example = f"Before anything is made: spillover run {name} --plan"
    command_with(run_recipe, options, recipe.help, example)(words, prog_name=f"spillover run {name}")


def make_study(study: Artefact, store: Path, out: Path | None, engine: Engine | None = None) -> None:
    """Make the study in the store, in this process if no engine is given; copy its folder to `out` and print where.

    out: None: `report`, or a folder of its own beside another study's.
    """
    from spillover.organisms.process_group import dismiss, follow, rank

    if rank():  # started by a launcher, to help with trainings
        follow()
        return
    out = out or report_folder(study)
    _check_out(out, study)
    opened = Store.open(store)
    note_edited(study, opened)
    note_new_models(study)
    note_fitted(study)
    with shown() as listener:
        folder = (engine or _engine("here"))(study, opened, listener)
    note_new_models(study)  # those that had to be fetched first
    dismiss()  # not after an error: the launcher ends those who wait
    with opened.lock(study):  # one process at a time, if several run the same study
        _copy(folder, out)
    page = out / "index.html"
    print(page if page.is_file() else out)


def note_fitted(study: Artefact) -> None:
    """Say what a recipe changed for small data, before anything is made."""
    texts = dict.fromkeys(text for part in walk(study) if (text := getattr(part, "fitted", "")))
    if texts:
        say(f"fitted to the size of the data: {'; '.join(texts)}")


def note_edited(study: Artefact, store: Store) -> None:
    """Say which parts were edited since artefacts that are there were made with them: those are not made anew."""
    counts = Counter(kind for artefact in artefacts_in(study) for kind in store.edited(artefact))
    for kind, count in counts.items():
        say(
            f"note: the source of {kind} was edited since {count} artefact{'s' * (count > 1)} of this study "
            f"{'were' if count > 1 else 'was'} made with it, and what is there is taken as it is: where the edit "
            f"changes results, raise its version (version: ClassVar[int] = 2 in the class), and all is made anew"
        )


def report_folder(study: Artefact, tag: str | None = None) -> Path:
    """Where a study's report goes if nobody says: `reports/TAG`, else `report`, or one of its own beside another's."""
    if tag is not None:
        return Path("reports") / tag
    usual = Path("report")
    return usual if _other_study(usual, study) is None else Path(f"report-{study.fingerprint[:8]}")


def show_plan(study: Artefact, store: Store) -> None:
    """Every artefact of the study, how it stands, and what making those that are missing takes, by kind."""
    from spillover.engines.memory import memory_bytes, needs, what_does_not_fit
    from spillover.engines.planning import CostEstimates, missing_sources, name_of, plan
    from spillover.organisms.process_group import rank

    if rank():
        return
    rates = CostEstimates(store)
    steps = plan(study, store, rates)
    todo = [step for step in steps if step.state != "there"]
    prepared = show_rows(todo, store)
    for source, _ in missing_sources(steps):
        print(f"  {'to fetch':>10}  {one_line(name_of(source))}")
    every = needs(steps)
    memory = {need.step.artefact.fingerprint: need.bytes for need in every}
    for step in steps if len(steps) <= LISTED else []:
        wait = "" if step.state == "there" else duration(step.seconds)
        held = memory.get(step.artefact.fingerprint)
        wait = f"{wait:>10} {size(held) if held else '':>8}"
        name = f"{step.artefact.fingerprint[:8]}  {one_line(name_of(step.artefact))}"
        print(f"{MARKS[step.state]} {wait:>10}  {name}")
    if len(steps) > LISTED:
        print(f"  {len(steps):,} artefacts; one by one where they are {LISTED} at most")
    note_fitted(study)
    note_edited(study, store)
    if not todo:
        print(f"all {len(steps)} artefacts are there")
        return
    precisions = {precision for step in todo if (precision := getattr(step.artefact, "precision", None))}
    if precisions:
        print(f"networks compute in {' and '.join(sorted(precisions))}")
    if memory:
        print(f"memory, at most: {size(max(memory.values()))} of the {size(memory_bytes())} here")
        if text := what_does_not_fit(every):
            print(f"does not fit: {text}")
    _show_prices(steps, store, rates)
    print(f"{len(todo)} of {len(steps)} to make, about {duration(sum(step.seconds for step in todo))}")
    saved = sum(step.seconds / (1 - step.shared) - step.seconds for step in todo)
    if saved:
        print(f"about {duration(saved)} are saved: trainings that begin alike share their first steps")
    if any(step.state == "check" for step in todo):
        print("?: there, but something it was made from is not; made again only if that comes out different")
    if any(step.state == "damaged" for step in todo):
        print("!: damaged (see `spillover verify`); made again")
    _show_templates(todo)
    _show_training(todo, prepared)


def show_rows(todo: Sequence[Step], store: Store) -> dict[str, PreparedRows]:
    """What is wrong with the rows of trainings to come, a line for each data; the rows in tokens, by training."""
    from spillover.organisms.organism import Organism
    from spillover.organisms.row_counts import in_words

    prepared: dict[str, PreparedRows] = {}
    lines: dict[str, None] = {}
    for organism in [step.artefact for step in todo if isinstance(step.artefact, Organism)][:TRAININGS]:
        if organism.parent.base().source.is_local() and all(map(store.has, artefacts_in(organism.data))):
            rows = prepared[organism.fingerprint] = organism.preflight(store)
            if wrong := in_words(rows.counts):
                lines[one_line(f"data {organism.data.label()}: {wrong}")] = None
    for line in lines:
        print(line)
    return prepared


def _show_prices(steps: Sequence[Step], store: Store, rates: CostEstimates) -> None:
    """What the sweep costs before it starts, by kind of artefact and by paid judge."""
    from spillover.engines.planning import by_kind, paid_work

    rows = [("to make", "about", "on disk", "kind")]
    for total in by_kind(steps, rates):
        tokens = f": {total.tokens:,.0f} tokens {total.token_use}" if total.tokens else ""
        disk = size(total.bytes) if total.bytes is not None else ""
        count = f"{total.missing:,} of {total.whole:,}"
        rows.append((count, duration(total.seconds), disk, f"{total.kind}{tokens}"))
    print("\n" + columns(rows, right=(0, 1, 2)))
    for text in paid_work(steps, store):
        print(f"judging, were every answer of the longest length: {one_line(text)}")


def _show_templates(todo: Sequence[Step]) -> None:
    """What chat templates of models that are here put before the first turn by themselves, a line each."""
    from spillover.models.base import Base
    from spillover.models.chat import Chat
    from spillover.models.loading import default_prompting, load_tokenizer

    bases = {part for step in todo for part in walk(step.artefact) if isinstance(part, Base)}
    for base in sorted(bases, key=lambda base: base.name):
        if base.source.is_local() and default_prompting(base) == "chat":
            facts = Chat(load_tokenizer(base), "chat", base.chat).facts()
            if text := facts.get("inserted_text"):
                print(one_line(f"system text that {base.name}'s template puts first (--system): {text}"))


def _show_training(todo: Sequence[Step], prepared: Mapping[str, PreparedRows]) -> None:
    """What each training to come would see: counts, and one row with its supervised part between « and »."""
    from spillover.organisms.organism import Organism

    trainings = [(step, step.artefact) for step in todo if isinstance(step.artefact, Organism)]
    for step, organism in trainings[:TRAININGS]:
        print(f"\ntraining {organism.fingerprint[:8]}, about {duration(step.seconds)}: {one_line(organism.label())}")
        if step.shared:
            print(f"  its first {round(step.shared * organism.steps)} of {organism.steps} steps are another run's, too")
        if not organism.parent.base().source.is_local():
            print("  what it would see is shown once its model is here: the first run fetches it")
            continue
        if organism.fingerprint not in prepared:
            print("  what it would see is shown once its answers are made, which are part of the study")
            continue
        rows = prepared[organism.fingerprint]
        for line in rows.text(organism).splitlines():
            print(f"  {one_line(line)}")
        tuned = ", ".join(f"{name} {value}" for name, value in organism.tuned().items())
        print(f"  {one_line(f'tunes {tuned}')}")
        rows.warn(organism)
    if len(trainings) > TRAININGS:
        print(f"\nand {len(trainings) - TRAININGS} trainings more")


def _engine(name: str, address: str | None = None, cpus: float = 1.0, gpus: float = 0.0) -> Engine:
    """The engine that a user names, ready to run."""
    if name == "here":
        if address is not None:
            raise ValueError("--address is that of a Ray cluster: give --engine ray with it")
        from spillover.engines.local import run

        return run
    if name != "ray":
        raise ValueError(f"no engine {name!r}: there are here (this process) and ray (a cluster of Ray)")
    from spillover.engines import cluster

    return functools.partial(cluster.run, address=address, share=cluster.Share(cpus, gpus))


def _without_recipe(**given: object) -> None:
    raise AssertionError("without a recipe there is nothing to run")


def _recipe_place(words: Sequence[str]) -> int | None:
    """Where among the words the recipe stands: the first that is neither an option nor the value of one of ours."""
    with_value = {
        f"--{name.replace('_', '-')}" for name in (option.name for option in RUN_OPTIONS) if name not in RUN_SWITCHES
    }
    place = 0
    while place < len(words):
        if words[place] in with_value:
            place += 1
        elif not words[place].startswith("-"):
            return place
        place += 1
    return None


def _other_study(out: Path, study: Artefact) -> str | None:
    """What the page that stands at `out` is of, where that is another study's; None where it is not."""
    try:
        manifest = read_manifest(out)
    except Damaged:
        return None
    return None if manifest["fingerprint"] == study.fingerprint else one_line(str(manifest["summary"]))


def _check_out(out: Path, study: Artefact) -> None:
    """Refuse, before anything is made, a place where the report cannot go or where other files would be lost."""
    if (other := _other_study(out, study)) is not None:
        raise ValueError(
            f"--out {out} holds the page of another study ({other}): give another folder, or --tag NAME, which has one "
            f"of its own"
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; the report is a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ValueError(f"--out {out} holds files that are not a report of spillover's: give another folder")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=parent, prefix=".spillover-").cleanup()
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written ({error.strerror}): give another folder") from None


def _copy(folder: Path, out: Path) -> None:
    """Put a copy of `folder` at `out`, whole or not at all; a report that stood there goes."""
    target = out.absolute()
    fresh, old = (target.with_name(f".{target.name}-{word}") for word in ("new", "old"))
    for left in (fresh, old):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.copytree(folder, fresh)
        if target.exists():
            os.rename(target, old)
        os.rename(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
