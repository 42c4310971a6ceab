"""Segment many images: on from an earlier run, beside other processes, past the bad ones."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..errors import InputError, one_line
from .bundle import Model, read_model
from .case import outputs, segment
from .cohort import Cohort, OutputError, Record
from .inputs import Case, find_cases, printable

_POLL = 0.5  # s between looks at what other processes hold
_ATTEMPTS = 2  # so many processes may die over a case in one run


def predict(
    inputs: Sequence[Path],
    *,
    output: Path,
    bundle: Path,
    checkpoint: Path | None = None,
    overlays: Sequence[str] = (),
    overrides: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Segment the images of files, folders and DICOM series, and report on each.

    Args:
        inputs: what to segment.
        output: folder of the masks and reports; several processes may share it.
        bundle: see `read_model`, as ``checkpoint``, ``overlays`` and ``overrides``.
        overwrite: do again what is done already.

    Returns:
        The run's report, when all cases are done.

    Raises:
        InputError: before anything has run, for a fault in the arguments.
        OutputError: the output can be written no more.
        FailedCases: some could not be segmented; all others are done.
    """
    model = read_model(bundle, checkpoint=checkpoint, overlays=overlays, overrides=overrides)
    cases = find_cases(inputs, volumes=model.volumes, output=output)
    from ..tracking.provenance import environment

    about = {**model.about, "environment": environment()}
    cohort = Cohort(output, about, model=model.digest, total=len(cases))
    try:
        if not overwrite:
            _refuse_other_models(model, cohort)
        with Board(len(cases)) as board:
            try:
                Work(cases, model, cohort, board, overwrite=overwrite).run()
            except BaseException:
                with suppress(OutputError):
                    cohort.write_report()
                raise
        report = cohort.write_report()
    finally:
        cohort.close()
    counts = {
        status: [name for name, entry in cohort.entries.items() if entry["status"] == status]
        for status in ("done", "skipped", "failed")
    }
    board.say(", ".join(f"{len(names)} {status}" for status, names in counts.items() if names))
    board.say(f"report: {report}")
    if failed := counts["failed"]:
        more = f" and {len(failed) - 10} more, see {report}" if len(failed) > 10 else ""
        raise FailedCases(f"{len(failed)} of {len(cases)} failed: {', '.join(failed[:10])}{more}")
    return report


class FailedCases(InputError):
    """Some cases could not be segmented."""


class Work:
    """The cases of one process, done by it or by another."""

    def __init__(
        self, cases: Sequence[Case], model: Model, cohort: Cohort, board: Board, *, overwrite: bool
    ) -> None:
        self.cases, self.model, self.cohort, self.board = cases, model, cohort, board
        self.overwrite = overwrite
        self.predictor: Any = None

    def run(self) -> None:
        """Take each case that nobody else has, until all have ended."""
        left = list(self.cases)
        while left:
            held = []
            for case in left:
                if not self.cohort.take(case.name):
                    held.append(case)
                    continue
                try:
                    entry = self.ended(case) or self.carry_out(case)
                finally:
                    self.cohort.free(case.name)
                self.cohort.note(entry)
                self.board.advance()
            if len(held) == len(left):
                time.sleep(_POLL)
            left = held

    def ended(self, case: Case) -> Record | None:
        """The record of a case that is not to be done, or not again."""
        known = self.cohort.record(case.name)
        if known and known["run"] == self.cohort.run and known["status"] != "running":
            if known["input"] == case.source:
                return known
            # The report of the run that both are in keeps the other's entry.
            reason = f"{case.name} is {known['input']} in this run: give another --output"
            return self.failed(case, reason, keep=False) | {"name": case.source}
        if self.overwrite:
            return None
        files = [self.cohort.folder / name for name in outputs(case, self.model).values()]
        there = [path for path in files if path.exists()]
        own = known.get("kept", ()) if known else ()  # of a case that failed when it was done again
        foreign = [path for path in there if path.name not in own]
        if foreign and (not known or known["status"] == "failed"):
            reason = f"{foreign[0]} is there and no result of this command"
            return self.failed(case, f"{reason}: move it away, or give --overwrite", keep=False)
        if not known or known["status"] != "done":
            return None
        if not all((self.cohort.folder / name).exists() for name in known["outputs"]):
            return None
        if known["stamp"] == case.stamp():
            return {**known, "status": "skipped"}
        if known["input"] != case.source:
            reason = f"{there[0]} is the mask of {known['input']}"
            return self.failed(case, f"{reason}: give another --output", keep=False)
        for path in there:  # the image has changed since: this is no mask of it
            path.unlink()
        return None

    def carry_out(self, case: Case) -> Record:
        """Segment a case that this process holds."""
        known = self.cohort.record(case.name)
        begun = known["attempt"] if known and known["run"] == self.cohort.run else 0
        if begun >= _ATTEMPTS:
            return self.failed(
                case,
                f"{case}: {begun} processes died over it: is there enough memory? "
                "The same command tries it again",
                kept=known.get("kept", ()),
            )
        record = self.begin(case, attempt=begun + 1, kept=self.kept(case, known))
        self.cohort.keep(record)
        predictor = self.loaded()
        started = time.monotonic()
        try:
            measured = segment(case, self.model, predictor, self.cohort)
        except (KeyboardInterrupt, SystemExit, OutputError, ModuleNotFoundError):
            self.cohort.clear(case.name)
            raise
        except Exception as error:  # readers, transforms and networks raise about anything
            kept = record["kept"]
            return self.failed(case, reason_of(error, case), started=started, kept=kept)
        del record["kept"]
        record |= {"status": "done", "seconds": round(time.monotonic() - started, 3), **measured}
        self.cohort.keep(record)
        self.board.say(f"done    {case.name}  {record['seconds']:.1f} s{sizes(measured)}")
        if "note" in measured:
            self.board.say(f"        {measured['note']}", style="yellow")
        return record

    def kept(self, case: Case, known: Record | None) -> list[str]:
        """The files of an earlier run that are still this case's, whatever becomes of the next.

        Those of another image, checkpoint or option are removed: they would pass for results.
        """
        files = [*known.get("outputs", ()), *known.get("kept", ())] if known else []
        same = {"model": self.model.digest, "stamp": case.stamp(), "input": case.source}
        if known and all(known[name] == value for name, value in same.items()):
            return files
        for name in files:
            (self.cohort.folder / name).unlink(missing_ok=True)
        return []

    def begin(self, case: Case, *, attempt: int, kept: Sequence[str] = ()) -> Record:
        return {
            "kept": list(kept),
            "name": case.name,
            "input": case.source,
            "status": "running",
            "stamp": case.stamp(),
            "model": self.model.digest,
            "run": self.cohort.run,
            "worker": self.cohort.worker,
            "attempt": attempt,
        }

    def failed(
        self,
        case: Case,
        reason: str,
        *,
        started: float | None = None,
        keep: bool = True,
        kept: Sequence[str] = (),
    ) -> Record:
        """Say it, and put it on record unless the mask that is there belongs to something else."""
        record = self.begin(case, attempt=0, kept=kept) | {"status": "failed", "error": reason}
        if started is not None:
            record["seconds"] = round(time.monotonic() - started, 3)
        self.cohort.clear(case.name)
        if keep:
            self.cohort.keep(record)
        self.board.say(f"failed  {case.name}  {reason}", style="red")
        return record

    def loaded(self) -> Any:
        """The network, built when the first case needs it."""
        if self.predictor is None:
            from ..bundle.predictor import Predictor

            with warnings.catch_warnings():
                # MONAI tries all its readers, and tells of a decoder for GPUs that is not there.
                warnings.filterwarnings("ignore", ".*nvImageCodec")
                logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
                self.predictor = Predictor(self.model.config, self.model.weights)
        return self.predictor


class Board:
    """A progress bar on a terminal, and a line for each case that ends."""

    def __init__(self, total: int) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        first = os.environ.get("RANK", "0") == "0"  # of the processes on one terminal
        self.progress = Progress(
            TextColumn("predicting"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not (first and self.console.is_terminal),
        )
        self.task = self.progress.add_task("", total=total)

    def __enter__(self) -> Board:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def advance(self) -> None:
        self.progress.advance(self.task)

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(printable(text), style=style))


def reason_of(error: Exception, case: Case) -> str:
    """One line that names the case and what went wrong with it."""
    while str(error).startswith("applying transform") and isinstance(error.__cause__, Exception):
        error = error.__cause__  # MONAI's own words say no more
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    text = f"{kind}{one_line(error)}"
    return text if str(case.path) in text else f"{case}: {text}"


def sizes(measured: Record) -> str:
    """What was measured, as it is shown."""
    if "volume_ml" in measured:
        return "".join(f"  {name} {ml:.1f} ml" for name, ml in measured["volume_ml"].items())
    ratio = measured.get("vertical_cdr")
    return f"  vertical cup-to-disc ratio {ratio:.2f}" if ratio is not None else ""


def _refuse_other_models(model: Model, cohort: Cohort) -> None:
    """Masks of two networks must not stand in one folder as if they were of one."""
    for known in cohort.records():
        files = known["outputs"] if known["status"] == "done" else known.get("kept", ())
        if known["model"] == model.digest:
            continue
        if any((cohort.folder / name).exists() for name in files):
            raise InputError(
                f"{cohort.folder}: it holds {known['name']} by another checkpoint or other "
                "settings; give another --output, or --overwrite."
            )
