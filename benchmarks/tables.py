r"""Writes the tables of the documentation anew from the lines of the benchmarks.

A table stands between two comments, the first of which says what it is made from:

    <!-- TABLE benchmarks/results/compare.jsonl --methods --where=budget=macs=0.5 -->
    <!-- /TABLE -->

The options are those of `benchmarks.summarize`; with `--columns`, each line of any
benchmark is a row of these entries. A test holds the pages against the lines.

    python -m benchmarks.tables docs/methods_measured.md benchmarks/lab/README.md
"""

import argparse
import pathlib
import re
import shlex

from absl import app

from benchmarks import common, paired, summarize

_TABLE = re.compile(
    r"(?P<open><!-- TABLE (?P<options>[^\n]*?) -->\n).*?(?P<close><!-- /TABLE -->)",
    re.DOTALL,
)


def _parser():
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--columns", default="")
    parser.add_argument("--where", default="")
    parser.add_argument("--base", default=paired.DEFAULT)
    parser.add_argument("--ours", default=summarize.OURS)
    parser.add_argument("--shown", choices=summarize.SHOWN, default="final")
    for name in ("methods", "transpose", "paired"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser


def table(options, root="."):
    """Makes one table.

    Args:
        options: String, what stands behind TABLE.
        root: Folder that the files are given from.

    Returns:
        The table as a string.
    """
    given = _parser().parse_args(shlex.split(options))
    files = [pathlib.Path(root) / name for name in given.files]
    if given.columns:
        rows = [row for path in files for row in common.read_lines(path)]
        names = given.columns.split(",")
        return common.markdown(names, [[_cell(row[n]) for n in names] for row in rows])
    rows = summarize.read(files, [w for w in given.where.split(",") if w])
    if given.paired:
        return paired.table(rows, given.base)
    if given.methods:
        return summarize.methods_table(rows, given.shown, given.transpose, given.ours)
    return summarize.table(rows)


def _cell(value):
    if isinstance(value, list):
        return " to ".join(map(_cell, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def renewed(text, root="."):
    """The text of a page with all its tables made anew.

    Args:
        text: String.
        root: As in `table`.
    """
    return _TABLE.sub(
        lambda m: f"{m['open']}{table(m['options'], root)}\n{m['close']}", text
    )


def main(argv):
    """Rewrites the pages named on the command line."""
    for name in argv[1:]:
        page = pathlib.Path(name)
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
