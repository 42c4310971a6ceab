"""``python -m pipeline data``: get, prepare, draw and check data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = typer.Typer(help="Get, prepare, draw and check data.", no_args_is_help=True)
prepare = typer.Typer(help="Turn a dataset's files into a datalist.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")

Output = Annotated[Path, typer.Option(help="Folder to make.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was made there before.")]
SkipIncomplete = Annotated[
    bool, typer.Option("--skip-incomplete", help="Leave out cases that lack a file.")
]


class Rule(StrEnum):
    """How experts' soft maps become one mask."""

    majority = "majority"
    union = "union"


class Kind(StrEnum):
    """What is drawn."""

    fundus = "fundus"
    ct = "ct"


@app.command()
def check(
    datalist: Path,
    dataset_dir: Annotated[
        Path | None, typer.Option(help="Folder its paths start from [default: the datalist's].")
    ] = None,
) -> None:
    """Read every file of a DATALIST and show all that is wrong."""
    from .checks import check_datalist
    from .datalist import read_datalist

    problems = check_datalist(datalist, dataset_dir)
    if problems:
        title = Text(f"{datalist}: {len(problems)} to correct")
        table = Table("item", "problem", "fix", title=title)
        for problem in problems:  # as they are: a name may hold [brackets]
            table.add_row(*map(Text, (problem.item, problem.problem, problem.fix)))
        Console().print(table)
        raise typer.Exit(1)
    content = read_datalist(datalist)
    typer.echo(f"{len(content['training']) + len(content['testing'])} cases, no problem")


@app.command()
def phantom(
    output: Path,
    kind: Annotated[Kind, typer.Option(help="Fundus photographs or abdominal CTs.")] = Kind.fundus,
    count: Annotated[int, typer.Option(help="How many cases.")] = 60,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    testing: Annotated[
        float, typer.Option(help="Share of the cases, the last ones, that are the test split.")
    ] = 0.2,
    tumour_share: Annotated[float, typer.Option(help="CT: share of patients with a tumour.")] = 0.5,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="CT: width, height and slices, in voxels, else as drawn."),
    ] = None,
    field_of_view: Annotated[
        float | None, typer.Option(help="CT: width of a slice in mm, else as drawn.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw fundus photographs with exact disc and cup, or CTs with exact pancreas, to OUTPUT."""
    if kind is Kind.ct:
        from .phantoms.ct import write_ct_phantoms

        path = write_ct_phantoms(
            output,
            count=count,
            seed=seed,
            testing=testing,
            tumour_share=tumour_share,
            size=size,
            field_of_view=field_of_view,
            overwrite=overwrite,
        )
    else:
        from .phantoms.fundus import write_fundus_phantoms

        if size or field_of_view:
            raise ValueError("--size and --field-of-view are for CTs: add --kind ct")
        path = write_fundus_phantoms(
            output, count=count, seed=seed, testing=testing, overwrite=overwrite
        )
    typer.echo(path)


@prepare.command("drishti-gs")
def prepare_drishti_gs(
    folder: Path,
    output: Output = Path("data/prepared/drishti_gs"),
    rule: Annotated[
        Rule, typer.Option(help="A pixel counts if 3 of 4 experts marked it, or any.")
    ] = Rule.majority,
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Pair the photographs and soft maps below FOLDER and write masks and datalist."""
    from .drishti_gs import prepare as run

    datalist, empty = run(
        folder,
        output,
        rule=rule.value,
        skip_incomplete=skip_incomplete,
        overwrite=overwrite,
    )
    for case in empty:
        typer.secho(f"empty under the {rule.value} rule: {case}", fg="yellow", err=True)
    typer.echo(datalist)


@prepare.command("msd-pancreas")
def prepare_msd_pancreas(
    folder: Path,
    output: Output = Path("data/prepared/msd_pancreas"),
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Pair the CTs and labels below FOLDER and deal them to five folds."""
    from .msd_pancreas import prepare as run

    _tell(run(folder, output, skip_incomplete=skip_incomplete, overwrite=overwrite))


@prepare.command("nih-pancreas")
def prepare_nih_pancreas(
    folder: Path,
    output: Output = Path("data/prepared/nih_pancreas"),
    skip_incomplete: SkipIncomplete = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert the DICOM below FOLDER to NIfTI and turn each label onto its CT."""
    from .nih_pancreas.prepare import prepare as run

    _tell(run(folder, output, skip_incomplete=skip_incomplete, overwrite=overwrite))


@prepare.command("dicom")
def prepare_dicom(
    folder: Path,
    output: Output = Path("data/prepared/dicom"),
    labels: Annotated[
        Path | None, typer.Option(help="Folder of NIfTI masks, each named as its CT will be.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Only the series of this UID.")] = None,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Leave out CTs that are no sound volume.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert your own CT series below FOLDER to NIfTI, and list them with their labels."""
    from .dicom.prepare import prepare as run

    _tell(
        run(
            folder,
            output,
            labels=labels,
            uid=series,
            skip_refused=skip_refused,
            overwrite=overwrite,
        )
    )


def _tell(prepared: tuple[Path, list[str]]) -> None:
    """Show what was made, and first what to know of it."""
    path, notes = prepared
    for note in notes:
        typer.secho(note, fg="yellow", err=True)
    typer.echo(path)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="drishti-gs, msd-pancreas, nih-pancreas, or a card.json.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder to make [default: data/downloads/NAME].")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="The archive, where you have downloaded it yourself.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Download (or go on downloading), verify and extract a dataset."""
    from .download import fetch as run
    from .download import load_card

    card = load_card(name)
    folder = output or Path("data/downloads") / (Path(name).parent.name if "/" in name else name)
    if (
        name.lower().replace("_", "-") == "nih-pancreas"
    ):  # its CTs are in another archive than its labels
        from .nih_pancreas.prepare import fetch as fetch_both

        files = fetch_both(folder, archive=archive, overwrite=overwrite)
        typer.echo(f"{files}\nlicence: {card.licence}\ncite: {card.citation}")
        return
    files, digest = run(name, folder, archive=archive, overwrite=overwrite)
    note = "" if card.sha256 or card.md5 else f" ({card.checksum_note or 'checksum not published'})"
    typer.echo(f"{files}\nsha256 {digest}{note}\nlicence: {card.licence}\ncite: {card.citation}")
