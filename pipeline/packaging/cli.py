"""``python -m pipeline package``: make a package of a bundle, or check one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


class Group(typer.core.TyperGroup):
    """``package BUNDLE`` means ``package build BUNDLE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["build", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Make a package of a bundle and trained weights, for MONAI Label and others.",
)


@app.command()
def build(
    bundle: Path,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="A model.pt, beside what its training left there; runs:/ID or "
            "models:/NAME@champion of MLflow."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The archive to make, a .zip.")],
    name: Annotated[
        str, typer.Option(help="Folder in the archive, by which MONAI Label calls the model.")
    ] = "",
    version: Annotated[str, typer.Option(help="Such as 0.2.0 [default: the bundle's].")] = "",
    change: Annotated[str, typer.Option(help="What is new in this version.")] = "",
    config: Annotated[
        list[Path] | None,
        typer.Option(
            help="An overlay that the training had, if no config.json is beside the checkpoint; "
            "may be given several times."
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Add exports/model.onnx.")] = False,
    torchscript: Annotated[
        bool, typer.Option("--torchscript", help="Add exports/model.ts.")
    ] = False,
    weights_url: Annotated[
        str,
        typer.Option(help="Leave the weights beside the archive, to be found at this address."),
    ] = "",
    tracking_uri: Annotated[
        str, typer.Option(help="MLflow store (default: MLFLOW_TRACKING_URI, else MLflow's own).")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the archive.")] = False,
) -> None:
    """Package the folder BUNDLE with trained weights; the word `build` may be left out."""
    from .build import package

    exports = [kind for kind, wanted in (("onnx", onnx), ("torchscript", torchscript)) if wanted]
    results = package(
        bundle,
        output,
        checkpoint=checkpoint,
        name=name or None,
        version=version or None,
        change=change or None,
        tracking_uri=tracking_uri or None,
        overlays=config or [],
        exports=exports,
        weights_url=weights_url or None,
        overwrite=overwrite,
    )
    show(results, output)


@app.command()
def verify(archive: Path) -> None:
    """Check ARCHIVE: unchanged, harmless to unpack, complete, and able to run by itself."""
    from .check import verify as check_archive

    show(check_archive(archive), archive)


def show(results: list[tuple[str, str]], archive: Path) -> None:
    table = Table("check", "result")
    for row in results:
        table.add_row(*row)
    Console().print(table)
    typer.echo(archive)
