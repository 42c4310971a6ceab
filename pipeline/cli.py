"""The command line, ``python -m pipeline``; the commands live with their subjects."""

from __future__ import annotations

import logging
import signal
import sys
import warnings

import typer
from rich.console import Console
from rich.text import Text

from . import __version__
from .authoring.cli import app as bundle
from .comparison.cli import compare, report
from .datasets.cli import app as data
from .doctor import doctor
from .experiments.cli import app as experiment
from .packaging.cli import app as package
from .prediction.cli import predict
from .tracking.cli import app as runs
from .tracking.store import without_password

app = typer.Typer(
    help="Attention U-Net segmentation on MONAI bundles.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data, name="data")
app.add_typer(bundle, name="bundle")
app.add_typer(runs, name="runs")
app.add_typer(experiment, name="experiment")
app.add_typer(package, name="package")
app.command()(predict)
app.command()(compare)
app.command()(report)
app.command()(doctor)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: bool = typer.Option(False, help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=show_version, help="Show the version and exit."
    ),
) -> None:
    """Attention U-Net segmentation on MONAI bundles."""
    global _debug
    _debug = debug


_debug = False


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an error that the user can correct is one red line and exit status 1."""
    # Ends in order, so that nothing half done stays.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # How a store is made, and what MONAI says of any config: nothing that a user can use.
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "parsing config_file")
    try:
        app(arguments)
    except Exception as error:
        # An error of MLflow, such as a server that does not answer, without importing MLflow.
        mlflow = type(error).__name__ == "MlflowException"
        if _debug or not (mlflow or isinstance(error, ValueError | OSError | ModuleNotFoundError)):
            raise
        message = without_password(f"error: {error}")
        Console(stderr=True, soft_wrap=True).print(Text(message, style="red"))
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
