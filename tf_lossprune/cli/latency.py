"""`lossprune calibrate` and `export-probes`; budgets in milliseconds of a device."""

import csv
import pathlib
import shutil
import tempfile

from tf_lossprune.budget import Budget
from tf_lossprune.budget_text import parse_budget
from tf_lossprune.cli.command import Result
from tf_lossprune.cli.inputs import find_model
from tf_lossprune.cli.latency_flags import PROBES, table_out
from tf_lossprune.cli.outputs import made_folder, written
from tf_lossprune.deploy import calibrate_latency, export_probes
from tf_lossprune.resources import (
    Latency,
    LatencyTable,
    PeakMemory,
    Resource,
    SizeBytes,
)


def device_resources(values):
    """The resources that `--precision` and `--latency_table` speak of.

    Args:
        values: parsed flags.

    Returns:
        List of `Resource`s.

    Raises:
        ValueError: for a table that cannot be read, or of another precision.
    """
    precision, table = values.precision, values.latency_table
    found: list[Resource] = []  # the registered ones are of fp32 on this machine
    if precision != "fp32":
        found = [SizeBytes(precision), PeakMemory(precision)]
    if table or precision != "fp32":
        found.append(Latency(table, precision=precision))
    return found


def asked_budget(values):
    """The `Budget` of `--budget`, on the device of the other flags."""
    return Budget(parse_budget(values.budget), device_resources(values))


def calibrate(values, arguments):
    """Runs `lossprune calibrate`, as `Command.run`."""
    source = pathlib.Path(arguments[0])
    if source.is_dir():
        device = {"name": values.device, "threads": values.threads}
        table = LatencyTable.load(source / PROBES, device, values.times)
    else:
        table = calibrate_latency(
            find_model(arguments[0]),
            precision=values.precision,
            threads=values.threads,
            rounds=values.rounds,
        )
    out = table_out(values, arguments)
    with written(out) as part:
        table.save(part)
    data = {"out": out, "device": table.device, "rows": len(table.rows)}
    data["dense_ms"] = table.dense
    dense = "" if table.dense is None else f", dense model {table.dense:.4g} ms"
    text = f"Written to {out}: {len(table.rows)} times{dense}"
    return Result(data, text)


def export(values, arguments):
    """Runs `lossprune export-probes`, as `Command.run`."""
    model = find_model(arguments[0])
    out = pathlib.Path(values.out)
    with made_folder(out), tempfile.TemporaryDirectory(dir=out) as folder:
        path = export_probes(model, folder, precision=values.precision)
        with open(path, encoding="utf-8", newline="") as file:
            files = [row["file"] for row in csv.DictReader(file)]
        for old in out.glob("*.tflite"):
            old.unlink()
        for name in (*files, PROBES):  # the list last: it says that all are there
            shutil.move(pathlib.Path(folder) / name, out / name)
    text = (
        f"Written to {out}: {len(files)} files to time on the device, and {PROBES}. "
        f"`lossprune calibrate {out} --device=NAME --times=times.csv` makes a table of "
        "their times."
    )
    return Result({"out": str(out), "files": files, "list": PROBES}, text)
