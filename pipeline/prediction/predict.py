"""Segment many images, beside other processes, and go on after an interrupt or a bad image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..files import some
from .bundle import read_model
from .cohort import Cohort
from .inputs import find_inputs
from .niivue import bring_viewer
from .output import OutputError
from .progress import CaseProgress, is_doubtful
from .runner import CaseRunner


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
    ahead: bool = True,
) -> Path:
    """Segment the images of files, folders and DICOM series, and report on each.

    Args:
        inputs: what to segment.
        output: folder of the masks and reports; several processes may share it.
        bundle: see `read_model`, as ``checkpoint``, ``overlays`` and ``overrides``.
        series: number, description or UID of the only DICOM series that are segmented.
        probabilities: also write those of each region.
        overwrite: segment again what is done already.
        ahead: read the next image and write the last mask beside the network.

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
            if not model.calibration:
                progress.say(
                    "no estimates of quality: evaluate the validation cases of the checkpoint first"
                )
            elif note := model.about["calibration"].get("note"):
                progress.say(note, style="yellow")
            if model.volumes and (problem := bring_viewer(output)):
                progress.say(problem, style="yellow")
            try:
                options = {"overwrite": overwrite, "ahead": ahead}
                CaseRunner(cases, model, cohort, progress, **options).run()
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
    counted = {status: len(names) for status, names in counts.items()} | {"left out": len(left_out)}
    counted = {status: count for status, count in counted.items() if count}
    if model.calibration:  # else 0 would say that no mask is doubtful
        counted["to check"] = sum(map(is_doubtful, cohort.entries.values()))
    progress.say(", ".join(f"{count} {status}" for status, count in counted.items()))
    progress.say(f"report: {report.with_suffix('.html')}, {report}")
    if failed := counts["failed"]:
        more = f", see {report}" if len(failed) > 10 else ""
        raise FailedCases(f"{len(failed)} of {len(cases)} failed: {some(failed, shown=10)}{more}")
    return report


class FailedCases(InputError):
    """Some cases could not be segmented."""
