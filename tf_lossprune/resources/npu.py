"""Clock cycles of one inference on a neural accelerator."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.progress import Progress
from tf_lossprune.resources.base import COUNTS, Resource, register_resource
from tf_lossprune.resources.latency_function import LatencyFunction
from tf_lossprune.resources.measurer import Measurer, MeasuresFile
from tf_lossprune.resources.npu_operation import NpuOperation, npu_operations
from tf_lossprune.resources.opaque import check_sizes
from tf_lossprune.resources.operation import bilinear
from tf_lossprune.resources.probes import channel_entries, executed_calls
from tf_lossprune.types import BackendTensor, Path

#: What Vela compiles for: Arm's Ethos-U, with their MACs per cycle.
ACCELERATORS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256",
    "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024",
    "ethos-u85-2048",
)  # fmt: skip
#: Widths from here on count as the next multiple of `TILE`, of which an accelerator
#: computes whole ones.
FINE, TILE = 8, 4
#: Shares of the channels at which an operation's smooth part is fitted.
_SHARES = (1.0, 0.5, 0.25)


def check_accelerator(name: str) -> str:
    """Returns the name of an accelerator; raises `ValueError` for others."""
    if name not in ACCELERATORS:
        raise ValueError(
            f"Expected accelerator as one of {list(ACCELERATORS)}. Received: {name!r}"
        )
    return name


@keras.saving.register_keras_serializable(package="tf_lossprune")
class NpuCycles(MeasuresFile, Resource):
    """Clock cycles of one inference on an Arm Ethos-U, as its compiler says.

    Both sides of a budget are the estimates of the compiler, Vela, for whole files, and
    they are deterministic: the dense file's, and those of every delivered one. In
    between, the operations of the network, compiled one by one at the widths that are
    asked for, are summed up, at the scale of the dense file.

    Vela compresses weights, and how well depends on their values, which training
    changes. So a delivered network is compiled with weights that cannot be compressed:
    it takes no more cycles with any others. Operations that the accelerator lacks run
    on the processor and are not counted; there is a warning that names them.

    Needs `pip install 'tf_lossprune[micro]'`.

    Args:
        accelerator: string, such as `"ethos-u55-128"` or `"ethos-u65-512"`.
        system_config, memory_mode, config: as in `deploy.npu_estimate`.
        dense: pair of floats or None, cycles of the dense file as it is, and with
            weights that cannot be compressed; None: measured when the budget is bound.
        rows: list of `(operation, inputs, outputs, cycles)`, what has been compiled.
        measurer: `Measurer` or None; `prune_model` and `inspect_model` set it.

    Raises:
        ValueError: for an unknown accelerator.

    Example:

    ```python
    npu = tf_lossprune.resources.NpuCycles("ethos-u65-512")
    budget = tf_lossprune.Budget({"npu_cycles": 0.5}, resources=[npu])
    ```
    """

    name = "npu_cycles"
    unit = "cycles"
    units = COUNTS
    measured = True
    precision = "int8"

    def __init__(
        self,
        accelerator: str = "ethos-u55-128",
        system_config: str | None = None,
        memory_mode: str | None = None,
        config: Path | None = None,
        dense: Sequence[float] | None = None,
        rows: Iterable[Sequence] = (),
        measurer: Measurer | None = None,
    ) -> None:
        super().__init__(measurer)
        self.options = {
            "accelerator": check_accelerator(accelerator),
            "system_config": system_config,
            "memory_mode": memory_mode,
            "config": None if config is None else os.fspath(config),
        }
        self.dense = None if dense is None else tuple(map(float, dense))
        self._table = {(str(o), int(i), int(m)): float(c) for o, i, m, c in rows}

    def get_config(self) -> dict[str, Any]:
        rows = [[*key, cycles] for key, cycles in self._table.items()]
        config = {**self.options, "dense": self.dense, "rows": rows}
        return {**config, **super().get_config()}

    def has_compiled(self) -> bool:
        """Whether it knows the cycles of any operation already."""
        return bool(self._table)

    def bind(self, channels: ChannelGraph) -> "NpuCycles":
        if self.dense is not None:
            return self
        measurer = self.ask()
        path = measurer.file(measurer.dense(channels), self.precision)
        config = {**self.get_config(), "measurer": measurer}
        config["dense"] = [
            measurer.npu_cycles(path, any_weights, **self.options)
            for any_weights in (False, True)
        ]
        return NpuCycles(**config)

    def read(self, path: Path) -> float:
        return self.ask().npu_cycles(path, any_weights=True, **self.options)

    def function(self, channels: ChannelGraph) -> "NpuFunction":
        check_sizes(channels, self.name)
        bound, calls = self.bind(channels), executed_calls(channels)
        operations, known = [], bound.has_compiled()
        shown = getattr(bound.measurer, "verbose", False) and not known
        title = f"Compiling operations for {self.options['accelerator']}"
        with Progress(title, len(calls), shown) as progress:
            for call in calls:
                given = channel_entries(channels, call.inputs)
                made = channel_entries(channels, call.outputs)
                parts = npu_operations(channels, call)
                cycles = OperationCycles(parts, bound.operation, len(given), len(made))
                operations.append((call.operation.name, cycles, given, made))
                progress.advance()
        sizes = [group.size for group in channels.groups]
        dense, most = bound.dense or (1.0, 1.0)
        return NpuFunction(operations, channels.group_of, sizes, dense, most)

    def operation(self, operation: NpuOperation, given: int, made: int) -> float:
        """Cycles of one operation, which is compiled when they are first asked for."""
        key = repr(operation), given, made
        if key not in self._table:
            self._table[key] = float(
                self.ask().npu_operation(operation, given, made, **self.options)
            )
        return self._table[key]


class OperationCycles:
    """Cycles of a call at whole numbers of channels.

    Args:
        operations: list of `NpuOperation`s that the call becomes.
        ask: function `(operation, inputs, outputs) -> cycles`.
        given, made: ints, its channels at full width.

    Attributes:
        coefficients: `(a, b, c, d)` of the smooth `a + b in + c out + d in out` that is
            nearest at some widths.
    """

    def __init__(
        self,
        operations: Sequence[NpuOperation],
        ask: Callable[[NpuOperation, int, int], float],
        given: int,
        made: int,
    ) -> None:
        self._operations, self._ask = operations, ask
        widths = {
            (max(1, round(a * given)), max(1, round(b * made)))
            for a in _SHARES
            for b in _SHARES
        }
        points = [(i, o, max(self(i, o), 1.0)) for i, o in sorted(widths)]
        self.coefficients = bilinear(*np.array(points).T)

    def __call__(self, given: float, made: float) -> float:
        widths = _whole(given), _whole(made)
        return sum(self._ask(operation, *widths) for operation in self._operations)


def _whole(width: float) -> int:
    width = int(width)
    return width if width <= FINE else -(-width // TILE) * TILE


class NpuFunction(LatencyFunction):
    """The sum of the operations' cycles, at the scale of the dense file.

    Args:
        operations, group_of, sizes: as `LatencyFunction` has them.
        dense: float, cycles of the dense file, of which budgets are shares.
        most: float, those it has with weights that cannot be compressed, as which
            everything is counted.
    """

    name = "npu_cycles"

    def __init__(
        self,
        operations: Sequence[tuple],
        group_of: np.ndarray,
        sizes: Sequence[int],
        dense: float,
        most: float,
    ) -> None:
        super().__init__(operations, 0.0, group_of, sizes, dense=most)
        self.dense, self._more = dense, most / max(dense, 1.0)

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        return self._more * super().fraction(ratios)

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        return self._more * super().gradient_fraction(ratios)


register_resource(NpuCycles())
