"""`lossprune report`: the page again, from its data."""

import pathlib

from absl import flags

from tf_lossprune.cli.command import Command, InputError, Result
from tf_lossprune.report import read_json, write_html


def _define(values):
    flags.DEFINE_string(
        "out", None, "File to write; default: report.html.", flag_values=values
    )
    flags.DEFINE_string("title", None, "Heading of the page.", flag_values=values)


def _run(values, arguments):
    report, *others = [read_json(path) for path in arguments]
    costs = [r["dense"].get("macs") for r in (report, *others)]
    if len(set(costs)) > 1:
        raise InputError(
            "Expected reports of one dense model, for a frontier. Received: dense "
            f"models with {costs} MACs"
        )
    if others:
        report["frontier"] = [
            {"budget": r.get("budget") or {}, "figures": r["compact"]}
            for r in (report, *others)
        ]
    out = values.out or str(pathlib.Path(arguments[0]).with_suffix(".html"))
    write_html(out, report, values.title)
    return Result({"out": out}, f"Written to {out}")


COMMAND = Command(
    "report",
    "REPORT.json [MORE.json ...]",
    "Make report.html from report.json; more of them make a frontier.",
    (1, None),
    _define,
    _run,
)
