"""Milliseconds of one inference, from measurements of single operations."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_lossprune.config import check_count
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.base import (
    MILLISECONDS,
    Resource,
    register_resource,
)
from tf_lossprune.resources.calibration import check_timed, table_of_this_machine
from tf_lossprune.resources.device import this_device
from tf_lossprune.resources.latency_function import LatencyFunction
from tf_lossprune.resources.latency_table import LatencyTable
from tf_lossprune.resources.measurer import AsksMeasurer, Measurer
from tf_lossprune.types import Path

#: Turns in which a network is timed before it is delivered, and the quantile of its
#: times, in shares of the dense model's, that has to keep the budget.
TURNS = 15
CAUTION = 0.75


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Latency(AsksMeasurer, Resource):
    """Milliseconds of one inference on a device that was measured.

    Without a table, this machine is measured when a model is wrapped: its operations
    are timed at several widths in LiteRT. That is kept in `cache_folder()` for the next
    time, by machine, model, precision and number of threads.

    On this machine, the dense model is timed when it is
    wrapped, which sets the scale, and every network is timed before it is
    delivered, in turns with the dense one, so that it does not matter how busy the
    machine is at the moment; if it is too slow, more channels are cut. For another
    device the table's prediction counts.

    Args:
        table: `LatencyTable`, the path of its file, or None: this machine.
        measure: `"auto"` (measure if the table is of this machine), a bool, or a
            function from the path of a `.tflite` file to milliseconds on the device.
        dense: float or None, milliseconds of the dense model; None: measured when
            the model is wrapped, else as the table says.
        measurer: `Measurer` or None; `prune_model` and `inspect_model` set it.
        precision: string, of the file that is timed, as in `to_litert`; None: the
            table's, or `"fp32"`.
        threads: int >= 1, of the runtime; None: the table's, or 1.

    Raises:
        TypeError: for another kind of table.
        ValueError: if the file cannot be read; for an unknown precision; for a table
            of another precision or number of threads.

    Example:

    ```python
    prune_model(model, {"latency_ms": 0.5})    # on this machine, fp32, one thread

    phone = tf_lossprune.resources.Latency("phone.json")
    prune_model(model, Budget({"latency_ms": "4 ms"}, resources=[phone]))
    ```
    """

    name = "latency_ms"
    unit = "ms"
    units = MILLISECONDS

    def __init__(
        self,
        table: LatencyTable | Path | None = None,
        measure: str | bool | Callable[[str], float] = "auto",
        dense: float | None = None,
        measurer: Measurer | None = None,
        precision: str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(measurer)
        if isinstance(table, (str, os.PathLike)):
            table = LatencyTable.load(table)
        if table is not None and not isinstance(table, LatencyTable):
            raise TypeError(
                "Expected a LatencyTable, the path of its file, or None; "
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
        if precision is not None:
            check_precision(precision)
        if threads is not None:
            check_count("threads", threads, 1)
        own: dict[str, Any] = {"precision": "fp32", "threads": 1}
        if table is not None:
            own = table.device
        asked = {"precision": precision, "threads": threads}
        for name, value in asked.items():
            if table is not None and value not in (None, own[name]):
                raise ValueError(
                    f"Expected a latency table for {name}={value!r}. Received: one "
                    f"for {name}={own[name]!r}, measured on {own}"
                )
        self.precision: str = precision or own["precision"]
        self.threads: int = threads or own["threads"]
        self.table = table
        self.dense = dense
        self._measure = measure
        self.measured = bool(measure)
        if measure == "auto" and table is not None:
            device = this_device()
            self.measured = all(table.device.get(k) == device[k] for k in device)

    def get_config(self) -> dict[str, Any]:
        # A function belongs to the process, the device at hand to the machine.
        measure = "auto" if callable(self._measure) else self._measure
        return {
            "table": self.table and keras.saving.serialize_keras_object(self.table),
            "measure": measure,
            "dense": self.dense,
            "precision": self.precision,
            "threads": self.threads,
            **super().get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Latency":
        config = dict(config)
        table = config["table"]
        config["table"] = table and keras.saving.deserialize_keras_object(table)
        return super().from_config(config)

    def bind(self, channels: ChannelGraph) -> "Latency":
        """This resource with a table, and with what the dense model takes.

        Raises:
            ValueError: if there is no table, and this process or the model cannot be
                timed.
        """
        if self.table is None:
            table = table_of_this_machine(
                channels, self.ask(), self.precision, self.threads
            )
            found = Latency(table, self._measure, self.dense, self.measurer)
            if self.measured and not found.measured:  # a measurer of the user's own
                found = Latency(table, True, self.dense, self.measurer)
            return found.bind(channels)
        if not self.measured or self.dense is not None:
            return self
        check_timed(channels)
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
        models = (measurer.dense(channels), *models)
        paths = [measurer.file(model, self.precision) for model in models]
        if callable(self._measure):
            return np.array([[float(self._measure(path)) for path in paths]])
        return measurer.times(paths, self.threads, TURNS)

    def function(self, channels: ChannelGraph) -> LatencyFunction:
        if self.table is None:
            return self.bind(channels).function(channels)
        return self.table.function(channels, self.dense)


register_resource(Latency())
