"""`lossprune benchmark` and `lossprune compare`."""

import dataclasses
import shutil
import tempfile

from tf_lossprune import deploy
from tf_lossprune.cli.checks import LITERT_SUFFIX
from tf_lossprune.cli.command import Result
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.cli.litert_files import (
    compare_files,
    convert,
    figures_of_files,
)
from tf_lossprune.cli.sanity import evaluate
from tf_lossprune.resources import PeakMemory, known_costs
from tf_lossprune.tables import aligned, comparison_table


def benchmark(values, arguments):
    """Runs `lossprune benchmark`, as `Command.run`."""
    found = [
        {
            "file": path,
            **dataclasses.asdict(
                deploy.benchmark_file(
                    path, values.runtime, values.threads, values.runs, values.warmup
                )
            ),
        }
        for path in arguments
    ]
    rows: list[tuple] = [("file", "runtime", "bytes", "p10 ms", "median ms", "p90 ms")]
    rows += [
        (
            entry["file"],
            entry["runtime"],
            f"{entry['file_bytes']:,}",
            *(f"{entry[k]:.3f}" for k in ("p10_ms", "median_ms", "p90_ms")),
        )
        for entry in found
    ]
    if len(found) > 1:
        # One after the other, files meet different moments of a busy machine.
        times = deploy.times_in_turns(arguments, values.threads, runtime=values.runtime)
        rows = [(*row, text) for row, text in zip(rows, ["in turns ms", *times])]
        for index, (entry, time) in enumerate(zip(found, times), start=1):
            entry["in_turns_ms"] = time
            rows[index] = (*rows[index][:-1], f"{time:.3f}")
    return Result({"files": found}, aligned(rows))


def compare(values, arguments):
    """Runs `lossprune compare`, as `Command.run`."""
    if any(path.endswith(LITERT_SUFFIX) for path in arguments):
        dense, compact = compare_files(values, arguments)
        text = comparison_table(dense, compact)
        return Result({"dense": dense, "compact": compact}, text)
    models = [load_model(path) for path in arguments]
    source = read_source(values.data, values, models[0]) if values.data else None
    figures = [
        {
            **(evaluate(m, models[0], source, values.batch_size) if source else {}),
            **costs_of(m, values.precision),
        }
        for m in models
    ]
    if values.litert:
        int8 = values.precision.startswith("int8")
        samples = source.train if source and int8 else None
        measure_files(figures, models, values.precision, samples, values.threads)
    dense, compact = figures
    text = comparison_table(dense, compact)
    return Result({"dense": dense, "compact": compact}, text)


def costs_of(model, precision):
    """MACs, parameters and peak memory of a model, as far as they can be counted.

    Args:
        model: functional or Sequential `keras.Model`.
        precision: string, as in `to_litert`, for the memory.
    """
    names = ("macs", "params", "peak_memory_bytes")
    return known_costs(model, names, given=[PeakMemory(precision)])


def measure_files(
    figures, models, precision, samples, threads=1, outs=(), also=lambda path: {}
):
    """Adds what is measured on the converted files to figures.

    Args:
        figures: list of dicts, one for each network; changed.
        models: list of `keras.Model`s.
        precision: string, as in `to_litert`.
        samples: representative data or None; None: random for int8.
        threads: int.
        outs: list of paths at which the files are kept, or None for those that are not.
        also: function of a file's path that returns more figures, a dict.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [convert(model, folder, precision, samples) for model in models]
        for entry, path, found in zip(figures, files, figures_of_files(files, threads)):
            entry.update(found, **also(path))
        for path, out in zip(files, outs):
            if out is not None:
                shutil.move(path, out)
