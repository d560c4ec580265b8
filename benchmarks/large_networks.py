r"""Seconds and memory that pruning and stripping large networks takes.

`prune_model(model, {"macs": 0.5}, method="magnitude")` and `strip_pruning`, both with
their checks, of networks of keras.applications at their own size, with random weights.
Seconds are those on the clock, and those of this process' CPU time, which other work on
the machine does not change. Memory is the peak above what the process with the dense
network took, as a multiple of the network's weights; each network has a process of its
own, in which no earlier one left memory to use.

Example:

    python -m benchmarks.large_networks --out=benchmarks/results/large_networks.jsonl
"""

import subprocess
import sys
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from benchmarks.process_memory import forget_peak, peak_memory

FLAGS = flags.FLAGS

flags.DEFINE_list("names", "ResNet50,EfficientNetB7,NASNetLarge", "Networks.")
flags.DEFINE_bool("check", True, "Whether outputs are compared, as by default.")
flags.DEFINE_string("out", "out/large_networks.jsonl", "File of the lines.")


def run(model):
    """The seconds and CPU seconds of both parts, the peak in MiB, and the network."""
    forget_peak()
    before, clocks = peak_memory(), []

    def tick():
        clocks.append((time.perf_counter(), time.process_time()))

    tick()
    pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
    tick()
    compact = tf_lossprune.strip_pruning(pruned, check=FLAGS.check)
    tick()
    peak = peak_memory() - before
    (began, cpu), (wrapped, cpu_wrapped), (ended, cpu_ended) = clocks
    clocks = [list(map(float, times)) for times in zip(*clocks)]
    (seconds, cpu), strip = (times[2] - times[0] for times in clocks), clocks[1]
    return compact, {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "strip_cpu_seconds": strip[2] - strip[1],
        "peak_of_weights": peak,
    }


def measure(name):
    """The line of a network."""
    model = getattr(keras.applications, name)(weights=None)
    weights = sum(v.numpy().nbytes for v in model.weights) / 2**20
    compact, found = run(model)
    found["peak_of_weights"] /= weights
    return {
        "name": name,
        "input": list(model.input_shape[1:]),
        "layers": len(model.layers),
        "weights_mib": weights,
        **found,
        "macs": tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(model)["macs"],
        "check": FLAGS.check,
        "versions": common.versions(),
    }


def table(rows):
    """The lines as a Markdown table."""
    head = [
        "network",
        "pixels",
        "layers",
        "weights, MiB",
        "seconds",
        "of CPU",
        "memory",
    ]
    lines = [
        [
            row["name"],
            row["input"][0],
            row["layers"],
            f"{row['weights_mib']:.0f}",
            f"{row['seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['peak_of_weights']:.2f}",
        ]
        for row in rows
    ]
    return common.markdown(head, lines)


def main(argv):
    """Measures the networks that have no lines yet, and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if len(FLAGS.names) > 1:
        rest = [a for a in sys.argv[1:] if not a.startswith("--names")]
        for name in FLAGS.names:
            command = [sys.executable, "-m", "benchmarks.large_networks", *rest]
            subprocess.run([*command, f"--names={name}"], check=True)
        return
    common.run_missing(FLAGS.names, measure, FLAGS.out)
    print(table(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    app.run(main)
