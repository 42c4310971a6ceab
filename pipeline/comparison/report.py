"""A comparison as files: one HTML page, Markdown, CSV and PNG."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluation.figures.panels import save_figure
from ..evaluation.summary import write_rows
from .evaluations import Evaluation, download_artifact
from .statistics import CaseTables
from .tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

TEMPLATE = "report.html.jinja"


@dataclass
class Picture:
    """A PNG in the report's folder, with its notes."""

    title: str
    path: Path
    notes: list[str] = field(default_factory=list)

    @property
    def data(self) -> str:
        """The file in base 64, so that the page is self-contained."""
        return base64.b64encode(self.path.read_bytes()).decode()


@dataclass
class Section:
    """A heading with a table, pictures, commands, or only notes.

    ``commands`` are what each is for, and the command.
    """

    title: str
    table: Table | None = None
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Comparison:
    """What the sections are made from, and where their files go."""

    client: MlflowClient
    results: CaseTables
    evaluations: list[Evaluation]  # in the order of networks, folds and seeds
    folder: Path  # of the report
    scratch: Path  # for files from a remote store

    def save(self, name: str, figure: Figure, notes: Sequence[str] = ()) -> Picture:
        path = self.folder / "figures" / f"{name}.png"
        save_figure(figure, path, dpi=150)
        return Picture(name.replace("_", " ").capitalize(), path, list(notes))

    def download(self, evaluation: Evaluation, artifact: str) -> Path | None:
        return download_artifact(self.client, evaluation.run, artifact, self.scratch)


def write_report(
    folder: Path, *, title: str, summary: Sequence[str], sections: Sequence[Section]
) -> None:
    """Write ``report.html``, ``report.md`` and ``tables/*.csv``; the pictures are there already.

    The lines of ``summary`` stand first.
    """
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = page.get_template(TEMPLATE).render(title=title, summary=summary, sections=sections)
    (folder / "report.html").write_text(html, encoding="utf-8")
    parts = [f"# {title}", *summary]
    for section in sections:
        table = section.table
        if table:
            write_rows(folder / "tables" / f"{table.name}.csv", table.records)
        parts += [table.to_markdown() if table else f"## {section.title}", *section.notes]
        parts += [f"{what}\n\n```bash\n{command}\n```" for what, command in section.commands]
        for picture in section.pictures:
            path = picture.path.relative_to(folder).as_posix()
            parts += [f"![{picture.title}]({path})", *picture.notes]
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
