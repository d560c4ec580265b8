"""The report as one HTML file, made from plain data."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from tf_lossprune.report.frontier_page import frontier_page
from tf_lossprune.report.page import contents
from tf_lossprune.types import Path


def write_html(path: Path, report: Mapping[str, Any], title: str | None = None) -> str:
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
        >>> path = write_html("report.html", report_data(result))
    """
    path = _checked(path)
    return _written(path, html_report(report, title))


def write_frontier_html(
    path: Path,
    reports: Sequence[Mapping[str, Any]],
    title: str | None = None,
    links: Sequence[str] = (),
) -> str:
    """Writes several compact networks of one dense network as one page.

    Args:
        path: As in `write_html`.
        reports: List of dicts as `report_data` returns them.
        title: Heading of the page, or None: the network's name.
        links: For each report, the address of its own page; empty: no links.

    Returns:
        The path, a string.

    Raises:
        TypeError, ValueError: As `write_html`; ValueError if there are no reports.

    Example:
        >>> data = [report_data(result) for _, result in found]
        >>> path = write_frontier_html("frontier.html", data)
    """
    path = _checked(path)
    if not reports:
        raise ValueError(f"Expected at least one report. Received: {reports!r}")
    for report in reports:
        _check_report(report)
    text = _template("frontier.html.j2").render(frontier_page(reports, title, links))
    return _written(path, text)


def html_report(report: Mapping[str, Any], title: str | None = None) -> str:
    """The page of `write_html` as a string.

    Args:
        report, title: as in `write_html`.

    Returns:
        A string.

    Raises:
        TypeError, ValueError: as `write_html`.
    """
    _check_report(report)
    return _template("report.html.j2").render(contents(report, title))


def _checked(path: Path) -> str:
    try:
        path = os.fspath(path)
    except TypeError:
        path = repr(path)
        raise TypeError(f"Expected a path ending in .html. Received: {path}") from None
    if not path.endswith(".html"):
        raise ValueError(f"Expected a path ending in .html. Received: {path!r}")
    return path


def _check_report(report: Any) -> None:
    if not isinstance(report, Mapping):
        raise TypeError(
            f"Expected report as a dict as in report.json. Received: {report!r}"
        )
    for side in ("dense", "compact"):
        if not isinstance(report.get(side), Mapping):
            raise ValueError(
                f"Expected the figures of the {side} network as a dict under "
                f"{side!r}. Received: {report.get(side)!r}"
            )


def _written(path: str, text: str) -> str:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # The name of a folder may hold bytes that are no text.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_lossprune.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
