"""Measure how much time MLflow recording adds to an iteration, compared with MONAI's handler.

    python benchmarks/tracking.py [--quick] [--repeats 9] [--threads 1] [--output table.md]

Each repeat runs all kinds of recording in turn, and ratios are computed within a repeat, so other
load on the machine affects all of them equally. A ratio is the median over the repeats, with its
quartiles. The time of an iteration includes its share of the ends of epochs. It leaves out the
first epoch, during which the start of the run is still being delivered; a separate column has the
additional time per run. The stores are a SQLite file and a real ``mlflow server`` on this machine,
which uses the same cores.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler, from_engine
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from pipeline.networks.attention_unet import AttentionUnet
from pipeline.tracking.mlflow_run import MlflowRun

MAX_RATIO = 1.05
EPOCHS = 4
NONE, OURS, MONAI = "none", "MlflowRun", "MONAI MLFlowHandler"
COLUMNS = ("step", "recording", "store", "ms per iteration", "ratio", "CPU ms", "more per run s")


@dataclass
class Measured:
    """Measurements of one kind of recording; one entry per repeat."""

    wall: list[float] = field(default_factory=list)  # s per iteration
    cpu: list[float] = field(default_factory=list)  # s per iteration, of all threads
    ends: list[float] = field(default_factory=list)  # s per run, beyond its iterations


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run an MLflow server; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log = folder / "server.log"
    process = subprocess.Popen(
        command,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # Its job queue for language models would start five more processes.
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    try:
        until = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"mlflow server: {log.read_text()[-1000:]}") from None
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fixed_step(seconds: float) -> Callable[[], torch.Tensor]:
    """Matrix products that take ``seconds`` when nothing else runs."""
    matrix = torch.randn(256, 256) / 16

    def products(count: int) -> torch.Tensor:
        x = matrix
        for _ in range(count):
            x = x @ matrix
        return x.mean()

    times = []
    for _ in range(30):
        start = time.thread_time()
        products(20)
        times.append(time.thread_time() - start)
    count = round(20 * seconds / statistics.median(times))
    return lambda: products(count)


def network_step(size: int, batch: int) -> Callable[[], torch.Tensor]:
    """A training step of the fundus bundle's network."""
    network = AttentionUnet(2, 3, 2, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    image = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    label = (torch.rand(batch, 2, size, size) > 0.5).float()
    criterion = torch.nn.BCEWithLogitsLoss()

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(network(image), label)
        loss.backward()
        optimizer.step()
        return loss

    return step


def handler(kind: str, uri: str, name: str, folder: Path) -> Any:
    """The handler of the bundle, or the one that ``--tracking mlflow`` adds."""
    if kind == OURS:
        return MlflowRun(
            tracking_uri=uri, experiment_name=kind, run_name=name, output_dir=str(folder / name)
        )
    return MLFlowHandler(
        tracking_uri=uri,
        experiment_name=kind,
        run_name=name,
        iteration_log=True,
        epoch_log=True,
        tag_name="train_loss",
        output_transform=from_engine(["loss"], first=True),
        close_on_complete=True,
    )


def run(
    step: Callable[[], torch.Tensor], epoch_length: int, recorder: Any, measured: Measured
) -> None:
    """Time one training run."""
    trainer = Engine(lambda engine, batch: [{"loss": step().detach()}])
    trainer.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    times: list[tuple[float, float]] = []

    def stamp() -> None:
        times.append((time.perf_counter(), time.process_time()))

    @trainer.on(Events.EPOCH_COMPLETED)
    def summary(engine: Engine) -> None:
        engine.state.metrics |= {"loss": 0.5, "minutes": 0.1}

    stamp()
    if isinstance(recorder, MlflowRun):  # expects the bundle trainer's output, one dict
        trainer._process_function = lambda engine, batch: {"loss": step().detach()}
    if recorder is not None:
        recorder.attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, stamp)
    trainer.logger.setLevel(logging.WARNING)
    trainer.run(range(epoch_length), max_epochs=EPOCHS)
    stamp()
    (begin, _), (first, first_cpu), *_, (last, last_cpu), (end, _) = times
    iterations = (EPOCHS - 1) * epoch_length
    measured.wall.append((last - first) / iterations)
    measured.cpu.append((last_cpu - first_cpu) / iterations)
    measured.ends.append(end - begin - measured.wall[-1] * EPOCHS * epoch_length)


def measure(
    name: str,
    step: Callable[[], torch.Tensor],
    epoch_length: int,
    stores: dict[str, str],
    folder: Path,
    repeats: int,
) -> dict[tuple[str, str], Measured]:
    kinds = [(NONE, ""), *((kind, store) for store in stores for kind in (OURS, MONAI))]
    results = {key: Measured() for key in kinds}
    for repeat in range(repeats + 1):  # the first repeat creates tables and experiments
        for key in kinds if repeat % 2 else reversed(kinds):
            kind, store = key
            label = f"{name} {store} {kind} {repeat}".replace(" ", "-")
            recorder = handler(kind, stores[store], label, folder) if store else None
            if repeat == 0:
                run(step, 1, recorder, Measured())
            else:
                run(step, epoch_length, recorder, results[key])
        typer.echo(f"{name}: repeat {repeat} of {repeats}", err=True)
    return results


def add_rows(
    table: Table, name: str, results: dict[tuple[str, str], Measured], judge: bool
) -> None:
    base = results[NONE, ""]
    for (kind, store), m in results.items():
        ratios = [one / other for one, other in zip(m.wall, base.wall, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        text = f"{median:.3f} ({low:.3f}-{high:.3f})"
        if judge and kind == OURS:
            text += f" {'holds' if median <= MAX_RATIO else 'MISSED'} (<= {MAX_RATIO})"
        table.add_row(
            name,
            kind,
            store,
            f"{1e3 * statistics.median(m.wall):.1f}",
            text if store else "1",
            f"{1e3 * statistics.median(m.cpu):.1f}",
            f"{max(0.0, statistics.median(m.ends)):.1f}",
        )


def main(
    quick: Annotated[bool, typer.Option(help="Few iterations and repeats, no verdict.")] = False,
    repeats: Annotated[
        int | None, typer.Option(min=2, help="Default: 9, or 3 with --quick.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the step.")] = 1,
    output: Annotated[Path | None, typer.Option(help="New Markdown file for the table.")] = None,
) -> None:
    """Time iterations with and without recording in MLflow."""
    if output is not None and (output.exists() or not output.parent.is_dir()):
        raise typer.BadParameter(f"--output {output}: give a new file in an existing folder.")
    torch.set_num_threads(threads)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    repeats = repeats or (3 if quick else 9)
    table = Table(box=MARKDOWN)
    for column in COLUMNS:
        table.add_column(column)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mlflow_server(folder) as address:
            stores = {"SQLite": f"sqlite:///{folder / 'mlflow.db'}", "server": address}
            steps = {
                "20 ms": (fixed_step(0.02), 50),
                "network, 5 x 64 x 64 px": (network_step(64, 5), 20),
            }
            for name, (step, length) in steps.items():
                length = 5 if quick else length
                results = measure(name, step, length, stores, folder, repeats)
                add_rows(table, name, results, not quick)
    note = f"{os.cpu_count()} CPU cores, {threads} for the step, torch {torch.__version__}, "
    note += f"{repeats} repeats of {EPOCHS} epochs."
    console = Console(width=400, record=True)
    console.print(table, note)
    if output is not None:
        with output.open("x") as file:
            lines = console.export_text().strip().splitlines()
            file.writelines(f"{line.rstrip()}\n" for line in lines)


if __name__ == "__main__":
    typer.run(main)
