"""The cases of a command: each is read while the one before it is segmented and written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from .ahead import beside, is_large, nothing
from .bundle import Model
from .case import estimate_quality, output_names, prepare, probability_names, segment, write
from .cohort import CaseRecord, Cohort
from .input_case import InputCase
from .output import OutputError
from .progress import CaseProgress, describe_sizes, explain, is_doubtful
from .view import remove_view

if TYPE_CHECKING:
    from ..bundle.predictor import Predictor

_POLL = 0.5  # s between looks at what other processes hold
_ATTEMPTS = 2  # processes that may die over a case in one run
_PATIENCE = 3  # s that an interrupted command waits for the file that it reads


@dataclass
class Job:
    """A case that this process has locked.

    Attributes:
        record: with the status "running" until the case is done or has failed.
        keep: whether the record stays in the folder, where it replaces that of another case.
        tell: whether a line says what became of it.
        seconds: spent on it, without waiting for other cases.
        work: read, then segmented; the next thing to do with it, once it is there.
    """

    case: InputCase
    record: CaseRecord
    keep: bool = True
    tell: bool = True
    seconds: float = 0.0
    work: Any = None

    def timed(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, and count its seconds."""
        started = time.monotonic()
        try:
            return function(*args)
        finally:
            self.seconds += time.monotonic() - started

    def fail(self, reason: str) -> None:
        more = {"seconds": round(self.seconds, 3)} if self.seconds else {}
        self.record |= {"attempt": 0, "status": "failed", "error": reason, **more}


class CaseRunner:
    """Does the cases of a command that no other process does.

    While the network runs on a case, a thread reads the next one and another writes the last one:
    at most three are in memory. Lines and records keep the order of the cases. A case that a
    process died over, or that fills the memory, has the process to itself.
    """

    def __init__(
        self,
        cases: Sequence[InputCase],
        model: Model,
        cohort: Cohort,
        progress: CaseProgress,
        *,
        overwrite: bool,
        ahead: bool = True,
    ) -> None:
        self.cases, self.model, self.cohort, self.progress = cases, model, cohort, progress
        self.overwrite, self.ahead = overwrite, ahead
        self.reading: Future[Any] = nothing()
        self.writing: Future[Any] = nothing()

    def run(self) -> None:
        """Do each case that no other process has, until all have ended."""
        left = list(self.cases)
        try:
            while left:
                held = self.run_free(left)
                if len(held) == len(left):
                    time.sleep(_POLL)
                left = held
        finally:
            with suppress(TimeoutError):
                self.reading.exception(_PATIENCE)
            self.writing.exception()

    def run_free(self, cases: Sequence[InputCase]) -> list[InputCase]:
        """Do the cases that no other process has, and list those that another has."""
        held: list[InputCase] = []
        last: Job | None = None
        for case in cases:
            if not self.cohort.take(case.name):
                held.append(case)
                continue
            job = self.find_result(case) or self.begin(case)
            alone = not self.ahead or (job.record["status"] == "running" and self.is_alone(job))
            if alone:
                last = self.end(last)
                self.writing.result()
            self.read(job)
            self.end(last)
            self.reading.exception()  # the case after it is only taken when there is time for it
            last = self.end(job) if alone else job
        self.end(last)
        self.writing.result()
        return held

    def is_alone(self, job: Job) -> bool:
        return job.record["attempt"] > 1 or is_large(job.case, volumes=self.model.volumes)

    def read(self, job: Job) -> None:
        """Start to read and preprocess a case."""
        if job.record["status"] == "running":
            work = partial(job.timed, prepare, job.case, self.model, self.predictor)
            job.work = self.reading = beside(work, device=self.predictor.device)

    def end(self, job: Job | None) -> None:
        """Run the network on a case that is read, and let a thread write what it finds."""
        if job is None:
            return
        if job.record["status"] == "running":
            try:
                prepared = job.work.result()
                answer = job.timed(segment, job.case, prepared, self.predictor)
                job.work = (prepared._replace(item={}), answer)  # without the image
            except ModuleNotFoundError:  # the next cases would meet it too
                raise
            except Exception as error:  # readers, transforms and networks raise about anything
                job.fail(explain(error, job.case))
        self.writing.result()
        self.writing = beside(partial(self.settle, job))

    def settle(self, job: Job) -> None:
        """Write the mask of a case, and record and say what became of it."""
        case, record = job.case, job.record
        try:
            if record["status"] == "running":
                self.write(job)
            if job.keep:
                self.cohort.keep(record)
            if job.tell:
                self.say(case, record)
        finally:
            self.cohort.free(case.name)
        self.cohort.note(record)
        self.progress.advance(self.progress.bar)

    def write(self, job: Job) -> None:
        try:
            about = (self.model, self.predictor.regions, self.cohort.folder)
            measured = job.timed(write, job.case, *job.work, *about)
        except (OutputError, ModuleNotFoundError):  # the next cases would meet it too
            raise
        except Exception as error:
            job.fail(explain(error, job.case))
        else:
            del job.record["kept"]
            job.record |= {"status": "done", "seconds": round(job.seconds, 3), **measured}

    def say(self, case: InputCase, record: CaseRecord) -> None:
        if record["status"] == "failed":
            self.progress.say(f"failed  {case.name}  {record['error']}", style="red")
            return
        sizes = describe_sizes(record)
        self.progress.say(f"done    {case.name}  {record['seconds']:.1f} s{sizes}")
        if is_doubtful(record):
            reasons = "; ".join(record["quality"]["reasons"])
            self.progress.say(f"check   {case.name}  {reasons}", style="yellow")
        if "note" in record:
            self.progress.say(f"        {record['note']}", style="yellow")

    def find_result(self, case: InputCase) -> Job | None:
        """Find what is known of a case that is not to be done, or not again."""
        known = self.cohort.record(case.name)
        if known and known["run"] == self.cohort.run and known["status"] != "running":
            if known["input"] == case.source:
                return Job(case, known, keep=False, tell=False)
            # Both are in this run, whose report keeps the entry of the other.
            reason = f"{case.name} is {known['input']} in this run: give another --output"
            return self.refuse(case, reason, name=case.source)
        if self.overwrite:
            return None
        files = [self.cohort.folder / name for name in output_names(case, self.model)]
        there = [path for path in files if path.exists()]
        own = known.get("kept", ()) if known else ()  # the case failed when it was done again
        foreign = [path for path in there if path.name not in own]
        if foreign and (not known or known["status"] == "failed"):
            reason = f"{foreign[0]} was not written by this command: move it away, or --overwrite"
            return self.refuse(case, reason)
        if not known or known["status"] != "done":
            return None
        expected = [*known["outputs"], *probability_names(case, self.model)]
        if not all((self.cohort.folder / name).exists() for name in expected):
            return None
        if known["stamp"] == case.stamp():
            before = {key: value for key, value in known.items() if key != "quality"}
            entry = {**before, **estimate_quality(known, self.model), "status": "skipped"}
            return Job(case, entry, keep=False, tell=False)
        if known["input"] != case.source:
            reason = f"{there[0]} is the mask of {known['input']}"
            return self.refuse(case, f"{reason}: give another --output")
        for path in there:  # of an image that has changed since
            path.unlink()
        return None

    def begin(self, case: InputCase) -> Job:
        """Record that this process does a case."""
        known = self.cohort.record(case.name)
        begun = known["attempt"] if known and known["run"] == self.cohort.run else 0
        if begun >= _ATTEMPTS:
            job = Job(case, self.new_record(case, attempt=0, kept=known.get("kept", ())))
            job.fail(
                f"{case}: {begun} processes died over it: is there enough memory? "
                "The same command tries it again"
            )
            return job
        kept = self.keep_files(case, known)
        job = Job(case, self.new_record(case, attempt=begun + 1, kept=kept))
        self.cohort.keep(job.record)
        return job

    def refuse(self, case: InputCase, reason: str, **more: Any) -> Job:
        """Report a failure, but do not record it: the mask there belongs to something else."""
        job = Job(case, self.new_record(case, attempt=0, **more), keep=False)
        job.fail(reason)
        return job

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

    @cached_property
    def predictor(self) -> Predictor:
        """The network, which is built when the first case needs it."""
        from ..bundle.predictor import Predictor

        return Predictor(
            self.model.config,
            self.model.weights,
            probabilities=self.model.probabilities,
            calibration=self.model.calibration,
        )
