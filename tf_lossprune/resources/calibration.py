"""Times the operations of a model on the machine at hand."""

import os
import shutil
import tempfile
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.progress import Progress
from tf_lossprune.resources.latency_cache import cached_path, keep_table, read_table
from tf_lossprune.resources.latency_table import NETWORK, OVERHEAD, LatencyTable
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.resources.network_fit import operations_text, sample_widths
from tf_lossprune.resources.probe_list import COLUMNS
from tf_lossprune.resources.probes import Probe, network_probes
from tf_lossprune.surgery import cut
from tf_lossprune.types import Path

#: How often each probe is timed, and the quantile that counts: other work only delays.
ROUNDS, QUANTILE = 5, 0.25


def table_of_this_machine(
    channels: ChannelGraph, measurer: Measurer, precision: str, threads: int
) -> LatencyTable:
    """The latency table of a model: the one that is kept, or a new one.

    Args:
        channels: `ChannelGraph`.
        measurer: `Measurer`, whose device counts.
        precision, threads: as in `calibrate`.

    Raises:
        ValueError: if this process cannot make and time files.
    """
    check_works(measurer)
    device = _device(measurer, precision, threads)
    if device is not None:
        probes = network_probes(channels)
        path = cached_path(device, _dense(probes))
        found = read_table(path, device, {probe.key for probe, _ in probes})
        if found is not None:
            return found
    return calibrate(channels, measurer, precision, threads)


def calibrate(
    channels: ChannelGraph,
    measurer: Measurer,
    precision: str = "fp32",
    threads: int = 1,
    rounds: int = ROUNDS,
) -> LatencyTable:
    """Measures a latency table, and keeps it for the next time.

    Args:
        channels: `ChannelGraph`.
        measurer: `Measurer`, which makes and times the files.
        precision: string, as in `to_litert`.
        threads: int, of the runtime.
        rounds: int, how often each operation is timed; the lower quartile counts.

    Raises:
        ValueError: if this process cannot make and time files, or the model's inputs
            have unknown sizes.
    """
    check_works(measurer)
    check_timed(channels)
    device = _device(measurer, precision, threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_probes(channels, folder, measurer, precision)
        files = [os.path.join(folder, row["file"]) for row in rows]
        with Progress(f"Timing {len(files)} files", rounds, measurer.verbose) as told:
            times = []
            for _ in range(rounds):
                times.append(measurer.times(files, threads, 1)[0])
                told.advance()
    for row, time in zip(rows, np.quantile(times, QUANTILE, axis=0)):
        row["milliseconds"] = time
    known = device or {"precision": precision, "threads": threads}
    table = LatencyTable([[row[c] for c in COLUMNS[1:]] for row in rows], known)
    if device is not None:
        path = cached_path(device, _dense(network_probes(channels)))
        if keep_table(path, table) and measurer.verbose:
            print(f"The latency table of this machine is saved in {path}.")
    return table


def write_probes(
    channels: ChannelGraph, folder: Path, measurer: Measurer, precision: str
) -> list[dict[str, Any]]:
    """Writes the files to time.

    Args:
        channels: `ChannelGraph`.
        folder: path of an existing folder.
        measurer: `Measurer`, which makes them.
        precision: string, as in `to_litert`.

    Returns:
        A list of dicts, a row for each file, with the keys `COLUMNS`.
    """
    rows: list[dict[str, Any]] = []

    def add(name: str, *values: Any) -> str:
        row = dict(zip(COLUMNS, (f"{name}.tflite", *values, "")))
        rows.append(row)
        return os.path.join(folder, row["file"])

    probes = network_probes(channels)
    title = f"Latency of {channels.graph.name}, {precision}: making files to time"
    networks = sample_widths(channels)
    total = len(probes) + len(networks) + 2
    with Progress(title, total, measurer.verbose) as told:
        path = add(OVERHEAD, OVERHEAD, 1, 1, 0)
        measurer.convert_operation(_nothing(), path, precision)
        told.advance()
        network = measurer.file(measurer.dense(channels), precision)
        shutil.copyfile(network, add(NETWORK, NETWORK, 1, 1, 1))
        told.advance()
        for keep in networks:
            text = f"{NETWORK} {operations_text(channels, keep)}"
            path = add(f"{len(rows):04d}_{NETWORK}", text, 1, 1, 0)
            measurer.convert_operation(cut(channels, keep), path, precision)
            told.advance()
        for probe, count in probes:
            path = add(f"{len(rows):04d}_{probe.kind}", *probe.key, count)
            _convert(measurer, probe, path, precision)
            told.advance()
    return rows


def check_works(measurer: Measurer) -> None:
    """Raises `ValueError` if this process cannot make and time files."""
    if not measurer.works_here():
        raise ValueError(
            "Expected a process that makes and times LiteRT files (pip install "
            "ai-edge-litert, KERAS_BACKEND=tensorflow), or a table: a budget in "
            "milliseconds measures this machine. `lossprune calibrate MODEL "
            "--out=table.json` makes a table elsewhere, "
            "`resources=[tf_lossprune.resources.Latency('table.json', measure=False)]` "
            f"uses it. Received: {measurer.missing() or measurer!r}"
        )


def check_timed(channels: ChannelGraph) -> None:
    """Raises `ValueError` if the inputs of a model have no size to time it at."""
    for tensor in tree.flatten(channels.graph.inputs):
        if None in tensor.shape[1:]:
            raise ValueError(
                "Expected inputs of known sizes, to time the model: "
                "`keras.Input(shape)` with the size it will run at. Received: an "
                f"input of shape {tuple(tensor.shape)}"
            )


def _convert(measurer: Measurer, probe: Probe, path: str, precision: str) -> None:
    try:
        measurer.convert_operation(probe.build(), path, precision)
    except Exception as error:
        raise ValueError(
            f"Expected a model whose operations can be timed one by one in {precision}."
            " Another precision may do (`Latency(precision='fp32')`), or leave "
            f"latency_ms out of the budget. Received: layer {probe.layer!r} "
            f"({type(error).__name__}: {error})"
        ) from error


def _device(measurer: Measurer, precision: str, threads: int) -> dict[str, Any] | None:
    found = measurer.device()
    return found and {**found, "precision": precision, "threads": int(threads)}


def _dense(probes: list[tuple[Probe, int]]) -> list:
    return [[*probe.key, count] for probe, count in probes if count]


def _nothing() -> keras.Model:
    """A network whose time is that of calling the runtime."""
    inputs = keras.Input((1,))
    return keras.Model(inputs, layers.ReLU()(inputs))
