"""Compare evaluations in MLflow: from a query to a report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..errors import InputError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from .evaluations import Evaluation

log = logging.getLogger(__name__)


def compare_evaluations(
    output: str | Path,
    *,
    experiment: str = "",
    runs: Sequence[str] = (),
    query: str = "",
    parent: str = "",
    by: str = "pipeline.network",
    baseline: str = "",
    common: bool = False,
    overwrite: bool = False,
    tracking_uri: str = "",
) -> Path:
    """Compare the evaluations of a query and write the report into ``output``.

    No network runs: all numbers come from the evaluations' ``cases.csv``, all pictures from
    their artifacts. If there is a parent run, it gets the report too, as ``comparison/``.

    Args:
        output: folder to make.
        experiment, runs, query, parent: what is compared, see :func:`find_evaluations`.
        by: tag or parameter whose values are compared.
        baseline: one of these values; by default ``unet`` or else the first.
        common: compare the folds, seeds and cases that all share.
        overwrite: replace a report in ``output``.
        tracking_uri: MLflow store, by default MLflow's own.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: the evaluations do not exist or are not comparable.
        FileExistsError: ``output`` is not empty and ``overwrite`` is off.
    """
    from ..files import new_folder
    from ..tracking.store import connect
    from .checks import cell_order, check_comparable, count_repeats
    from .evaluations import find_evaluations, read_evaluations
    from .report import write_report
    from .sections import Comparison, make_sections
    from .statistics import average_cases

    with new_folder(output, overwrite=overwrite) as stage, TemporaryDirectory() as scratch:
        client = connect(tracking_uri)
        found, notes = find_evaluations(
            client, experiment=experiment, runs=runs, query=query, parent=parent
        )
        evaluations = read_evaluations(client, found, by=by, folder=Path(scratch))
        evaluations, left_out = check_comparable(evaluations, common=common)
        evaluations.sort(key=lambda each: (each.network, cell_order(each.cell)))
        names = sorted({each.network for each in evaluations})
        if baseline and baseline not in names:
            raise InputError(f"--baseline {baseline}: give one of {', '.join(names)}")
        baseline = baseline or ("unet" if "unet" in names else names[0])
        results = average_cases(evaluations, baseline=baseline)
        low, high = count_repeats(evaluations)
        times = str(low) if low == high else f"{low} to {high}"
        averaged = f" Each is first averaged over its {times} evaluations (folds, seeds)."
        section, bundle = (evaluations[0].tag(name) or "unknown" for name in ("section", "bundle"))
        summary = (
            f"{len(results.cases)} cases ({section} section of {bundle}), {len(evaluations)} "
            f"evaluations. A case is the unit of all statistics.{averaged if high > 1 else ''}"
        )
        write_report(
            stage,
            title=f"Comparison of {', '.join(results.tables)}",
            summary=[summary, *notes, *left_out],
            sections=make_sections(Comparison(client, results, evaluations, stage, Path(scratch))),
        )
        if target := parent or find_parent(evaluations):
            attach_report(client, target, stage)
    return Path(output) / "report.html"


def find_parent(evaluations: Sequence[Evaluation]) -> str | None:
    """The id of the run that all evaluations belong to, if there is one."""
    parents = {each.run.data.tags.get("mlflow.parentRunId") for each in evaluations}
    return parents.pop() if len(parents) == 1 else None


def attach_report(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Log the report to the parent run too; warn if the store refuses it."""
    from mlflow.exceptions import MlflowException

    from ..tracking.store import without_password

    try:
        client.log_artifacts(run_id, str(folder), "comparison")
    except (MlflowException, OSError) as error:
        reason = without_password(one_line(error, None))
        log.warning("the report is not attached to run %s: %s", run_id, reason)
