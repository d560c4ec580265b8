"""Times single operations on a device, for budgets in milliseconds."""

import csv
import os
import tempfile
from typing import Any

import keras

from tf_lossprune.config import check_count
from tf_lossprune.deploy.benchmark import times_in_turns
from tf_lossprune.deploy.litert import convert_operation, convert_to_measure
from tf_lossprune.graph import analyze
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.device import this_device
from tf_lossprune.resources.latency import COLUMNS, NETWORK, OVERHEAD, LatencyTable
from tf_lossprune.resources.probes import call_probes, executed_calls
from tf_lossprune.surgery import copy_graph, flat_graph
from tf_lossprune.types import Path

CSV_NAME = "probes.csv"


def calibrate_latency(
    model: keras.Model, *, precision: str = "fp32", threads: int = 1, rounds: int = 5
) -> LatencyTable:
    """Measures on this machine how long a model's operations take.

    Every distinct operation is converted at several widths and timed
    with ai-edge-litert, all of them in turns. Let the machine rest meanwhile.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        precision: string, as in `to_litert`.
        threads: int >= 1, threads of the runtime.
        rounds: int >= 1, how often each operation is timed; the medians count.

    Returns:
        A `LatencyTable`, for `Latency(table)` in a budget; `table.save(path)`
        keeps it.

    Raises:
        TypeError, ValueError: as `prune_model`, `to_litert` and
            `times_in_turns`.

    Example:

    ```python
    table = tf_lossprune.deploy.calibrate_latency(model, threads=1)
    table.save("laptop.json")
    ```
    """
    check_count("threads", threads, 1)
    check_count("rounds", rounds, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = export_probes(model, folder, precision=precision)
        rows = _read(path)
        files = [os.path.join(folder, row["file"]) for row in rows]
        for row, time in zip(rows, times_in_turns(files, threads, rounds)):
            row["milliseconds"] = time
    device = {**this_device(), "precision": precision, "threads": threads}
    return LatencyTable([tuple(row[c] for c in COLUMNS[1:]) for row in rows], device)


def export_probes(model: keras.Model, folder: Path, *, precision: str = "fp32") -> str:
    """Writes the files to time on another device, and the list to fill in.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        folder: path of a folder, made where it is missing.
        precision: string, as in `to_litert`.

    Returns:
        The path of `probes.csv` in that folder. Its column `milliseconds` is
        empty: time each `file` on the device, write the time there, and read the
        result with `LatencyTable.load(path)`. `docs/latency.md` has the commands.

    Raises:
        TypeError, ValueError: as `prune_model` and `to_litert`.
    """
    check_precision(precision)
    graph, _ = flat_graph(model)
    channels = analyze(graph)
    os.makedirs(folder, exist_ok=True)
    rows = [
        _row(folder, OVERHEAD, 1, 1, 0, _nothing(), precision),
        _row(folder, NETWORK, 1, 1, 1, copy_graph(graph)[0], precision),
    ]
    seen = {}
    for call in executed_calls(channels):
        if precision.startswith("int8") and len({id(t) for t in call.inputs}) > 1:
            continue
        for index, probe in enumerate(call_probes(channels, call)):
            key = probe.signature, probe.inputs, probe.outputs
            if key not in seen:
                name = f"{len(rows):04d}_{type(call.operation).__name__.lower()}"
                seen[key] = _row(folder, *key, 0, probe.build(), precision, name)
                rows.append(seen[key])
            if index == 0:
                seen[key]["count"] += 1
    path = os.path.join(folder, CSV_NAME)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _row(
    folder: Path,
    text: str,
    inputs: int,
    outputs: int,
    count: int,
    model: keras.Model,
    precision: str,
    name: str | None = None,
) -> dict[str, Any]:
    name = f"{name or text}.tflite"
    convert = convert_to_measure if text == NETWORK else convert_operation
    convert(model, os.path.join(folder, name), precision)
    return dict(zip(COLUMNS, (name, text, inputs, outputs, count, "")))


def _read(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _nothing() -> keras.Model:
    """A network whose time is that of calling the runtime."""
    inputs = keras.Input((1,))
    return keras.Model(inputs, keras.layers.ReLU()(inputs))
