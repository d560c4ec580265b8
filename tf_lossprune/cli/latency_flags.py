"""The flags of `lossprune calibrate` and `export-probes`, and what is checked of them.

And those with which other commands are told a device.
"""

import importlib.util
import pathlib

from absl import flags

from tf_lossprune.cli import checks
from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.flags import (
    define_common,
    define_overwrite,
    define_precision,
)

#: The list in a folder of probes.
PROBES = "probes.csv"


def define_table(values):
    """Defines `--latency_table`."""
    flags.DEFINE_string(
        "latency_table",
        None,
        "Table of a device, for latency_ms; without it, this machine is measured.",
        flag_values=values,
    )


def check_table(values, resources):
    """Raises `InputError` unless milliseconds can be told, where they are asked for.

    Args:
        values: parsed flags.
        resources: string or list of strings, in which `latency_ms` may be.
    """
    if values.latency_table:
        checks.check_file(values.latency_table, "--latency_table as a calibrated table")
    elif "latency_ms" in resources and not (
        values["import"].value or importlib.util.find_spec("ai_edge_litert")
    ):
        raise InputError(
            "Expected ai-edge-litert, with which this machine is measured (pip install "
            "ai-edge-litert), or --latency_table=FILE, for a budget in milliseconds. "
            f"Received: {resources} without either"
        )


def define_calibrate(values):
    """Defines the flags of `calibrate`."""
    flags.DEFINE_string(
        "out", None, "Table to write; default: NAME-latency.json.", flag_values=values
    )
    flags.DEFINE_integer("threads", 1, "Of the runtime.", 1, flag_values=values)
    flags.DEFINE_integer(
        "rounds", 5, "How often each operation is timed.", 1, flag_values=values
    )
    flags.DEFINE_string(
        "times",
        None,
        "With a folder of probes: a .csv file of their times, with a line "
        "'file,milliseconds' or 'file,microseconds' on top; default: the column "
        f"'milliseconds' of its {PROBES}.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "device",
        None,
        "With a folder of probes: what they were timed on.",
        flag_values=values,
    )
    define_precision(values)
    define_overwrite(values)
    define_common(values)


def table_out(values, arguments):
    """Path of the table."""
    return checks.beside(values.out, arguments[0], "-latency.json")


def check_calibrate(values, arguments):
    """Checks them, as `Command.check`."""
    source = arguments[0]
    if pathlib.Path(source).is_dir():
        listed = str(pathlib.Path(source) / PROBES)
        checks.check_file(listed, "a folder that `export-probes` has written")
        if not values.device:
            raise InputError(
                "Expected --device=NAME, what the probes were timed on. "
                f"Received: {source!r} without it"
            )
        if values.times:
            checks.check_file(values.times, "--times as a .csv file")
    else:
        checks.check_model_source(source)
        for name in ("times", "device"):
            if values[name].value:
                raise InputError(
                    f"Expected --{name} with a folder of `export-probes` only. "
                    f"Received: --{name}={values[name].value} with {source!r}"
                )
    checks.check_out(table_out(values, arguments), source, ".json", values.overwrite)


def define_export(values):
    """Defines the flags of `export-probes`."""
    flags.DEFINE_string("out", "probes", "Folder of the files.", flag_values=values)
    define_precision(values)
    define_overwrite(values)
    define_common(values)


def check_export(values, arguments):
    """Checks them, as `Command.check`."""
    checks.check_model_source(arguments[0])
    out = pathlib.Path(values.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"Expected --out as a folder. Received: the file {str(out)!r}")
    if (out / PROBES).exists() and not values.overwrite:
        raise InputError(
            "Expected --out without other probes, or --overwrite. Received: "
            f"{str(out)!r}"
        )
