"""The report as one HTML file, made from plain data."""

import os
from collections.abc import Mapping

from tf_lossprune.report import sections
from tf_lossprune.report.style import STYLE
from tf_lossprune.report.svg import escape

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def write_html(path, report, title=None):
    """Writes a report as one HTML file that needs nothing else.

    No scripts, no network, no other files; it follows the reader's dark mode and fits
    a phone. What the data lacks is left out.

    Args:
        path: Path of the file, ending in `.html`; its folder is made where it is
            missing.
        report: Dict as `report_data` returns it, or as `report.json` holds it.
        title: Heading of the page, or None: the network's name.

    Returns:
        The path, a string.

    Raises:
        TypeError: If `path` is not a path or `report` not a dict.
        ValueError: If `path` does not end in `.html`, or `report` lacks the figures
            of the dense and the compact network.

    Example:
        >>> path = write_html("report.html", report_data(model, result))
    """
    try:
        path = os.fspath(path)
    except TypeError:
        path = repr(path)
        raise TypeError(
            f"`path` must be a path ending in .html. Received: {path}"
        ) from None
    if not path.endswith(".html"):
        raise ValueError(f"`path` must end in .html. Received: {path!r}")
    text = html_report(report, title)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def html_report(report, title=None):
    """The page of `write_html` as a string.

    Args:
        report, title: as in `write_html`.

    Returns:
        A string.

    Raises:
        TypeError, ValueError: as `write_html`.
    """
    if not isinstance(report, Mapping):
        raise TypeError(
            f"`report` must be a dict as in report.json. Received: {report!r}"
        )
    for side in ("dense", "compact"):
        if not isinstance(report.get(side), Mapping):
            raise ValueError(
                f"`report` must hold the figures of the {side} network as a dict under "
                f"{side!r}. Received: {report.get(side)!r}"
            )
    title = title or report.get("name") or "Compression report"
    parts = [
        sections.header(report, title),
        sections.tiles(report),
        sections.comparison(report),
        sections.widths(report),
        sections.training(report),
        sections.frontier(report),
        sections.frozen(report),
        sections.details(report),
    ]
    body = "\n".join(part for part in parts if part)
    return _PAGE.format(title=escape(title), style=STYLE, body=body)
