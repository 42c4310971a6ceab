"""Tables as files: Markdown, LaTeX, CSV and Excel from the same entries and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_rows
from .entries import MINUS, Entry, Table

# What LaTeX reads as a command, and what its fonts lack.
LATEX = str.maketrans(
    {each: f"\\{each}" for each in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {each: f"${each}$" for each in "<>|"}
    | {MINUS: "$-$", "\N{NO-BREAK SPACE}": "~", "±": r"$\pm$"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$"}
)


def to_markdown(table: Table) -> str:
    """A heading, the table and its notes."""
    lines = [[_markdown(each) for each in row] for row in table.rows]
    rule = ["---"] * table.texts + ["---:"] * (len(table.head) - table.texts)
    lines = [[_markdown(Entry(head)) for head in table.head], rule, *lines]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"## {table.title}", body, *table.notes])


def to_latex(table: Table) -> str:
    """A ``table`` for the package booktabs, whose notes are in its caption."""
    import pandas as pd

    frame = pd.DataFrame(
        [[_latex(each) for each in row] for row in table.rows],
        columns=[head.translate(LATEX) for head in table.head],
    )
    caption = " ".join([f"{table.title}.", *table.notes]).translate(LATEX)
    columns = "l" * table.texts + "r" * (len(table.head) - table.texts)
    return frame.to_latex(
        index=False, escape=False, column_format=columns, caption=caption, label=f"tab:{table.name}"
    )


def write_tables(
    folder: Path, tables: Sequence[Table], more: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Write each table as ``NAME.csv`` and ``NAME.tex``, and all into ``tables.xlsx``.

    CSV and Excel have the records in full precision, and also those that no table shows: ``more``,
    by name.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / f"{table.name}.tex").write_text(to_latex(table), encoding="utf-8")
    records = {table.name: table.records for table in tables} | dict(more)
    # A name that begins with = is no formula.
    options = {"strings_to_formulas": False, "strings_to_urls": False}
    engine: Any = {"engine": "xlsxwriter", "engine_kwargs": {"options": options}}
    with pd.ExcelWriter(folder / "tables.xlsx", **engine) as book:
        for name, rows in records.items():
            write_rows(folder / f"{name}.csv", rows)
            sheet = name[:31]  # Excel's limit
            pd.DataFrame(rows).to_excel(book, sheet_name=sheet, index=False)


def _markdown(entry: Entry) -> str:
    text = str(entry).replace("|", r"\|")
    return f"**{text}**" if entry.bold else text


def _latex(entry: Entry) -> str:
    main, *details = (part.translate(LATEX) for part in (entry.main, *entry.details))
    main = rf"\textbf{{{main}}}" if entry.bold else main
    if not details:
        return main
    # Core LaTeX puts lines of a field below each other in this way.
    lines = r" \\ ".join([main, *(rf"\footnotesize {detail}" for detail in details)])
    return rf"\shortstack[r]{{{lines}}}"
