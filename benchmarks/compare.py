r"""Every method against every other: a grid of runs of `benchmarks.accuracy`.

    python -m benchmarks.compare --archs=resnet20:8 --macs=0.25 --methods=loss,uniform

A cell is one run: network, budget, method, seed. All cells of a network start from
the same dense one and have the same epochs in all, search included, the same
optimizer, augmentation and teacher. A cell whose line is in `--out` is not run
again, so the grid can be cut into pieces: `--minutes` starts no new cell after that
long, and `--cells` takes numbers out of the list that `--list` prints. With
`--workers` that many processes share the cells, each of which keeps what it has
imported and compiled, on as many CPUs or on one GPU (JAX: with
`XLA_PYTHON_CLIENT_PREALLOCATE=false`).

With `--scratch` the network starts from random weights and has `--epochs` in all.

`python -m benchmarks.summarize` and `python -m benchmarks.figures` read the lines.
On a CPU without AVX-512, `TF_ENABLE_ONEDNN_OPTS=1` and
`--extra=jit_compile=false,fast_kernels=true` halve the time.
"""

import concurrent.futures
import itertools
import multiprocessing
import subprocess
import sys
import time

import keras
from absl import app, flags
from absl.testing import flagsaver

from examples.flags import define_data_flags
from tf_lossprune.methods import METHODS

FLAGS = flags.FLAGS

ARCHS = ["resnet20:8", "resnet18:8", "vgg16_bn:16", "mobilenet_v1:8", "mobilenet_v2:8"]


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_list("archs", ARCHS, "Networks, each with its width: name:width.")
    define_data_flags()
    flags.DEFINE_string("checkpoint", None, "Dense network (.keras); unset: train it.")
    flags.DEFINE_list("methods", sorted(METHODS), "Methods.")
    flags.DEFINE_list("macs", ["0.5", "0.25", "0.1667", "0.125"], "Shares of the MACs.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
    flags.DEFINE_integer("epochs", 5, "Epochs in all.")
    flags.DEFINE_integer("dense_epochs", 15, "Epochs of the dense networks.")
    flags.DEFINE_bool("scratch", False, "Start from random weights.")
    flags.DEFINE_float("search_epochs", None, "Epochs of search; unset: as by default.")
    flags.DEFINE_string("distill", "0.5", "As in benchmarks.accuracy, for all methods.")
    flags.DEFINE_string("split", "test", "test or validation.")
    flags.DEFINE_list("extra", [], "Further flags of benchmarks.accuracy.")
    flags.DEFINE_list("cells", [], "Numbers of cells; empty: all.")
    flags.DEFINE_float("minutes", None, "Start no new cell after this time.")
    flags.DEFINE_integer("workers", 0, "Processes; 0: one for each cell, in turn.")
    flags.DEFINE_bool("list", False, "Print the cells and end.")
    flags.DEFINE_string("out", "benchmarks/results/compare.jsonl", "Results.")


def cells():
    """Lists the flags of each cell; the methods of a seed stand together."""
    found = []
    grid = itertools.product(FLAGS.archs, FLAGS.macs, FLAGS.seeds, FLAGS.methods)
    for network, share, seed, method in grid:
        arch, _, width = network.partition(":")
        cell = {
            "arch": arch,
            "data": FLAGS.data,
            "budget": f"macs={share}",
            "seed": seed,
            "method": method,
            "epochs": FLAGS.epochs,
            "split": FLAGS.split,
            "distill": FLAGS.distill,
            "out": FLAGS.out,
        }
        if width:
            cell["width"] = width
        if FLAGS.data_file:
            cell["data_file"] = FLAGS.data_file
        if FLAGS.checkpoint:
            cell["checkpoint"] = FLAGS.checkpoint
        elif FLAGS.scratch:
            # There is no teacher; the learning rate is that of a first training.
            cell.update(dense_epochs=0, lr=0.1, distill="false")
        else:
            cell["dense_epochs"] = FLAGS.dense_epochs
        if METHODS[method].trains and FLAGS.search_epochs is not None:
            cell["search_epochs"] = FLAGS.search_epochs
        found.append(as_flags(cell))
    return found


def as_flags(cell):
    """A cell's flags as strings, with those of `--extra` in the others' place."""
    cell = {**cell, **dict(flag.split("=", 1) for flag in FLAGS.extra)}
    return [f"--{name}={value}" for name, value in cell.items()]


def run_cell(cell, end):
    """Runs a cell in this process.

    Args:
        cell: List of flags of `benchmarks.accuracy`.
        end: Time (`time.time`) from which on no cell is started; None: never.

    Returns:
        Whether the cell was started.
    """
    if end and time.time() > end:
        return False
    from benchmarks import accuracy

    with flagsaver.flagsaver():
        flags.FLAGS(["benchmarks.accuracy", *cell])
        accuracy.main([])
    keras.utils.clear_session()
    if keras.backend.backend() == "jax":
        import jax

        # What XLA has compiled for one network is of no use to the next, and stays.
        jax.clear_caches()
    return True


def run_shared(chosen, end, workers):
    """Runs cells in several processes; the others go on where one fails.

    Args:
        chosen: List of `(number, cell)`.
        end: As in `run_cell`.
        workers: Number of processes.

    Returns:
        Numbers of the cells that failed.
    """
    failed = []
    # A fresh start of each: a fork would share the state of the backend.
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn")
    ) as pool:
        numbers = {pool.submit(run_cell, cell, end): number for number, cell in chosen}
        for done in concurrent.futures.as_completed(numbers):
            error, number = done.exception(), numbers[done]
            if error:
                failed.append(number)
                print(f"Cell {number} failed: {error!r}", flush=True)
            elif not done.result():
                print(f"Cell {number} was not started; run again to go on.")
    return failed


def main(argv):
    """Runs the cells."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    chosen = list(enumerate(cells()))
    if FLAGS.cells:
        chosen = [chosen[int(number)] for number in FLAGS.cells]
    if FLAGS.list:
        for number, cell in chosen:
            print(number, *cell)
        return
    end = FLAGS.minutes and time.time() + 60 * FLAGS.minutes
    if FLAGS.workers:
        if failed := run_shared(chosen, end, FLAGS.workers):
            sys.exit(f"Failed: {failed}")
        return
    for number, cell in chosen:
        if end and time.time() > end:
            print(f"Stopped before cell {number}; run again to go on.")
            return
        subprocess.run([sys.executable, "-m", "benchmarks.accuracy", *cell], check=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)
