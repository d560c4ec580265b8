"""The comparison protocol: a grid of runs of `benchmarks.accuracy`, resumable.

python -m benchmarks.protocol --checkpoint=dense.keras

Each cell starts from the same dense network and has five epochs in all, search
included. Cells whose line is in --out already are not run again, so that a long
grid can be cut into pieces. `python -m benchmarks.summarize` makes the table.
Every method fine-tunes with the dense network as a teacher, at the same weight.

On a CPU without AVX-512, `TF_ENABLE_ONEDNN_OPTS=1` and `--extra=jit_compile=false`
halve the time.
"""

import itertools
import subprocess
import sys

from absl import app, flags

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("arch", "resnet20", "Network.")
    flags.DEFINE_string("checkpoint", None, "Dense network (.keras); unset: train it.")
    flags.DEFINE_list("methods", ["loss", "uniform"], "Methods.")
    flags.DEFINE_list("macs", ["0.125", "0.25", "0.5"], "Shares of the MACs.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
    flags.DEFINE_list("extra", [], "Further flags of benchmarks.accuracy.")
    flags.DEFINE_float("search_epochs", 0.5, "Epochs of search, where there is one.")
    flags.DEFINE_string("distill", "0.5", "As in benchmarks.accuracy, for all methods.")
    flags.DEFINE_string("split", "test", "test or validation.")
    flags.DEFINE_string("out", "benchmarks/results/protocol.jsonl", "Results.")


def commands():
    """Yields the command line of each cell; all methods of a seed come together."""
    for share, seed, method in itertools.product(
        FLAGS.macs, FLAGS.seeds, FLAGS.methods
    ):
        command = [
            sys.executable,
            "-m",
            "benchmarks.accuracy",
            f"--arch={FLAGS.arch}",
            f"--budget=macs={share}",
            f"--seed={seed}",
            f"--method={method}",
            f"--split={FLAGS.split}",
            f"--distill={FLAGS.distill}",
            f"--out={FLAGS.out}",
        ]
        if FLAGS.checkpoint:
            command.append(f"--checkpoint={FLAGS.checkpoint}")
        if method == "loss":
            command.append(f"--search_epochs={FLAGS.search_epochs}")
        yield command + [f"--{flag}" for flag in FLAGS.extra]


def main(argv):
    """Runs the cells one after the other."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    for command in commands():
        subprocess.run(command, check=True)


if __name__ == "__main__":
    define_flags()
    app.run(main)
