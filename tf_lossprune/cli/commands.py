"""The commands: their flags, and what is checked before anything is imported."""

import pathlib

from absl import flags

from tf_lossprune.budget_text import parse_budget
from tf_lossprune.cli import checks
from tf_lossprune.cli.command import Command, InputError
from tf_lossprune.cli.flags import (
    channel_options,
    define_channels,
    define_common,
    define_data,
    define_overwrite,
    define_precision,
    pixel_range,
)
from tf_lossprune.cli.latency_flags import (
    check_calibrate,
    check_export,
    check_table,
    define_calibrate,
    define_export,
    define_table,
)
from tf_lossprune.cli.prune_flags import (
    check_frontier,
    check_prune,
    define_frontier,
    define_prune,
)
from tf_lossprune.runtimes import RUNTIMES, runtime_of


def _define_inspect(values):
    flags.DEFINE_string(
        "budget",
        None,
        "Also checks whether this budget can be met, such as macs=0.25; exit code 2 "
        "if not.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "resources",
        ["macs", "params", "peak_memory_bytes"],
        "What to count; size_bytes converts the model and takes seconds, latency_ms "
        "times its operations and takes a minute.",
        flag_values=values,
    )
    define_table(values)
    define_precision(values)
    define_channels(values)
    define_common(values)


def _check_inspect(values, arguments):
    source = arguments[0]
    checks.check_model_source(source)
    if values.budget:
        checks.check_budget(values.budget)
    budget = parse_budget(values.budget) if values.budget else ()
    check_table(values, [*values.resources, *budget])
    channel_options(values)


def _define_strip(values):
    flags.DEFINE_string(
        "out", None, "File to write; default: NAME-compact.keras.", flag_values=values
    )
    define_overwrite(values)
    define_common(values)


def strip_out(values, arguments):
    """Path of the compact model."""
    return checks.beside(values.out, arguments[0], "-compact.keras")


def _check_strip(values, arguments):
    checks.check_model_path(arguments[0])
    out = strip_out(values, arguments)
    checks.check_out(out, arguments[0], ".keras", values.overwrite)


def _define_convert(values):
    flags.DEFINE_string(
        "out", None, "File to write; default: NAME.tflite.", flag_values=values
    )
    flags.DEFINE_string(
        "data",
        None,
        "For int8: typical inputs, a .npy file, a folder of images, or a Python file "
        "with a function `data`.",
        flag_values=values,
    )
    define_overwrite(values)
    define_precision(values)
    define_data(values)
    define_common(values)


def convert_out(values, arguments):
    """Path of the .tflite file."""
    return values.out or str(pathlib.Path(arguments[0]).with_suffix(".tflite"))


def _check_convert(values, arguments):
    if values.precision.startswith("int8"):
        if not values.data:
            raise InputError(
                "Expected --data=FILE.npy|FOLDER|FILE.py with typical inputs for "
                f"--precision={values.precision}. Received: none"
            )
        _check_data(values.data, arguments[0])
        pixel_range(values.pixels)
    out = convert_out(values, arguments)
    if not out.endswith(".tflite"):
        raise InputError(f"Expected --out ending in .tflite. Received: {out!r}")
    checks.check_model_path(arguments[0])
    checks.check_out(out, arguments[0], ".tflite", values.overwrite)


def _check_data(data, model):
    if data.endswith(".npy"):
        checks.check_file(data, "--data as a .npy file of inputs")
    else:
        checks.check_source(data, model)


def _define_benchmark(values):
    flags.DEFINE_enum(
        "runtime",
        "auto",
        ["auto", *RUNTIMES],
        "What runs the files: LiteRT's interpreter or its CompiledModel (.tflite), "
        "ONNX Runtime (.onnx), OpenVINO (.xml, .onnx); auto: by the ending.",
        flag_values=values,
    )
    flags.DEFINE_integer("threads", 1, "Threads.", 1, flag_values=values)
    flags.DEFINE_integer("runs", 50, "Calls to time.", 1, flag_values=values)
    flags.DEFINE_integer("warmup", 10, "Calls before them.", 0, flag_values=values)
    define_common(values)


def _check_benchmark(values, arguments):
    for path in arguments:
        checks.check_file(path, "a .tflite, .onnx or .xml file")
        try:
            runtime_of(path, values.runtime)
        except ValueError as error:
            raise InputError(str(error)) from error


def _define_compare(values):
    flags.DEFINE_string(
        "data",
        None,
        "Compares the accuracy, too: a folder of images, or a Python file with a "
        "function `data`, whose validation part counts.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "litert", True, "Whether to convert and time both.", flag_values=values
    )
    flags.DEFINE_integer("threads", 1, "Threads.", 1, flag_values=values)
    define_precision(values)
    define_data(values)
    define_common(values)


def _check_compare(values, arguments):
    files = [path for path in arguments if path.endswith(checks.LITERT_SUFFIX)]
    for path in arguments:
        if path in files:
            checks.check_file(path, "a .tflite file")
        else:
            checks.check_model_path(path)
    if files and not values.litert:
        raise InputError(
            f"Expected .keras files with --nolitert. Received: {', '.join(files)}"
        )
    if values.data:
        model = next((path for path in arguments if path not in files), None)
        if model or not pathlib.Path(values.data).is_dir():
            checks.check_source(values.data, model)
        else:
            raise InputError(
                "Expected a .keras file among the two, which says how the images of a "
                "folder are read; or --data as a Python file. "
                f"Received: --data={values.data}"
            )
        pixel_range(values.pixels)


def _define_report(values):
    flags.DEFINE_string(
        "out",
        None,
        "File to write; default: the name of the report, ending in .html, whether "
        "there is a page or not; of several frontier.html beside the first.",
        flag_values=values,
    )
    flags.DEFINE_string("title", None, "Heading of the page.", flag_values=values)
    flags.DEFINE_string(
        "uniform",
        None,
        "The report.json of a run with --method=uniform, whose figures stand beside.",
        flag_values=values,
    )
    define_overwrite(values)
    define_common(values)


def report_out(values, arguments):
    """Path of the page."""
    first = pathlib.Path(arguments[0])
    several = len(arguments) > 1
    default = (
        first.with_name("frontier.html") if several else first.with_suffix(".html")
    )
    return values.out or str(default)


def _check_report(values, arguments):
    for path in [*arguments, *filter(None, [values.uniform])]:
        checks.check_file(path, "a report.json")
    if values.uniform and len(arguments) > 1:
        raise InputError(
            "Expected --uniform with one report. Received: "
            f"--uniform={values.uniform} with {len(arguments)}"
        )
    out = report_out(values, arguments)
    again = values.overwrite or not values.out  # made anew from the same data
    checks.check_out(out, arguments[0], ".html", again)


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "inspect",
            "MODEL.keras|FILE.py",
            "Show groups, costs, frozen layers and the smallest reachable budgets.",
            (1, 1),
            _define_inspect,
            _check_inspect,
            "inspect:run",
        ),
        Command(
            "prune",
            "FILE.py|MODULE|FOLDER|MODEL.keras",
            "Learn the widths, fine-tune, convert and report.",
            (1, 1),
            define_prune,
            check_prune,
            "prune:run",
        ),
        Command(
            "frontier",
            "FILE.py|MODULE|FOLDER",
            "Prune to several budgets with one search: accuracy against cost.",
            (1, 1),
            define_frontier,
            check_frontier,
            "frontier:run",
        ),
        Command(
            "strip",
            "PRUNED.keras",
            "Take the compact model out of a saved PrunedModel.",
            (1, 1),
            _define_strip,
            _check_strip,
            "convert:strip",
        ),
        Command(
            "convert",
            "MODEL.keras",
            "Convert a model to a .tflite file.",
            (1, 1),
            _define_convert,
            _check_convert,
            "convert:convert",
        ),
        Command(
            "benchmark",
            "FILE [MORE ...]",
            "Time .tflite, .onnx or OpenVINO files.",
            (1, None),
            _define_benchmark,
            _check_benchmark,
            "measure:benchmark",
        ),
        Command(
            "compare",
            "DENSE.keras COMPACT.keras",
            "Compare two models or .tflite files: accuracy, costs, file size, time.",
            (2, 2),
            _define_compare,
            _check_compare,
            "measure:compare",
        ),
        Command(
            "calibrate",
            "MODEL.keras|FILE.py|PROBES",
            "Make a table of a device's times, for budgets in milliseconds.",
            (1, 1),
            define_calibrate,
            check_calibrate,
            "latency:calibrate",
        ),
        Command(
            "export-probes",
            "MODEL.keras|FILE.py",
            "Write a model's operations as files, to time them on another device.",
            (1, 1),
            define_export,
            check_export,
            "latency:export",
        ),
        Command(
            "report",
            "REPORT.json [MORE.json ...]",
            "Make report.html from report.json; several make a page of a frontier.",
            (1, None),
            _define_report,
            _check_report,
            "report:run",
        ),
    )
}
