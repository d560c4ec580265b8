"""`lossprune benchmark` and `lossprune compare`."""

import dataclasses
import pathlib
import shutil
import tempfile

from absl import flags

from tf_lossprune.cli.command import Command, Result, define_data, define_precision
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.resources import known_costs
from tf_lossprune.tables import aligned, comparison_table
from tf_lossprune.training.feed import HeldOut


def _define_benchmark(values):
    flags.DEFINE_integer("threads", 1, "Threads.", 1, flag_values=values)
    flags.DEFINE_integer("runs", 50, "Calls to time.", 1, flag_values=values)
    flags.DEFINE_integer("warmup", 10, "Calls before them.", 0, flag_values=values)


def _benchmark(values, arguments):
    from tf_lossprune.deploy import benchmark_litert, times_in_turns

    found = [
        {
            "file": path,
            **dataclasses.asdict(
                benchmark_litert(path, values.threads, values.runs, values.warmup)
            ),
        }
        for path in arguments
    ]
    rows: list[tuple] = [("file", "bytes", "p10 ms", "median ms", "p90 ms")]
    rows += [
        (
            entry["file"],
            f"{entry['file_bytes']:,}",
            *(f"{entry[k]:.3f}" for k in ("p10_ms", "median_ms", "p90_ms")),
        )
        for entry in found
    ]
    if len(found) > 1:
        # One after the other, files meet different moments of a busy machine.
        times = times_in_turns(arguments, values.threads)
        rows = [(*row, text) for row, text in zip(rows, ["in turns ms", *times])]
        for index, (entry, time) in enumerate(zip(found, times), start=1):
            entry["in_turns_ms"] = time
            rows[index] = (*rows[index][:-1], f"{time:.3f}")
    return Result({"files": found}, aligned(rows))


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


def _compare(values, arguments):
    models = [load_model(path) for path in arguments]
    source = read_source(values.data, values, models[0]) if values.data else None
    figures = [_evaluated(model, models[0], source, values) for model in models]
    if values.litert:
        int8 = values.precision.startswith("int8")
        samples = source.train if source and int8 else None
        measure_files(figures, models, values.precision, samples, values.threads)
    dense, compact = figures
    text = comparison_table(dense, compact)
    return Result({"dense": dense, "compact": compact}, text)


def _evaluated(model, dense, source, values):
    """Metrics on the validation data, and costs."""
    found = {}
    if source is not None:
        data = source.train if source.validation is None else source.validation
        if not model.compiled:
            given = source.given("loss", "metrics", "loss_weights", "weighted_metrics")
            model.compile(**{**_settings_of(dense), **given})
        steps = source.settings.get("validation_steps")
        found = HeldOut(data, values.batch_size, steps).evaluate(model)
    return {**found, **costs_of(model)}


def _settings_of(model):
    import keras

    given = (model.get_compile_config() or {}) if model.compiled else {}
    return {
        key: keras.saving.deserialize_keras_object(given[key])
        for key in ("loss", "metrics", "loss_weights", "weighted_metrics")
        if given.get(key) is not None
    }


def costs_of(model):
    """MACs, parameters and peak memory of a model, as far as they can be counted.

    Args:
        model: functional or Sequential `keras.Model`.
    """
    return known_costs(model, ("macs", "params", "peak_memory_bytes"))


def measure_files(figures, models, precision, samples, threads=1, out=None):
    """Adds what `deploy.compare` measures on the converted files to figures.

    Args:
        figures: pair of dicts, of the dense and the compact network; changed.
        models: pair of `keras.Model`s.
        precision: string, as in `to_litert`.
        samples: representative data or None; None: random for int8.
        threads: int.
        out: path at which the compact network's file is kept, or None.
    """
    from tf_lossprune.deploy import compare

    with tempfile.TemporaryDirectory() as folder:
        found = compare(
            *models,
            precision=precision,
            representative_data=samples,
            threads=threads,
            folder=folder,
            verbose=False,
        )
        if out is not None:
            shutil.move(pathlib.Path(folder) / "compact.tflite", out)
    for entry, measured in zip(figures, (found.dense, found.compact)):
        entry.update(measured)


BENCHMARK = Command(
    "benchmark",
    "FILE.tflite [MORE.tflite ...]",
    "Time .tflite files in LiteRT.",
    (1, None),
    _define_benchmark,
    _benchmark,
)
COMPARE = Command(
    "compare",
    "DENSE.keras COMPACT.keras",
    "Compare two models: accuracy, costs, file size, time.",
    (2, 2),
    _define_compare,
    _compare,
)
