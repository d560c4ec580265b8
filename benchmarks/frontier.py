r"""Several budgets from one search against a run for each: time and accuracy.

    python -m benchmarks.frontier --macs=0.5,0.25,0.125 --seeds=0,1,2

All runs start from the same dense network, with equal epochs for every compact
network, search included. One JSON line a run; those in `--out` are not run again.
At the end: total time of the frontier over that of the separate runs, by the clock and
by the processor (which other work on the machine disturbs less), and the accuracies
with their spread over the seeds.
"""

import pathlib
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from benchmarks.summarize import spread
from examples import data as example_data
from examples.optimizers import cosine_sgd

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("arch", "resnet20", "Network of examples/models.py.")
    flags.DEFINE_integer("width", 8, "Width of the first convolution.")
    flags.DEFINE_string("data", "fashion_mnist", "fashion_mnist or digits.")
    flags.DEFINE_integer("limit", None, "Images in each split.")
    flags.DEFINE_integer("dense_epochs", 6, "Epochs of the dense training.")
    flags.DEFINE_string("cache", "out/dense", "Folder of the trained dense models.")
    flags.DEFINE_list("macs", ["0.5", "0.25", "0.125"], "Shares of the MACs.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
    flags.DEFINE_integer("epochs", 5, "Epochs of each network.")
    flags.DEFINE_float("search_epochs", None, "Epochs of search; unset: 0.3 of all.")
    flags.DEFINE_float("lr", 0.05, "First learning rate; falls to 0 (cosine).")
    flags.DEFINE_float("distill", 0.0, "The teacher's weight; 0: no teacher.")
    flags.DEFINE_bool("jit_compile", None, "Compile steps with XLA.")
    flags.DEFINE_string("out", "benchmarks/results/frontier.jsonl", "Results.")
    flags.DEFINE_integer("verbose", 0, "As in Model.fit.")


def run(shares, seed):
    """One run: a frontier if there are several shares.

    Args:
        shares: List of shares of the MACs.
        seed: Seed of data order, weights' noise and search.

    Returns:
        Dict with `"accuracy"` and `"macs"` by share, `"seconds"`, their `"parts"`, and
        `"processor_seconds"`.
    """
    data = common.load_data(FLAGS.data, FLAGS.limit)
    train, _, test = example_data.datasets(
        data, batch_size=128, seed=seed, use_validation=False
    )
    jit_compile = "auto" if FLAGS.jit_compile is None else FLAGS.jit_compile
    name = f"{FLAGS.data}-{FLAGS.arch}-w{FLAGS.width}-e{FLAGS.dense_epochs}"
    dense = common.dense_model(
        pathlib.Path(FLAGS.cache) / f"{name}-n{FLAGS.limit or 0}-frontier.keras",
        FLAGS.arch,
        data,
        train,
        FLAGS.dense_epochs,
        0,
        FLAGS.width,
        jit_compile,
        FLAGS.verbose,
    )
    keras.utils.set_random_seed(seed)
    settings = {
        "epochs": FLAGS.epochs,
        "search_epochs": FLAGS.search_epochs,
        "optimizer": cosine_sgd(FLAGS.epochs * len(train), FLAGS.lr),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "distill": FLAGS.distill,
        "jit_compile": jit_compile,
        "verbose": FLAGS.verbose,
        "channel_multiple": 1,
        "seed": seed,
    }
    began, processor_began = time.perf_counter(), time.process_time()
    if len(shares) > 1:
        found = tf_lossprune.compress_frontier(dense, shares, train, **settings)
    else:
        budget = {"macs": shares[0]}
        found = [tf_lossprune.compress(dense, budget, train, **settings)]
    seconds = time.perf_counter() - began
    processor_seconds = time.process_time() - processor_began
    macs = tf_lossprune.cost(dense)["macs"]
    return {
        "accuracy": {s: common.accuracy(m, test) for s, (m, _) in zip(shares, found)},
        "macs": {s: r.compact["macs"] / macs for s, (_, r) in zip(shares, found)},
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "parts": found[0][1].seconds,
    }


def time_ratios(rows, name):
    """The frontier's time over that of the separate runs, for each complete seed."""
    ratios = []
    for seed in sorted({row["cell"]["seed"] for row in rows}):
        own = [row for row in rows if row["cell"]["seed"] == seed]
        joint = [r for r in own if len(r["cell"]["shares"]) > 1]
        single = [r for r in own if len(r["cell"]["shares"]) == 1]
        if joint and len(single) == len(joint[0]["cell"]["shares"]):
            ratios.append(joint[0][name] / sum(r[name] for r in single))
    return ratios


def summary(rows):
    """What the frontier saves, and what each way reaches, as text."""
    lines = []
    for name in ("seconds", "processor_seconds"):
        ratios = time_ratios(rows, name)
        if ratios:
            text = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(f"{name}, frontier / separate runs: {text}")
    lines.append("| MACs | frontier % | separate % |\n| --- | --- | --- |")
    shares = sorted({s for row in rows for s in row["accuracy"]}, key=float)
    for share in reversed(shares):
        cells = []
        for joint in (True, False):
            cells.append(
                spread(
                    row["accuracy"][share]
                    for row in rows
                    if share in row["accuracy"]
                    and (len(row["cell"]["shares"]) > 1) == joint
                )
            )
        lines.append(f"| {share} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main(argv):
    """Runs what is missing in `--out`, then prints the summary."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    common.slice_before_strided_pointwise()
    shares = [float(share) for share in FLAGS.macs]
    names = ("arch", "width", "data", "limit", "dense_epochs", "epochs")
    names += ("search_epochs", "lr", "distill")
    for seed in FLAGS.seeds:
        for chosen in [shares, *[[share] for share in shares]]:
            cell = {name: getattr(FLAGS, name) for name in names}
            cell.update(seed=int(seed), shares=chosen)
            if any(row["cell"] == cell for row in common.read_lines(FLAGS.out)):
                continue
            row = {"cell": cell, **run(chosen, int(seed))}
            common.append_line(FLAGS.out, row)
            print(row, flush=True)
            keras.backend.clear_session()
    print(summary(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
