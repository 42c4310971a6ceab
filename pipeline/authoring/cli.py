"""``python -m pipeline bundle``: make a bundle for a dataset, or copy an included one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..datasets.prepare_cli import Overwrite

app = typer.Typer(
    help="Make a bundle for your own dataset, or copy an included one.", no_args_is_help=True
)


@app.callback()
def group() -> None:
    """Make a bundle for your own dataset, or copy an included one."""


@app.command()
def new(
    dataset: Annotated[Path, typer.Argument(help="A datalist.json, or its folder.")],
    output: Annotated[
        Path | None, typer.Option(help="Output folder (default: bundles/ and the dataset's name).")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            help="Memory in GB of the GPU that will train (default: this machine's GPU, or CPU)."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Title of the bundle (default: its folder's).")] = "",
    regions: Annotated[
        str,
        typer.Option(help="What to segment, such as '{\"liver\": [1]}' (default: the datalist's)."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the settings, and write nothing.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a DATASET, choose settings that fit it, and write a bundle that is ready to train."""
    from .new import make_bundle

    make_bundle(
        dataset,
        output=output,
        memory=memory,
        title=name,
        regions=regions,
        dry_run=dry_run,
        overwrite=overwrite,
    )


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Such as fundus_disc_cup_segmentation.")],
    output: Annotated[
        Path | None, typer.Option(help="Output folder (default: bundles/NAME).")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Copy the included bundle NAME, to run it or to change it."""
    from .copy import copy_bundle

    output = output or Path("bundles") / name
    copy_bundle(name, output, overwrite=overwrite)
    typer.echo(output)
