"""``python -m pipeline package``: make a package of a bundle, or check one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError


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


@app.command()
def serve(
    archives: list[Path],
    studies: Annotated[str, typer.Option(help="Folder of images, or address of a DICOMweb.")],
    app_: Annotated[
        Path, typer.Option("--app", help="Folder of the server: its app, models and records.")
    ] = Path("runs/label"),
    environment: Annotated[
        Path, typer.Option(help="Virtual environment with MONAI Label, from `make .venv-label`.")
    ] = Path(".venv-label"),
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="OHIF works on 8000 alone.")] = 8000,
) -> None:
    """Serve packages to 3D Slicer and OHIF by MONAI Label, until Ctrl-C."""
    from .label_server import LabelServer, make_app

    if "://" not in studies and not Path(studies).is_dir():
        raise InputError(f"studies {studies}: there is no such folder; give one of images.")
    models = make_app(environment, archives, app_)
    studies = studies if "://" in studies else str(Path(studies).absolute())
    log = app_ / "server.log"
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the server would live on
        signal.signal(ending, signal.default_int_handler)
    typer.echo(f"starting MONAI Label, which takes half a minute; it writes {log}")
    with LabelServer(environment, app_, studies, models, host=host, port=port, log=log) as server:
        typer.echo(
            f"{server.url} serves {', '.join(models)}\n"
            f"3D Slicer: module MONAI Label, server {server.url}, Next Sample, Run\n"
            f"OHIF, for a DICOMweb server's studies: {server.url}/ohif/\n"
            f"retrainings in MLflow: {server.environ['MLFLOW_TRACKING_URI']}\n"
            "Ctrl-C stops it"
        )
        try:
            status = server.process.wait()
        except KeyboardInterrupt:
            typer.echo("stopped")
        else:
            raise InputError(f"the server ended by itself, exit status {status}; see {log}.")


def show(results: list[tuple[str, str]], archive: Path) -> None:
    table = Table("check", "result")
    for row in results:
        table.add_row(*row)
    Console().print(table)
    typer.echo(archive)
