"""``python -m pipeline data``: get, prepare, draw and check data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .prepare_cli import Overwrite
from .prepare_cli import app as prepare

app = typer.Typer(help="Get, prepare, draw and check data.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")


@app.command()
def check(
    datalist: Path,
    dataset_dir: Annotated[
        Path | None, typer.Option(help="Folder where its paths start (default: the datalist's).")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a bundle that you want to train on it.")
    ] = None,
) -> None:
    """Read every file of a DATALIST and list all problems, with a fix for each."""
    from ..bundle.listing import read_datalist
    from .checks import check_datalist

    datalist = datalist / "datalist.json" if datalist.is_dir() else datalist
    found = check_datalist(datalist, dataset_dir, bundle=bundle)
    for blocks, title in ((False, "to look at"), (True, "problems")):
        part = [each for each in found if each.blocks == blocks]
        table = Table("item", "problem", "fix", title=Text(f"{datalist}: {len(part)} {title}"))
        for each in part:  # as plain text: a name may hold [brackets]
            table.add_row(*map(Text, (each.item, each.problem, each.fix)))
        if part:
            Console().print(table)
    if any(each.blocks for each in found):
        raise typer.Exit(1)
    content = read_datalist(datalist)
    typer.echo(f"{len(content['training']) + len(content['testing'])} cases, no problem")


@app.command()
def phantom(
    output: Path,
    kind: Annotated[
        Literal["fundus", "ct"], typer.Option(help="Fundus photographs or abdominal CTs.")
    ] = "fundus",
    count: Annotated[int, typer.Option(help="Number of cases.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
    testing: Annotated[
        float, typer.Option(help="Share of the cases for the testing section, the last ones.")
    ] = 0.2,
    tumour_share: Annotated[float, typer.Option(help="CT: share of patients with a tumour.")] = 0.5,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="CT: width, height and slices, in voxels (default: drawn per case)."),
    ] = None,
    field_of_view: Annotated[
        float | None, typer.Option(help="CT: width of a slice in mm (default: drawn per case).")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw photographs with an exact disc and cup, or CTs with an exact pancreas, into OUTPUT."""
    common = {"count": count, "seed": seed, "testing": testing, "overwrite": overwrite}
    if kind == "ct":
        from .phantoms.ct import write_ct_phantoms

        drawn = {"tumour_share": tumour_share, "size": size, "field_of_view": field_of_view}
        path = write_ct_phantoms(output, **drawn, **common)
    else:
        from .phantoms.fundus import write_fundus_phantoms

        if size or field_of_view:
            raise ValueError("--size and --field-of-view are for CTs: add --kind ct")
        path = write_fundus_phantoms(output, **common)
    typer.echo(path)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="drishti-gs, msd-pancreas, nih-pancreas, or a card.json.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Output folder (default: data/downloads/NAME).")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="The archive, if you downloaded it yourself.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Download, verify and extract a dataset; an interrupted download resumes."""
    from .download import fetch_archive, load_card

    card = load_card(name)
    folder = output or Path("data/downloads") / (Path(name).parent.name if "/" in name else name)
    if name.lower().replace("_", "-") == "nih-pancreas":  # its CTs and labels come apart
        from .nih_pancreas.prepare import fetch_collection

        typer.echo(fetch_collection(folder, archive=archive, overwrite=overwrite))
    else:
        files, digest = fetch_archive(name, folder, archive=archive, overwrite=overwrite)
        published = card.sha256 or card.md5
        note = "" if published else f" ({card.checksum_note or 'checksum not published'})"
        typer.echo(f"{files}\nsha256 {digest}{note}")
    typer.echo(f"licence: {card.licence}\ncite: {card.citation}")
