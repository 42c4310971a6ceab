"""A comparison as files: one HTML page, Markdown, CSV and PNG."""

from __future__ import annotations

import base64
import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .statistics import Results
from .tables import Table

TEMPLATE = "report.html.jinja"


@dataclass
class Picture:
    """A PNG in the report's folder, and what stands around it."""

    title: str
    path: Path
    notes: list[str] = field(default_factory=list)

    @property
    def data(self) -> str:
        """For the page itself, so that it is one file."""
        return base64.b64encode(self.path.read_bytes()).decode()


@dataclass
class Section:
    """A heading with a table, pictures, or only words."""

    title: str
    table: Table | None = None
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_report(
    folder: Path, *, title: str, summary: Sequence[str], sections: Sequence[Section]
) -> None:
    """Write ``report.html``, ``report.md`` and ``tables/*.csv``; the pictures lie there already.

    Args:
        folder: of the report.
        title: of the page.
        summary: lines that stand first.
        sections: in their order.
    """
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = page.get_template(TEMPLATE).render(title=title, summary=summary, sections=sections)
    (folder / "report.html").write_text(html, encoding="utf-8")
    parts = [f"# {title}", *summary]
    for section in sections:
        parts.append(section.table.markdown() if section.table else f"## {section.title}")
        parts += section.notes
        for picture in section.pictures:
            where = picture.path.relative_to(folder).as_posix()
            parts += [f"![{picture.title}]({where})", *picture.notes]
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    for section in sections:
        if section.table is not None:
            write_records(folder / "tables" / f"{section.table.name}.csv", section.table)


def write_records(path: Path, table: Table) -> None:
    """The records of a table, full precision, undefined values empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for record in table.records for key in record))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.records)


def write_cases(path: Path, found: Results) -> None:
    """What all tables were made from: a row per network and case."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(found.tables, names=["network", "case"]).to_csv(path, lineterminator="\n")
