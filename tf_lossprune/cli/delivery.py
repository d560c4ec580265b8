"""What `lossprune prune` leaves in its folder."""

import datetime
import pathlib
from typing import Any

import keras

from tf_lossprune.cli.checks import RESULTS
from tf_lossprune.cli.command import InputError, Result
from tf_lossprune.cli.measure import costs_of, measure_files
from tf_lossprune.compression import CompressionResult
from tf_lossprune.graph import trace
from tf_lossprune.report import (
    comparison_table,
    ratio_table,
    report_data,
    write_html,
    write_json,
)
from tf_lossprune.surgery import copy_graph
from tf_lossprune.types import Data


def deliver(
    values: Any,
    out: pathlib.Path,
    dense: keras.Model,
    compact: keras.Model,
    result: CompressionResult,
    samples: Data,
    **more: Any,
) -> tuple[Result, InputError | None]:
    """Writes model, file and report.

    Args:
        values: parsed flags of `prune`.
        out: the folder.
        dense, compact: the models.
        result: what `compress` said of them; it gets the figures of the files.
        samples: typical inputs, for int8.
        **more: further entries of the report, as `report_data` takes them.

    Returns:
        The command's `Result`; and why there is no .tflite file, if there is none.
    """
    # A copy is not compiled: it loads without losses and metrics of one's own.
    compact, _ = copy_graph(trace(compact))
    for name in RESULTS:  # of a run before, which are to be overwritten
        (out / name).unlink(missing_ok=True)
    compact.save(out / "compact.keras")
    result.dense.update(costs_of(dense))
    result.compact.update(costs_of(compact))
    failure = None
    if values.litert:
        failure = _convert(values, out, (dense, compact), samples, result)
    data = report_data(
        result,
        seed=values.seed,
        epochs=values.epochs,
        precision=values.precision if values.litert else None,
        created=datetime.date.today().isoformat(),
        **more,
    )
    write_json(out / "report.json", data)
    write_html(out / "report.html", data)
    files = [path.name for path in sorted(out.iterdir()) if path.is_file()]
    text = (
        f"{comparison_table(result.dense, result.compact)}\n\n"
        f"{ratio_table(result.groups)}\n\n{result.usage}\n\n"
        f"Written to {out}: {', '.join(files)}"
    )
    return Result({"out": str(out), "files": files, **data}, text), failure


def _convert(values, out, models, samples, result):
    """Converts and times; returns the error, as the compact model is good anyway."""
    try:
        measure_files(
            (result.dense, result.compact),
            models,
            values.precision,
            samples if values.precision.startswith("int8") else None,
            out=out / "compact.tflite",
        )
    except (ValueError, ImportError) as error:
        return InputError(
            "The compact model and the report were written, but no .tflite file "
            f"(--nolitert leaves it out): {error}"
        )
    return None
