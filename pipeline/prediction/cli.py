"""``python -m pipeline predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Images, folders of images, or folders of DICOM series.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the masks and the report.")],
    bundle: Annotated[
        Path | None,
        typer.Option(help="Folder of the bundle (default: that of the checkpoint's training)."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="model.pt of a training, its folder, or that of a plan; several are an ensemble "
            "(default: the bundle's models/model.pt)."
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(help="Config file over the bundle's inference.json; may be given again."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help='Value of an id, such as "roi_size=[224,224]"; several.'),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(help="Only the DICOM series of this number, description or UID."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write a probability map of each region.")
    ] = False,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="auto, torch, or openvino for a CPU (default: the bundle's, which is auto)."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do again what the output holds already.")
    ] = False,
) -> None:
    """Segment images: masks on their own grids, with volumes or areas in a report."""
    from .predict import predict as run

    try:
        run(
            inputs,
            output=output,
            bundle=bundle,
            checkpoint=checkpoint,
            overlays=config or [],
            overrides=[*(set_ or []), *([f"runtime={runtime}"] if runtime else [])],
            series=series,
            probabilities=probabilities,
            overwrite=overwrite,
        )
    except (KeyboardInterrupt, SystemExit):  # SIGTERM, which Slurm and torchrun send
        typer.secho("stopped; the same command goes on with what is missing", fg="yellow", err=True)
        raise typer.Exit(130) from None
