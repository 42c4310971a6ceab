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
        typer.Option(help="Folder of the bundle (default: the one that the checkpoint names)."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="A model.pt, or the folder of a training or a plan; repeat it for an ensemble "
            "(default: the bundle's models/model.pt)."
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="Overlay of the bundle's inference.json: a path, or a name in the bundle's "
            "configs; may be repeated."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help='Value of an id, such as "strides=[4,2,2]"; may be repeated.'),
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
        bool, typer.Option("--overwrite", help="Predict cases again that are done.")
    ] = False,
) -> None:
    """Segment images: write masks on their own grids, and a report with volumes or areas."""
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
        typer.secho("stopped; run the command again to do the rest", fg="yellow", err=True)
        raise typer.Exit(130) from None
