"""What `lossprune prune` leaves in its folder."""

import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from tf_lossprune.cli.checks import RESULTS
from tf_lossprune.cli.command import InputError, Result
from tf_lossprune.cli.inputs import Source
from tf_lossprune.cli.litert_files import accuracy
from tf_lossprune.cli.measure import costs_of, measure_files
from tf_lossprune.compression import CompressionResult
from tf_lossprune.deploy import this_device
from tf_lossprune.graph import trace
from tf_lossprune.report import (
    class_figures,
    comparison_table,
    ratio_table,
    report_data,
    write_html,
    write_json,
)
from tf_lossprune.surgery import copy_graph
from tf_lossprune.types import Data

#: Threads of the runtime in the times of the report.
THREADS = 1


def deliver(
    values: Any,
    source: Source,
    found: Sequence[tuple[keras.Model, CompressionResult]],
    outs: Sequence[pathlib.Path],
    samples: Data,
    **more: Any,
) -> tuple[list[dict], InputError | None]:
    """Writes models, files and reports: a folder for each compact model.

    Args:
        values: parsed flags of `define_training`.
        source: `Source` of the job.
        found: pairs of a compact model and what `compress` said of it, which gets the
            figures of the files.
        outs: the folders.
        samples: typical inputs, for int8.
        **more: further entries of the reports, as `report_data` takes them.

    Returns:
        The reports; and why there are no .tflite files, if there are none.
    """
    dense, results = source.model, [result for _, result in found]
    # Copies are not compiled: they load without losses and metrics of one's own.
    compacts = [copy_graph(trace(compact))[0] for compact, _ in found]
    for out, compact, result in zip(outs, compacts, results):
        out.mkdir(exist_ok=True)
        for name in RESULTS:  # of a run before, which are to be overwritten
            (out / name).unlink(missing_ok=True)
        compact.save(out / "compact.keras")
        result.compact.update(costs_of(compact, values.precision))
    figures = [
        costs_of(dense, values.precision),
        *(result.compact for result in results),
    ]
    failure = None
    if values.litert:
        files = [None, *(out / "compact.tflite" for out in outs)]
        models = [dense, *compacts]
        failure = _convert(values, source, models, figures, samples, files)
    for entry in figures:
        if "arena_bytes" in entry:  # what budgets hold, instead of an estimate
            entry["peak_memory_bytes"] = entry.pop("arena_bytes")
    reports = []
    for out, compact, result in zip(outs, compacts, results):
        result.dense.update(figures[0])
        data = report_data(
            result,
            seed=values.seed,
            epochs=values.epochs,
            precision=values.precision if values.litert else None,
            created=datetime.date.today().isoformat(),
            device=this_device()["processor"],
            threads=THREADS,
            classes=_classes(values, source, compact),
            frontier=[other for other in results if other is not result],
            **more,
        )
        write_json(out / "report.json", data)
        write_html(out / "report.html", data)
        reports.append(data)
    return reports, failure


def files_in(out: pathlib.Path) -> list[str]:
    """Names of the files in a folder, in order."""
    return [path.name for path in sorted(out.iterdir()) if path.is_file()]


def delivered(out: pathlib.Path, result: CompressionResult, data: dict) -> Result:
    """The `Result` of a command that has delivered one network.

    Args:
        out: the folder.
        result: what `compress` said of it.
        data: the report.
    """
    files = files_in(out)
    text = (
        f"{comparison_table(result.dense, result.compact)}\n\n"
        f"{ratio_table(result.groups)}\n\n{result.usage}\n\n"
        f"Written to {out}: {', '.join(files)}"
    )
    return Result({"out": str(out), "files": files, **data}, text)


def _classes(values, source, compact):
    """Accuracy per class on the validation data, where there are some."""
    if not _can_be_read_again(source.validation):
        return None
    return class_figures(
        source.model,
        compact,
        source.validation,
        source.classes,
        batch_size=values.batch_size,
        steps=source.settings.get("validation_steps"),
    )


def _can_be_read_again(data):
    return data is not None and not hasattr(data, "__next__")


def _convert(values, source, models, figures, samples, outs):
    """Converts and times; returns the error, as the compact models are good anyway."""
    print(f"files: {values.precision}, converted and timed")

    def accuracy_of_file(path):
        """Of a file that need not compute what its model does."""
        if values.precision == "fp32" or not _can_be_read_again(source.validation):
            return {}
        found = accuracy(path, source, values.batch_size)
        return {f"{values.precision}_{name}": value for name, value in found.items()}

    try:
        measure_files(
            figures,
            models,
            values.precision,
            samples if values.precision.startswith("int8") else None,
            threads=THREADS,
            outs=outs,
            also=accuracy_of_file,
        )
    except (ValueError, ImportError) as error:
        return InputError(
            "The compact model and the report were written, but no .tflite file "
            f"(--nolitert leaves it out): {error}"
        )
    return None
