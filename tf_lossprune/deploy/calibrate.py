"""Times single operations on a device, for budgets in milliseconds."""

import os

import keras

from tf_lossprune.config import check_count
from tf_lossprune.deploy.measurer import LitertMeasurer
from tf_lossprune.graph import ChannelGraph, analyze
from tf_lossprune.precision import check_precision
from tf_lossprune.resources import calibration
from tf_lossprune.resources.latency_table import LatencyTable
from tf_lossprune.resources.probe_list import write_list
from tf_lossprune.surgery import flat_graph
from tf_lossprune.types import Path

CSV_NAME = "probes.csv"


def calibrate_latency(
    model: keras.Model,
    *,
    precision: str = "fp32",
    threads: int = 1,
    rounds: int = calibration.ROUNDS,
    verbose: bool = True,
) -> LatencyTable:
    """Measures on this machine how long a model's operations take.

    Every distinct operation is converted at several widths and timed
    with ai-edge-litert, all of them in turns. Let the machine rest meanwhile. The table
    is kept in `cache_folder()`, too, where budgets in milliseconds look for it.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        precision: string, as in `to_litert`.
        threads: int >= 1, threads of the runtime.
        rounds: int >= 1, how often each operation is timed; the lower quartile counts.
        verbose: bool, whether to print how far it is.

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
    check_precision(precision)
    check_count("threads", threads, 1)
    check_count("rounds", rounds, 1)
    measurer = LitertMeasurer(verbose)
    return calibration.calibrate(_channels(model), measurer, precision, threads, rounds)


def export_probes(
    model: keras.Model, folder: Path, *, precision: str = "fp32", verbose: bool = True
) -> str:
    """Writes the files to time on another device, and the list to fill in.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        folder: path of a folder, made where it is missing.
        precision: string, as in `to_litert`.
        verbose: bool, whether to print how far it is.

    Returns:
        The path of `probes.csv` in that folder. Its column `milliseconds` is
        empty: time each `file` on the device, write the time there, and read the
        result with `LatencyTable.load(path)`. `docs/latency.md` has the commands.

    Raises:
        TypeError, ValueError: as `prune_model` and `to_litert`.
    """
    check_precision(precision)
    channels, measurer = _channels(model), LitertMeasurer(verbose)
    calibration.check_timed(channels)
    os.makedirs(folder, exist_ok=True)
    rows = calibration.write_probes(channels, folder, measurer, precision)
    path = os.path.join(folder, CSV_NAME)
    write_list(path, rows, precision)
    return path


def _channels(model: keras.Model) -> ChannelGraph:
    graph, _ = flat_graph(model)
    return analyze(graph)
