"""The pieces of HTML that all sections of the report are made of; every text that goes through here is escaped."""

from __future__ import annotations

from html import escape

from bench.summary import Cell
from bench.tables import case_rows, footnotes, ordered


def sentence(text: str) -> str:
    """The first letter a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def html_table(head: list[str], rows: list[list[str]], kinds: list[str]) -> str:
    """A table; `kinds` are the rows' classes."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row, kind in zip(rows, kinds, strict=True)
    )
    words = ' class="words"' if all("words" in kind for kind in kinds) else ""
    return f'<div class="scroll"><table{words}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def cells_table(cells: list[Cell]) -> str:
    """A case as a table with its footnotes."""
    head, rows = case_rows(cells)
    notes = "".join(f"<li>{escape(note.strip())}</li>" for note in footnotes(cells))
    kinds = [cell.peer["kind"] for cell in ordered(cells)]
    return html_table(head, rows, kinds) + (f'<ul class="foot">{notes}</ul>' if notes else "")


def figure(svg: str, caption: str) -> str:
    """A plot with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
