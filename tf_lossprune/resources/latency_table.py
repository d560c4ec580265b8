"""What a device takes for the operations of a model."""

import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.config import Configurable
from tf_lossprune.graph import ChannelGraph, analyze
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.latency_function import LatencyFunction
from tf_lossprune.resources.network_fit import (
    KINDS,
    TimeInNetwork,
    fit_factors,
    kernel_entries,
    operation_kind,
)
from tf_lossprune.resources.operation import OperationTime
from tf_lossprune.resources.probe_list import read_list
from tf_lossprune.resources.probes import (
    channel_entries,
    executed_calls,
    has_kernel,
    signature,
    signature_class,
    signature_digest,
)
from tf_lossprune.surgery import flat_graph
from tf_lossprune.types import Path

#: Names of the two rows that are no operations: an empty file and the network.
OVERHEAD, NETWORK = "overhead", "network"


@keras.saving.register_keras_serializable(package="tf_lossprune")
class LatencyTable(Configurable):
    """How long a device takes for the operations of a model, at several widths.

    Made by `calibrate_latency`, or read with `load` from a file that was made on
    another device. See `OperationTime` for what is between the measured widths.

    Args:
        rows: list of `(signature, inputs, outputs, count, milliseconds)`: an
            operation, its channels, how often the dense model has it at these
            widths, and its time. The rows `"overhead"` (a file that does nothing),
            `"network"` (the dense model) and those that begin with it (the model at
            other widths) are no operations.
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
            if text == OVERHEAD or text.partition(" ")[0] == NETWORK:
                continue
            self._points.setdefault(text, []).append((given, made, time))

    @functools.cached_property
    def _fit(self) -> tuple[dict[str, float], float]:
        """What `fit_factors` says of each of `KINDS`, and of fetching weights."""
        networks = self._networks()
        parts = np.zeros((len(networks), len(KINDS)))
        entries = np.zeros(len(networks))
        for row, (operations, _) in enumerate(networks):
            for text, count, given, made in operations:
                alone = self.operation(text)
                if alone is not None:
                    kind = KINDS.index(operation_kind(text))
                    parts[row, kind] += count * alone(given, made)
                    entries[row] += count * made * (kernel_entries(text) @ (1, given))
        if not parts[:1].any():
            return dict.fromkeys(KINDS, 1.0), 0.0
        times = np.array([time for _, time in networks]) - self.overhead
        factors, fetching = fit_factors(parts, entries, np.maximum(times, 1e-5))
        return dict(zip(KINDS, factors.tolist())), fetching

    def _networks(self) -> list[tuple[list[tuple[str, int, int, int]], float]]:
        """The networks that were timed, and their milliseconds; the dense one first.

        Each is a list of `(signature, how often, inputs, outputs)`.
        """
        if self.dense is None:
            return []
        names = {signature_digest(text): text for text in self._points}
        found = [(self._dense_operations(), self.dense)]
        for text, *_, time in self.rows:
            if text.startswith(f"{NETWORK} "):
                entries = json.loads(text.removeprefix(NETWORK))
                found.append(
                    ([(names.get(n, ""), 1, i, o) for n, i, o in entries], time)
                )
        return found

    def _dense_operations(self) -> list[tuple[str, int, int, int]]:
        return [
            (text, count, given, made)
            for text, given, made, count, _ in self.rows
            if count and text != NETWORK
        ]

    @property
    def dense(self) -> float | None:
        """Milliseconds of the dense model, if it was measured."""
        return min((row[-1] for row in self.rows if row[0] == NETWORK), default=None)

    def operation(self, text: str) -> OperationTime | None:
        """The `OperationTime` of a signature; None if it was not measured."""
        if text not in self._operations and text in self._points:
            points = np.array(self._points[text], float)
            points[:, 2] = np.maximum(points[:, 2] - self.overhead, 1e-5)
            stepped = has_kernel(signature_class(text))
            self._operations[text] = OperationTime(points, stepped)
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
        return self.function(analyze(graph)).dense

    def function(
        self, channels: ChannelGraph, dense: float | None = None
    ) -> LatencyFunction:
        """The milliseconds of a model as a function of its widths.

        Args:
            channels: `ChannelGraph`.
            dense: as in `LatencyFunction`.

        Raises:
            ValueError: as `predict`.
        """
        operations = []
        factors, fetching = self._fit
        for call in executed_calls(channels):
            text = signature(channels, call)
            time = self.operation(text)
            if time is None:
                raise ValueError(
                    "The latency table does not fit this model: it has no time for "
                    f"{type(call.operation).__name__} {call.operation.name!r} with "
                    f"inputs of {[t.sample_shape for t in call.inputs]}. Calibrate "
                    "with this model at this input size (`calibrate_latency`, or "
                    "`export_probes` for another device). Received: a table of "
                    f"{len(self.rows)} rows for {self.device}"
                )
            given = channel_entries(channels, call.inputs)
            made = channel_entries(channels, call.outputs)
            factor, weights = factors[operation_kind(text)], kernel_entries(text)
            found = TimeInNetwork(time, factor, weights, fetching)
            operations.append((call.operation.name, found, given, made))
        return LatencyFunction(
            operations,
            self.overhead,
            channels.group_of,
            [group.size for group in channels.groups],
            dense=dense,
        )

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
        cls,
        path: Path,
        device: Mapping[str, Any] | None = None,
        times: Path | None = None,
    ) -> "LatencyTable":
        """Reads a table from a `.json` file, or from the `.csv` of `export_probes`.

        Args:
            path: path of the file.
            device: dict or None, what a `.csv` file was measured on.
            times: path of another `.csv` file or None: the times of the files, with
                the columns `file` and `milliseconds` or `microseconds`. None: those in
                the column `milliseconds` of the first.

        Raises:
            ValueError: if a file is missing, cannot be read, or lacks times.
        """
        try:
            if str(path).endswith(".csv"):
                rows, precision = read_list(path, times)
                known = dict(device or {})
                if precision and known.setdefault("precision", precision) != precision:
                    raise ValueError(f"its files are {precision}, not {known}")
                return cls(rows, known)
            with open(path, encoding="utf-8") as file:
                config = json.load(file)
            return cls(config["rows"], config["device"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                "Expected a latency table: a .json file of `LatencyTable.save`, or "
                "the probes.csv of `export_probes` with a time in each row of its "
                "column 'milliseconds', or of `times`. Received: "
                f"{os.fspath(path)!r} ({type(error).__name__}: {error})"
            ) from error

    def get_config(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self.rows], "device": self.device}
