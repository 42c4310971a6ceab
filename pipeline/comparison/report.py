"""A comparison as files: one HTML page, Markdown, tables and figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.figures.panels import save_figure
from ..files import read_json
from .case_tables import CaseTables
from .entries import Table
from .evaluations import Evaluation, download_artifact
from .writers import to_markdown, write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

TEMPLATE = "report.html.jinja"


@dataclass
class Picture:
    """A PNG in the report's folder, with its notes.

    ``alt`` says what is seen to who cannot see it; ``drawn`` that it has only lines and text on
    white, which a dark page may turn around.
    """

    path: Path
    notes: list[str]
    alt: str
    drawn: bool = True

    @property
    def data(self) -> str:
        """The file in base 64, so that the page is self-contained."""
        return base64.b64encode(self.path.read_bytes()).decode()


@dataclass
class Section:
    """A heading with tables, pictures, commands, or only notes.

    ``commands`` are what each is for, and the command.
    """

    title: str
    tables: list[Table] = field(default_factory=list)
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

    def save(
        self, name: str, figure: Figure, notes: Sequence[str], alt: str, *, drawn: bool = True
    ) -> Picture:
        """Save a figure as PNG, which the page shows, and as SVG."""
        path = self.folder / "figures" / f"{name}.png"
        for each in (path, path.with_suffix(".svg")):
            save_figure(figure, each, dpi=150)
            figure.set_layout_engine("none")  # it is laid out, which takes as long as drawing
        return Picture(path, list(notes), alt, drawn)

    def download(self, run: Run, artifact: str) -> Path | None:
        return download_artifact(self.client, run, artifact, self.scratch)

    def read_json(self, run: Run | None, artifact: str) -> dict[str, Any]:
        """An artifact of a run; empty if there is none."""
        path = self.download(run, artifact) if run else None
        return read_json(path) if path else {}


def write_report(
    folder: Path,
    *,
    title: str,
    summary: Sequence[str],
    sections: Sequence[Section],
    cases: Sequence[dict[str, Any]],
) -> None:
    """Write ``report.html``, ``report.md`` and ``tables/``; the pictures are there already.

    The lines of ``summary`` stand first; ``cases`` has a record per network and case.
    """
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = page.get_template(TEMPLATE).render(title=title, summary=summary, sections=sections)
    (folder / "report.html").write_text(html, encoding="utf-8")
    parts = [f"# {title}", *summary]
    tables = list(chain.from_iterable(section.tables for section in sections))
    write_tables(folder / "tables", tables, {"cases": cases})
    for section in sections:
        parts += map(to_markdown, section.tables)
        parts += [*([] if section.tables else [f"## {section.title}"]), *section.notes]
        parts += [f"{what}\n\n```bash\n{command}\n```" for what, command in section.commands]
        for picture in section.pictures:
            path = picture.path.relative_to(folder).as_posix()
            alt = picture.alt.replace("[", "(").replace("]", ")")
            parts += [f"![{alt}]({path})", *picture.notes]
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
