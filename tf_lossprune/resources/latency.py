"""Milliseconds of one inference, from measurements of single operations."""

import csv
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.config import Configurable
from tf_lossprune.graph import ChannelGraph, analyze
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.base import (
    MILLISECONDS,
    Resource,
)
from tf_lossprune.resources.device import this_device
from tf_lossprune.resources.latency_function import LatencyFunction
from tf_lossprune.resources.measurer import AsksMeasurer, Measurer
from tf_lossprune.resources.operation import OperationTime
from tf_lossprune.resources.probes import (
    channel_entries,
    executed_calls,
    signature,
)
from tf_lossprune.surgery import flat_graph
from tf_lossprune.types import Path

#: Names of the two rows that are no operations: an empty file and the network.
OVERHEAD, NETWORK = "overhead", "network"
#: Turns in which a network is timed before it is delivered, and the quantile of its
#: times, in shares of the dense model's, that has to keep the budget.
TURNS = 15
CAUTION = 0.75
COLUMNS = ("file", "signature", "inputs", "outputs", "count", "milliseconds")


@keras.saving.register_keras_serializable(package="tf_lossprune")
class LatencyTable(Configurable):
    """How long a device takes for the operations of a model, at several widths.

    Made by `calibrate_latency`, or read with `load` from a file that was made on
    another device. See `OperationTime` for what is between the measured widths.

    Args:
        rows: list of `(signature, inputs, outputs, count, milliseconds)`: an
            operation, its channels, how often the dense model has it at these
            widths, and its time. The rows `"overhead"` (a file that does nothing)
            and `"network"` (the dense model) are no operations.
        device: dict that says what was measured, with `"precision"` and
            `"threads"`.

    Raises:
        ValueError: for rows without measured times.
    """

    def __init__(self, rows: Iterable[Sequence], device: Mapping[str, Any]) -> None:
        self.device = dict(device)
        check_precision(self.device.setdefault("precision", "fp32"))
        self.device.setdefault("threads", 1)
        self.rows = [
            (str(s), int(i), int(o), int(n), float(ms)) for s, i, o, n, ms in rows
        ]
        if not self.rows or not all(
            np.isfinite(row[-1]) and row[-1] > 0 for row in self.rows
        ):
            raise ValueError(
                "Expected a time above 0 milliseconds in every row of a latency "
                f"table. Received: {self.rows[:3]}"
            )
        self.overhead = min((r[-1] for r in self.rows if r[0] == OVERHEAD), default=0.0)
        self._points, self._operations = {}, {}
        for text, given, made, _, time in self.rows:
            self._points.setdefault(text, []).append((given, made, time))

    @functools.cached_property
    def scale(self) -> float:
        """The dense model's measured time as a multiple of its operations' times."""
        network = [row[-1] for row in self.rows if row[0] == NETWORK]
        predicted = 0.0
        for text, given, made, count, _ in self.rows:
            time = self.operation(text)
            if count and time and text not in (OVERHEAD, NETWORK):
                predicted += count * time(given, made)
        if not network or predicted <= 0:
            return 1.0
        return max(network[0] - self.overhead, 1e-5) / predicted

    def operation(self, text: str) -> OperationTime | None:
        """The `OperationTime` of a signature; None if it was not measured."""
        if text not in self._operations and text in self._points:
            points = np.array(self._points[text], float)
            points[:, 2] = np.maximum(points[:, 2] - self.overhead, 1e-5)
            self._operations[text] = OperationTime(points)
        return self._operations.get(text)

    def predict(self, model: keras.Model) -> float:
        """Milliseconds that a model should take on the device.

        Args:
            model: functional `keras.Model` of operations that the table has, at any
                width.

        Raises:
            ValueError: if the table lacks an operation.
        """
        graph, _ = flat_graph(model)
        return Latency(self, measure=False).function(analyze(graph)).dense

    def save(self, path: Path) -> Path:
        """Writes the table to a `.json` file.

        Args:
            path: path of the file.

        Returns:
            The path.
        """
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.get_config(), file, indent=1)
        return path

    @classmethod
    def load(
        cls, path: Path, device: Mapping[str, Any] | None = None
    ) -> "LatencyTable":
        """Reads a table from a `.json` file, or from the `.csv` of `export_probes`.

        Args:
            path: path of the file.
            device: dict or None, what a `.csv` file was measured on.

        Raises:
            ValueError: if the file is missing, cannot be read, or lacks times.
        """
        try:
            with open(path, encoding="utf-8", newline="") as file:
                if str(path).endswith(".csv"):
                    rows = [
                        tuple(row[column] for column in COLUMNS[1:])
                        for row in csv.DictReader(file)
                    ]
                    config: dict[str, Any] = {"rows": rows, "device": device or {}}
                else:
                    config = json.load(file)
            return cls(config["rows"], config["device"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                "Expected a latency table: a .json file of `LatencyTable.save`, or "
                "the probes.csv of `export_probes` with a time in each row of its "
                f"column 'milliseconds'. Received: {path!r} "
                f"({type(error).__name__}: {error})"
            ) from error

    def get_config(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self.rows], "device": self.device}


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Latency(AsksMeasurer, Resource):
    """Milliseconds of one inference on a device that was measured.

    Where the table was made on this machine, the dense model is timed when it is
    wrapped, which sets the scale, and every network is timed before it is
    delivered, in turns with the dense one, so that it does not matter how busy the
    machine is at the moment; if it is too slow, more channels are cut. For another
    device the table's prediction counts.

    Args:
        table: `LatencyTable`, or the path of its file.
        measure: `"auto"` (measure if the table is of this machine), a bool, or a
            function from the path of a `.tflite` file to milliseconds on the device.
        dense: float or None, milliseconds of the dense model; None: measured when
            the model is wrapped, else as the table says.
        measurer: `Measurer` or None; `prune_model` and `inspect_model` set it.

    Raises:
        TypeError: for another kind of table.
        ValueError: if the file cannot be read.

    Example:

    ```python
    table = tf_lossprune.deploy.calibrate_latency(model)
    budget = tf_lossprune.Budget({"latency_ms": "4 ms"},
                                 resources=[tf_lossprune.resources.Latency(table)])
    pruned = tf_lossprune.prune_model(model, budget)
    ```
    """

    name = "latency_ms"
    unit = "ms"
    units = MILLISECONDS

    def __init__(
        self,
        table: LatencyTable | Path,
        measure: str | bool | Callable[[str], float] = "auto",
        dense: float | None = None,
        measurer: Measurer | None = None,
    ) -> None:
        super().__init__(measurer)
        if isinstance(table, (str, os.PathLike)):
            table = LatencyTable.load(table)
        if not isinstance(table, LatencyTable):
            raise TypeError(
                "Expected a LatencyTable or the path of its file; "
                "`calibrate_latency(model)` makes one. "
                f"Received: {table!r} (of type {type(table).__name__})"
            )
        if (
            measure != "auto"
            and not isinstance(measure, bool)
            and not callable(measure)
        ):
            raise TypeError(
                "Expected measure as 'auto', a bool or a function from a path to "
                f"milliseconds. Received: {measure!r}"
            )
        self.table = table
        self.dense = dense
        self._measure = measure
        self.measured = bool(measure)
        if measure == "auto":
            device = this_device()
            self.measured = all(table.device.get(k) == device[k] for k in device)

    def get_config(self) -> dict[str, Any]:
        # A function belongs to the process, the device at hand to the machine.
        measure = "auto" if callable(self._measure) else self._measure
        return {
            "table": keras.saving.serialize_keras_object(self.table),
            "measure": measure,
            "dense": self.dense,
            **super().get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Latency":
        config = dict(config)
        config["table"] = keras.saving.deserialize_keras_object(config["table"])
        return super().from_config(config)

    def bind(self, channels: ChannelGraph) -> "Latency":
        if not self.measured or self.dense is not None:
            return self
        dense = float(np.median(self._time(channels)))
        return Latency(self.table, self._measure, dense, self.measurer)

    def measure(self, model: keras.Model, channels: ChannelGraph) -> float:
        """Milliseconds of `model`, at the speed the dense model had when wrapped."""
        dense, compact = self._time(channels, model).T
        if callable(self._measure):
            return float(compact[0])
        # A median would let every second network through that is just as fast.
        return float(np.quantile(compact / dense, CAUTION) * self.dense)

    def _time(self, channels: ChannelGraph, *models: keras.Model) -> np.ndarray:
        """Milliseconds of the dense model and of others in each turn, `[turns, n]`."""
        measurer = self.ask()
        precision = self.table.device["precision"]
        models = (measurer.dense(channels), *models)
        paths = [measurer.file(model, precision) for model in models]
        if callable(self._measure):
            return np.array([[float(self._measure(path)) for path in paths]])
        return measurer.times(paths, self.table.device["threads"], TURNS)

    def function(self, channels: ChannelGraph) -> LatencyFunction:
        operations = []
        for call in executed_calls(channels):
            time = self.table.operation(signature(channels, call))
            if time is None:
                raise ValueError(
                    "The latency table does not fit this model: it has no time for "
                    f"{type(call.operation).__name__} {call.operation.name!r} with "
                    f"inputs of {[t.sample_shape for t in call.inputs]}. Calibrate "
                    "with this model at this input size (`calibrate_latency`, or "
                    "`export_probes` for another device). Received: a table of "
                    f"{len(self.table.rows)} rows for {self.table.device}"
                )
            given = channel_entries(channels, call.inputs)
            made = channel_entries(channels, call.outputs)
            operations.append((call.operation.name, time, given, made))
        return LatencyFunction(
            operations,
            self.table.overhead,
            channels.group_of,
            [group.size for group in channels.groups],
            self.table.scale,
            self.dense,
        )
