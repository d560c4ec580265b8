"""Tables for notebooks, which show what `_repr_html_` returns."""

import html
from collections.abc import Sequence

_CELL = "padding: 0.1em 0.8em; white-space: nowrap; text-align:"


def html_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A table whose first row is its head, escaped.

    Args:
        rows: texts, as many in each row.
        left: the columns that are aligned to the left.
    """
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = [
            f'<{tag} style="{_CELL} {"left" if i in left else "right"}">'
            f"{html.escape(cell)}</{tag}>"
            for i, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def html_block(title: str, *parts: str) -> str:
    """A title, escaped, over tables of `html_table`."""
    return f"<div><p><b>{html.escape(title)}</b></p>{''.join(parts)}</div>"
