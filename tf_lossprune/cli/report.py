"""`lossprune report`: the page again, from its data."""

from tf_lossprune.cli.command import InputError, Result
from tf_lossprune.cli.commands import report_out
from tf_lossprune.cli.outputs import written
from tf_lossprune.report import read_json, write_frontier_html, write_html


def run(values, arguments):
    """Runs the command, as `Command.run`."""
    report, *others = [read_json(path) for path in arguments]
    beside = [read_json(values.uniform)] if values.uniform else []
    costs = [r["dense"].get("macs") for r in (report, *others, *beside)]
    if len(set(costs)) > 1:
        raise InputError(
            "Expected reports of one dense model, to compare them. Received: dense "
            f"models with {costs} MACs in {', '.join(arguments)}"
        )
    for other in beside:
        widths = {group["name"]: group["kept"] for group in other.get("groups") or []}
        report["uniform"] = {**other["compact"], "widths": widths}
    out = report_out(values, arguments)
    with written(out) as part:
        if others:
            write_frontier_html(part, [report, *others], values.title)
        else:
            write_html(part, report, values.title)
    return Result({"out": out}, f"Written to {out}")
