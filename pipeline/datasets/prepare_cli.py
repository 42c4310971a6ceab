"""``python -m pipeline data prepare``: turn a dataset's files into a datalist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from .describing import Options
    from .importing import Dataset

app = typer.Typer(help="Turn a dataset's files into a datalist.", no_args_is_help=True)

Output = Annotated[Path, typer.Option(help="Output folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was made there before.")]
Values = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VALUE=NAME",
        help="Name of a value in the labels: 255=vessel, 128-255=vessel, '#ff0000=vessel', "
        "128=ignore, other=background. Repeat it for each.",
    ),
]
Region = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=LABEL,LABEL",
        help="A region of several labels, such as one around another; every other label is a "
        "region by itself, unless NAME= leaves it out. Repeat it for each.",
    ),
]
Modality = Annotated[
    str | None,
    typer.Option(
        help="CT, MR, PET, ultrasound, X-ray, microscopy or photograph, if the files do not say it."
    ),
]
Patient = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Regular expression whose group is the patient in a case's name, such as '^([^_]+)_' "
        "(default: each case is a patient).",
    ),
]
Folds = Annotated[int | None, typer.Option(help="Number of folds (default: 5).")]
Testing = Annotated[
    float, typer.Option(help="Share or number of the cases for the testing section.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the dataset, and write nothing.")]
SkipIncomplete = Annotated[
    bool, typer.Option("--skip-incomplete", help="Leave out cases that lack a file.")
]


@app.command("folder")
def prepare_folder(
    images: Annotated[
        list[str],
        typer.Option(
            help="Folder of the images, or a pattern such as 'cases/*/t1.nii.gz'; "
            "once for each channel."
        ),
    ],
    labels: Annotated[
        list[str],
        typer.Option(
            help="Folder of the labels, or a pattern; or NAME=FOLDER for the masks of one "
            "structure, once for each."
        ),
    ],
    output: Output,
    values: Values = None,
    region: Region = None,
    modality: Modality = None,
    channels: Annotated[str, typer.Option(help="Names of the channels, such as T1,T2.")] = "",
    patient: Patient = None,
    folds: Folds = None,
    testing: Testing = 0,
    dry_run: DryRun = False,
    skip_incomplete: SkipIncomplete = False,
    missing_is_empty: Annotated[
        bool,
        typer.Option(
            "--missing-is-empty",
            help="With several --labels: a case without a mask of a structure has nothing of it.",
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Pair your own images and labels by name, and write a datalist."""
    from .folder import plan_folder
    from .showing import show_pairs

    _check_output(output, dry_run=dry_run, overwrite=overwrite)
    options = _options(modality, region, patient, folds, testing, channels)
    given = {"values": values or [], "skip_incomplete": skip_incomplete}
    given["missing_is_empty"] = missing_is_empty
    name = output.resolve().name
    pairs, dataset = plan_folder(images, labels, options, name=name, **given)
    show_pairs(pairs)
    _finish(dataset, output, dry_run=dry_run, overwrite=overwrite)


@app.command("msd")
def prepare_msd(
    folder: Path,
    output: Output,
    region: Region = None,
    modality: Modality = None,
    patient: Patient = None,
    folds: Folds = None,
    testing: Testing = 0,
    dry_run: DryRun = False,
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare a task of the Medical Segmentation Decathlon: the FOLDER with its dataset.json."""
    from .msd import plan_msd

    _check_output(output, dry_run=dry_run, overwrite=overwrite)
    options = _options(modality, region, patient, folds, testing)
    dataset = plan_msd(folder, options, skip_incomplete=skip_incomplete)
    _finish(dataset, output, dry_run=dry_run, overwrite=overwrite)


@app.command("nnunet")
def prepare_nnunet(
    folder: Path,
    output: Output,
    splits: Annotated[
        Path | None,
        typer.Option(help="nnU-Net's splits_final.json (default: that in FOLDER, or new folds)."),
    ] = None,
    region: Region = None,
    modality: Modality = None,
    patient: Patient = None,
    folds: Folds = None,
    testing: Testing = 0,
    dry_run: DryRun = False,
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare a raw dataset of nnU-Net: the FOLDER with its dataset.json."""
    from .nnunet import plan_nnunet

    _check_output(output, dry_run=dry_run, overwrite=overwrite)
    options = _options(modality, region, patient, folds, testing)
    dataset = plan_nnunet(folder, options, splits=splits, skip_incomplete=skip_incomplete)
    _finish(dataset, output, dry_run=dry_run, overwrite=overwrite)


def _options(
    modality: str | None,
    regions: list[str] | None,
    patient: str | None,
    folds: int | None,
    testing: float,
    channels: str = "",
) -> Options:
    from .describing import Options

    names = [name.strip() for name in channels.split(",") if name.strip()]
    return Options(modality, names, regions or [], patient, testing, folds)


def _check_output(output: Path, *, dry_run: bool, overwrite: bool) -> None:
    """Refuse an output folder before the files are read."""
    from ..folders import check_free

    if not dry_run:
        check_free(output, overwrite=overwrite)


def _finish(dataset: Dataset, output: Path, *, dry_run: bool, overwrite: bool) -> None:
    """Show a dataset, and write it."""
    from .importing import write_sources
    from .showing import show_dataset

    show_dataset(dataset)
    if not dry_run:
        typer.echo(write_sources(dataset, output, overwrite=overwrite))


@app.command("drishti-gs")
def prepare_drishti_gs(
    folder: Path,
    output: Output = Path("data/prepared/drishti_gs"),
    rule: Annotated[
        Literal["majority", "union", "all", "soft"],
        typer.Option(
            help="A pixel is marked if at least 3 of 4 experts marked it, any, or all; "
            "soft also keeps the share of experts."
        ),
    ] = "majority",
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Pair the photographs and soft maps below FOLDER, and write masks and a datalist."""
    from . import drishti_gs

    options = {"skip_incomplete": skip_incomplete, "overwrite": overwrite}
    _report(drishti_gs.prepare(folder, output, rule=rule, **options))


@app.command("nih-pancreas")
def prepare_nih_pancreas(
    folder: Path,
    output: Output = Path("data/prepared/nih_pancreas"),
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert the DICOM files below FOLDER to NIfTI, and orient each label to match its CT."""
    from .nih_pancreas import prepare as nih_pancreas

    options = {"skip_incomplete": skip_incomplete, "overwrite": overwrite}
    _report(nih_pancreas.prepare(folder, output, **options))


@app.command("dicom")
def prepare_dicom(
    folder: Path,
    output: Output = Path("data/prepared/dicom"),
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Folder of NIfTI masks, named as --dry-run shows, or of DICOM SEG "
            "(default: DICOM SEG in FOLDER)."
        ),
    ] = None,
    values: Values = None,
    region: Region = None,
    modality: Modality = None,
    series: Annotated[
        str | None,
        typer.Option(help="Only the series with this number, description or UID."),
    ] = None,
    patient: Patient = None,
    folds: Folds = None,
    testing: Testing = 0,
    dry_run: DryRun = False,
    skip_refused: Annotated[
        bool,
        typer.Option(
            "--skip-refused", help="Leave out series that are not valid volumes or have no SEG."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert the DICOM series below FOLDER to NIfTI, and write a datalist with their labels."""
    from .dicom.prepare import plan_dicom, write_images

    _check_output(output, dry_run=dry_run, overwrite=overwrite)
    options = _options(modality, region, patient, folds, testing)
    given = {"values": values or [], "chosen": series, "skip_refused": skip_refused}
    found, dataset, notes = plan_dicom(
        folder, options, name=folder.resolve().name, labels=labels, **given
    )
    _note(notes)
    if dataset is not None:
        _finish(dataset, output, dry_run=dry_run, overwrite=overwrite)
    elif dry_run:
        typer.echo("\n".join(f"images/{name}.nii.gz: {each}" for name, each in found.items()))
    else:
        typer.echo(write_images(found, output, source=folder, overwrite=overwrite))


def _report(prepared: tuple[Path, list[str]]) -> None:
    """Show the notes on what was made, then its path."""
    path, notes = prepared
    _note(notes)
    typer.echo(path)


def _note(notes: list[str]) -> None:
    for note in notes:
        typer.secho(note, fg="yellow", err=True)
