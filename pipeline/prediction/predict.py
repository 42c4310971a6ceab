"""Segment many images, beside other processes, and go on after an interrupt or a bad image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from .bundle import Model, read_model
from .case import estimate_quality, output_names, probability_names, segment
from .cohort import CaseRecord, Cohort
from .input_case import InputCase
from .inputs import find_inputs
from .niivue import bring_viewer
from .output import OutputError
from .progress import CaseProgress, describe_sizes, explain
from .view import remove_view

_POLL = 0.5  # s between looks at what other processes hold
_ATTEMPTS = 2  # processes that may die over a case in one run


def predict(
    inputs: Sequence[Path],
    *,
    output: Path,
    bundle: Path | None = None,
    checkpoint: Path | Sequence[Path] | None = None,
    overlays: Sequence[str] = (),
    overrides: Sequence[str] = (),
    series: str | None = None,
    probabilities: bool = False,
    overwrite: bool = False,
) -> Path:
    """Segment the images of files, folders and DICOM series, and report on each.

    Args:
        inputs: what to segment.
        output: folder of the masks and reports; several processes may share it.
        bundle: see `read_model`, as ``checkpoint``, ``overlays`` and ``overrides``.
        series: number, description or UID of the only DICOM series that are segmented.
        probabilities: also write those of each region.
        overwrite: segment again what is done already.

    Returns:
        The path of the run's report.

    Raises:
        InputError: an argument is wrong; nothing has run.
        OutputError: the output cannot be written.
        FailedCases: some images could not be segmented; all others are done.
    """
    model = read_model(
        bundle,
        checkpoint=checkpoint,
        overlays=overlays,
        overrides=overrides,
        probabilities=probabilities,
    )
    cases, left_out = find_inputs(
        inputs,
        volumes=model.volumes,
        output=output,
        modality=model.modality,
        channel_names=model.channels,
        chosen=series,
    )
    from ..tracking.provenance import describe_environment

    about = {**model.about, "environment": describe_environment()}
    cohort = Cohort(output, about, model=model.digest, total=len(cases), left_out=left_out)
    try:
        if not overwrite:
            cohort.refuse_other_models(model.digest)
        with CaseProgress(len(cases)) as progress:
            progress.say_left_out(left_out)
            if model.volumes and (problem := bring_viewer(output)):
                progress.say(problem, style="yellow")
            try:
                CaseRunner(cases, model, cohort, progress, overwrite=overwrite).run()
            except BaseException:
                with suppress(OutputError):
                    cohort.write_report(pages=True)
                raise
        report = cohort.write_report(pages=True)
    finally:
        cohort.close()
    counts = {
        status: [name for name, entry in cohort.entries.items() if entry["status"] == status]
        for status in ("done", "skipped", "failed")
    }
    counted = {
        **{status: len(names) for status, names in counts.items()},
        "left out": len(left_out),
    }
    doubtful = [entry for entry in cohort.entries.values() if is_doubtful(entry)]
    counted["to check"] = len(doubtful)
    progress.say(", ".join(f"{count} {status}" for status, count in counted.items() if count))
    progress.say(f"report: {report.with_suffix('.html')}, {report}")
    if failed := counts["failed"]:
        more = f" and {len(failed) - 10} more, see {report}" if len(failed) > 10 else ""
        raise FailedCases(f"{len(failed)} of {len(cases)} failed: {', '.join(failed[:10])}{more}")
    return report


def is_doubtful(entry: CaseRecord) -> bool:
    return entry.get("quality", {}).get("check", False)


class FailedCases(InputError):
    """Some cases could not be segmented."""


class CaseRunner:
    """Does the cases of a command that no other process does."""

    def __init__(
        self,
        cases: Sequence[InputCase],
        model: Model,
        cohort: Cohort,
        progress: CaseProgress,
        *,
        overwrite: bool,
    ) -> None:
        self.cases, self.model, self.cohort, self.progress = cases, model, cohort, progress
        self.overwrite = overwrite
        self.predictor: Any = None

    def run(self) -> None:
        """Do each case that no other process has, until all have ended."""
        left = list(self.cases)
        while left:
            held = []
            for case in left:
                if not self.cohort.take(case.name):
                    held.append(case)
                    continue
                try:
                    entry = self.find_result(case) or self.do_case(case)
                finally:
                    self.cohort.free(case.name)
                self.cohort.note(entry)
                self.progress.advance(self.progress.bar)
            if len(held) == len(left):
                time.sleep(_POLL)
            left = held

    def find_result(self, case: InputCase) -> CaseRecord | None:
        """Find the record of a case that is not to be done, or not again."""
        known = self.cohort.record(case.name)
        if known and known["run"] == self.cohort.run and known["status"] != "running":
            if known["input"] == case.source:
                return known
            # Both are in this run, whose report keeps the entry of the other.
            reason = f"{case.name} is {known['input']} in this run: give another --output"
            return self.record_failure(case, reason, keep=False) | {"name": case.source}
        if self.overwrite:
            return None
        files = [self.cohort.folder / name for name in output_names(case, self.model)]
        there = [path for path in files if path.exists()]
        own = known.get("kept", ()) if known else ()  # the case failed when it was done again
        foreign = [path for path in there if path.name not in own]
        if foreign and (not known or known["status"] == "failed"):
            reason = f"{foreign[0]} was not written by this command: move it away, or --overwrite"
            return self.record_failure(case, reason, keep=False)
        if not known or known["status"] != "done":
            return None
        expected = [*known["outputs"], *probability_names(case, self.model)]
        if not all((self.cohort.folder / name).exists() for name in expected):
            return None
        if known["stamp"] == case.stamp():
            before = {key: value for key, value in known.items() if key != "quality"}
            return {**before, **estimate_quality(known, self.model), "status": "skipped"}
        if known["input"] != case.source:
            reason = f"{there[0]} is the mask of {known['input']}"
            return self.record_failure(case, f"{reason}: give another --output", keep=False)
        for path in there:  # of an image that has changed since
            path.unlink()
        return None

    def do_case(self, case: InputCase) -> CaseRecord:
        """Segment a case that this process has locked."""
        known = self.cohort.record(case.name)
        begun = known["attempt"] if known and known["run"] == self.cohort.run else 0
        if begun >= _ATTEMPTS:
            return self.record_failure(
                case,
                f"{case}: {begun} processes died over it: is there enough memory? "
                "The same command tries it again",
                kept=known.get("kept", ()),
            )
        kept = self.keep_files(case, known)
        record = self.new_record(case, attempt=begun + 1, kept=kept)
        self.cohort.keep(record)
        predictor = self.get_predictor()
        started = time.monotonic()
        try:
            measured = segment(case, self.model, predictor, self.cohort.folder)
        except (OutputError, ModuleNotFoundError):  # the next cases would meet it too
            raise
        except Exception as error:  # readers, transforms and networks raise about anything
            seconds = round(time.monotonic() - started, 3)
            return self.record_failure(case, explain(error, case), kept=kept, seconds=seconds)
        del record["kept"]
        seconds = round(time.monotonic() - started, 3)
        record |= {"status": "done", "seconds": seconds, **measured}
        self.cohort.keep(record)
        sizes = describe_sizes(measured)
        self.progress.say(f"done    {case.name}  {seconds:.1f} s{sizes}")
        if is_doubtful(measured):
            reasons = "; ".join(measured["quality"]["reasons"])
            self.progress.say(f"check   {case.name}  {reasons}", style="yellow")
        if "note" in measured:
            self.progress.say(f"        {measured['note']}", style="yellow")
        return record

    def keep_files(self, case: InputCase, known: CaseRecord | None) -> list[str]:
        """List the files of an earlier run that stay right even if the next run fails.

        Those of another image, checkpoint or option are removed: they would pass for results.
        """
        files = [*known.get("outputs", ()), *known.get("kept", ())] if known else []
        same = {"model": self.model.digest, "stamp": case.stamp(), "input": case.source}
        if known and all(known[name] == value for name, value in same.items()):
            return files
        for name in files:
            (self.cohort.folder / name).unlink(missing_ok=True)
        remove_view(self.cohort.folder, case.name)
        return []

    def new_record(self, case: InputCase, *, attempt: int, **more: Any) -> CaseRecord:
        return {
            "kept": [],
            "name": case.name,
            "input": case.source,
            "status": "running",
            "stamp": case.stamp(),
            "model": self.model.digest,
            "run": self.cohort.run,
            "worker": self.cohort.worker,
            "attempt": attempt,
            **more,
        }

    def record_failure(
        self, case: InputCase, reason: str, *, keep: bool = True, **more: Any
    ) -> CaseRecord:
        """Report a failure, and record it unless the mask there belongs to something else."""
        record = self.new_record(case, attempt=0, status="failed", error=reason, **more)
        if keep:
            self.cohort.keep(record)
        self.progress.say(f"failed  {case.name}  {reason}", style="red")
        return record

    def get_predictor(self) -> Any:
        """Build the network when the first case needs it."""
        if self.predictor is None:
            from ..bundle.predictor import Predictor

            self.predictor = Predictor(
                self.model.config,
                self.model.weights,
                probabilities=self.model.probabilities,
                calibration=self.model.calibration,
            )
        return self.predictor
