"""`spillover export`: what lies in a store, as other people's tools read it. Nothing is uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spillover.cli import listing
from spillover.cli.errors import clear_errors
from spillover.cli.options import STORE, StoreOption

export = typer.Typer(
    help="Write what lies in a store for other tools.\n\n\b\n  spillover export hf 01d4089a --out folder",
    no_args_is_help=True,
    rich_markup_mode=None,
)
FINGERPRINT = typer.Argument(help="A fingerprint in the store, or the first digits of it: spillover ls.")


@export.callback()
def export_options() -> None:
    """Write what lies in a store for other tools."""


@export.command("hf")
@clear_errors
def export_hf(
    organism: Annotated[str, FINGERPRINT],
    out: Annotated[Path, typer.Option("--out", help="Folder to write, which must not be there.")] = Path("organism"),
    store: StoreOption = STORE,
) -> None:
    """Write an organism as a folder for the hub: its adapter, and a model card that warns.

    The card says data, recipe, what the store's effects measured and by which judge, and how to load it.
    """
    from spillover.neighbours.hub_folder import write_hub_folder
    from spillover.organisms.organism import Organism

    opened = listing.existing(store)
    spec = listing.spec_named(opened, organism)
    if not isinstance(spec, Organism):
        raise ValueError(f"{organism} is a {spec.kind}, and an organism is needed: spillover ls Organism")
    print(write_hub_folder(spec, opened, out) / "README.md")


@export.command("inspect")
@clear_errors
def export_inspect(
    study: Annotated[str, FINGERPRINT],
    out: Annotated[Path, typer.Option("--out", help="Folder for the logs.")] = Path("logs"),
    store: StoreOption = STORE,
) -> None:
    """Write judged answers as logs that `inspect view` opens: one of each model, every answer a sample.

    STUDY is a report, an analysis, or judged answers. Needs inspect: pip install 'spillover[inspect]'.
    """
    from spillover.neighbours.inspect_logs import write_inspect_logs

    opened = listing.existing(store)
    for path in write_inspect_logs(listing.spec_named(opened, study), opened, out):
        print(path)
