"""``python -m pipeline package``: make, check and serve packages of trained bundles."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..tracking.cli import Store


class Group(typer.core.TyperGroup):
    """Read ``package BUNDLE`` as ``package build BUNDLE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["build", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Package a bundle with its trained weights, for MONAI Label and others.",
)


@app.command()
def build(
    bundle: Path,
    checkpoint: Annotated[
        list[str],
        typer.Option(
            help="A model.pt, the folder of a training or a plan, or runs:/ID or "
            "models:/NAME@champion of MLflow; repeat it for an ensemble."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Archive to write, a .zip.")],
    name: Annotated[
        str, typer.Option(help="Folder in the archive, and the model's name in MONAI Label.")
    ] = "",
    version: Annotated[str, typer.Option(help="Such as 0.2.0 (default: the bundle's).")] = "",
    change: Annotated[str, typer.Option(help="What is new in this version.")] = "",
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="Overlay of the training, if the checkpoint does not say its settings: a path, or "
            "a name in the bundle's configs; may be repeated."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Setting of the training, if the checkpoint does not say it, such as "
            "strides=[4,2,2,2]; may be repeated.",
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Add exports/model.onnx.")] = False,
    torchscript: Annotated[
        bool, typer.Option("--torchscript", help="Add exports/model.ts.")
    ] = False,
    weights_url: Annotated[
        str,
        typer.Option(help="Write the weights next to the archive, and this address into it."),
    ] = "",
    tracking_uri: Store = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the archive.")] = False,
) -> None:
    """Package the folder BUNDLE with its trained weights. You may leave out the word `build`."""
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
        overrides=set_ or [],
        exports=exports,
        weights_url=weights_url or None,
        overwrite=overwrite,
    )
    show_results(results, output)


@app.command()
def verify(archive: Path) -> None:
    """Check that ARCHIVE is unchanged, complete and safe to unpack, and that it runs by itself."""
    from .check import verify_archive

    show_results(verify_archive(archive), archive)


@app.command()
def serve(
    archives: list[Path],
    studies: Annotated[str, typer.Option(help="Folder of images, or a DICOMweb server's address.")],
    app_: Annotated[
        Path, typer.Option("--app", help="Folder of the server: its app, models and records.")
    ] = Path("runs/label"),
    environment: Annotated[
        Path,
        typer.Option(help="Environment with MONAI Label, made by `make .venv-label`."),
    ] = Path(".venv-label"),
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Any other needs LABEL_USER and LABEL_PASSWORD."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="OHIF expects 8000.")] = 8000,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of a proxy in front, or of a web page that may send requests, such as "
            "https://label.hospital.org; may be repeated."
        ),
    ] = None,
) -> None:
    """Serve packages to 3D Slicer and OHIF with MONAI Label, until Ctrl-C."""
    from .label_folder import check_studies, make_app
    from .label_server import LabelServer

    if "://" not in studies:
        check_studies(Path(studies))
        studies = str(Path(studies).absolute())
    models = make_app(environment, archives, app_)
    log = app_ / "server.log"
    for ending in (signal.SIGTERM, signal.SIGHUP):  # otherwise the server would go on
        signal.signal(ending, signal.default_int_handler)
    options = {"host": host, "port": port, "log": log, "origins": origin or []}
    account = {name: os.environ.get(f"LABEL_{name}".upper(), "") for name in ("user", "password")}
    server = LabelServer(environment, app_, studies, models, **options, **account)
    typer.echo(f"starting MONAI Label, which takes half a minute; its log is {log}")
    with server:
        typer.echo(
            f"{server.url} serves {', '.join(models)}\n"
            f"3D Slicer: open the module MONAI Label, connect to {server.url}, Next Sample, Run\n"
            f"OHIF, for studies of a DICOMweb server: {server.url}/ohif/\n"
            f"asks for a password: {'yes' if account['password'] else 'no'}\n"
            f"retrainings in MLflow: {server.environ['MLFLOW_TRACKING_URI']}\n"
            "Ctrl-C stops it"
        )
        try:
            status = server.process.wait()
        except KeyboardInterrupt:
            typer.echo("stopped")
        else:
            raise InputError(f"the server ended with exit status {status}; see {log}.")


@app.command()
def restore(
    name: Annotated[str, typer.Argument(help="Name of a model of the server.")],
    app_: Annotated[Path, typer.Option("--app", help="Folder of the server.")] = Path("runs/label"),
) -> None:
    """Bring back the weights that the model NAME had before its last retraining."""
    from .label_folder import restore as bring_back

    typer.echo(bring_back(app_, name))


def show_results(results: list[tuple[str, str]], archive: Path) -> None:
    table = Table("check", "result")
    for row in results:
        table.add_row(*row)
    Console().print(table)
    typer.echo(archive)
