"""`lossprune report`: the page again, from its data."""

from tf_lossprune.cli.command import InputError, Result
from tf_lossprune.cli.commands import report_out
from tf_lossprune.cli.outputs import written
from tf_lossprune.report import read_json, write_frontier_html, write_html


def run(values, arguments):
    """Runs the command, as `Command.run`."""
    report, *others = [read_json(path) for path in arguments]
    costs = [r["dense"].get("macs") for r in (report, *others)]
    if len(set(costs)) > 1:
        raise InputError(
            "Expected reports of one dense model, for a frontier. Received: dense "
            f"models with {costs} MACs in {', '.join(arguments)}"
        )
    out = report_out(values, arguments)
    with written(out) as part:
        if others:
            write_frontier_html(part, [report, *others], values.title)
        else:
            write_html(part, report, values.title)
    return Result({"out": out}, f"Written to {out}")
