r"""Several budgets from one search against a run for each: time and accuracy.

    python -m benchmarks.frontier --macs=0.5,0.25,0.125 --seeds=0,1,2

All runs start from the same dense network, with equal epochs for every compact
network, search included. One JSON line a run; those in `--out` are not run again.
At the end: total time of the frontier over that of the separate runs, by the clock and
by the processor, and the accuracies with their spread over the seeds.

The frontier and the separate runs take turns of some seconds (`--turn`), so that other
work on the machine, and changes of its speed, slow both down; the clock of each counts
its own turns only. With `--turn=0` they run one after the other.
"""

import pathlib
import sys
import tempfile
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from benchmarks.summarize import spread
from benchmarks.turns import overlap, take_turns
from examples import data as example_data
from examples.flags import define_data_flags, parse_options
from examples.optimizers import cosine_sgd

FLAGS = flags.FLAGS

#: What decides the result of a run, besides its seed and its budgets.
SETTINGS = ("arch", "width", "data", "limit", "dense_epochs", "epochs")
SETTINGS += ("search_epochs", "lr", "distill", "split", "options")

#: What else a run in a process of its own is told.
UNRECORDED = ("data_file", "jit_compile", "cache")

#: The separate runs together take longer; with longer turns, both ends fall together.
LONGER = 1.6


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("arch", "resnet20", "Network of examples/models.py.")
    flags.DEFINE_integer("width", 8, "Width of the first convolution.")
    define_data_flags()
    flags.DEFINE_integer("limit", None, "Images in each split.")
    flags.DEFINE_integer("dense_epochs", 6, "Epochs of the dense training.")
    flags.DEFINE_string("cache", "out/dense", "Folder of the trained dense models.")
    flags.DEFINE_list("macs", ["0.5", "0.25", "0.125"], "Shares of the MACs.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
    flags.DEFINE_integer("epochs", 5, "Epochs of each network.")
    flags.DEFINE_float("search_epochs", None, "Epochs of search; unset: 0.3 of all.")
    flags.DEFINE_float("lr", 0.05, "First learning rate; falls to 0 (cosine).")
    flags.DEFINE_float("distill", 0.0, "The teacher's weight; 0: no teacher.")
    flags.DEFINE_enum("split", "test", ["validation", "test"], "What is evaluated.")
    flags.DEFINE_string("options", "", "JSON object of options of prune_model.")
    flags.DEFINE_bool("jit_compile", None, "Compile steps with XLA.")
    flags.DEFINE_float("turn", 10.0, "Seconds of a turn; 0: one run after the other.")
    flags.DEFINE_string("out", "benchmarks/results/frontier.jsonl", "Results.")
    flags.DEFINE_bool("only", False, "Only the first run of a seed, no summary.")
    flags.DEFINE_integer("verbose", 0, "As in Model.fit.")


def prepare(seed):
    """The data of a run, and the dense network that all of them start from.

    Args:
        seed: Seed of the order of the images.

    Returns:
        Batches for training and for the evaluation, and the dense network.
    """
    data = common.load_data(FLAGS.data, FLAGS.limit, FLAGS.data_file)
    validating = FLAGS.split == "validation"
    train, validation, test = example_data.datasets(
        data, batch_size=128, seed=seed, use_validation=validating
    )
    name = f"{common.data_name(FLAGS.data, FLAGS.data_file)}-{FLAGS.arch}"
    name += f"-w{FLAGS.width}-e{FLAGS.dense_epochs}"
    name += f"-n{FLAGS.limit or 0}-{FLAGS.split}-frontier.keras"
    dense = common.dense_model(
        pathlib.Path(FLAGS.cache) / name,
        FLAGS.arch,
        data,
        train,
        FLAGS.dense_epochs,
        0,
        FLAGS.width,
        jit_compile(),
        FLAGS.verbose,
    )
    return train, validation if validating else test, dense


def jit_compile():
    """What `compile` takes for `--jit_compile`."""
    return "auto" if FLAGS.jit_compile is None else FLAGS.jit_compile


def run(shares, seed):
    """One run: a frontier if there are several shares.

    Args:
        shares: List of shares of the MACs.
        seed: Seed of data order, weights' noise and search.

    Returns:
        Dict with `"accuracy"` and `"macs"` by share, `"seconds"`, their `"parts"`,
        `"processor_seconds"`, and when it `"began"` and `"ended"` (`time.time`).
    """
    train, images, dense = prepare(seed)
    keras.utils.set_random_seed(seed)
    settings = {
        "epochs": FLAGS.epochs,
        "search_epochs": FLAGS.search_epochs,
        "optimizer": cosine_sgd(FLAGS.epochs * len(train), FLAGS.lr),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "distill": FLAGS.distill,
        "jit_compile": jit_compile(),
        "verbose": FLAGS.verbose,
        "channel_multiple": 1,
        "seed": seed,
        **parse_options(FLAGS.options),
    }
    began, processor_began = time.time(), time.process_time()
    if len(shares) > 1:
        found = tf_lossprune.compress_frontier(dense, shares, train, **settings)
    else:
        budget = {"macs": shares[0]}
        found = [tf_lossprune.compress(dense, budget, train, **settings)]
    ended, processor_ended = time.time(), time.process_time()
    macs = tf_lossprune.cost(dense)["macs"]
    return {
        "accuracy": {s: common.accuracy(m, images) for s, (m, _) in zip(shares, found)},
        "macs": {s: r.compact["macs"] / macs for s, (_, r) in zip(shares, found)},
        "seconds": ended - began,
        "processor_seconds": processor_ended - processor_began,
        "parts": found[0][1].seconds,
        "began": began,
        "ended": ended,
    }


def cell(shares, seed):
    """What identifies a run in `--out`."""
    found = {name: getattr(FLAGS, name) for name in SETTINGS}
    if FLAGS.data_file:
        found["data_file"] = pathlib.Path(FLAGS.data_file).name
    return {**found, "seed": seed, "shares": shares}


def run_one_after_the_other(missing, out):
    """Runs what is missing for a seed, in this process.

    Args:
        missing: List of `(shares, seed)`.
        out: Path of the file for the results.
    """
    for shares, seed in missing:
        row = {"cell": cell(shares, seed), **run(shares, seed)}
        common.append_line(out, row)
        print(row, flush=True)
        keras.backend.clear_session()


def run_in_turns(missing, out):
    """As `run_one_after_the_other`, in processes of which each has its turns.

    The frontier, which has several shares, alternates with the separate runs.
    """
    prepare(0)  # trains the dense network, if it is missing, before they start
    with tempfile.TemporaryDirectory() as folder:
        lanes = [[], []]
        for shares, seed in missing:
            path = f"{folder}/{len(shares)}-{shares[0]}.jsonl"
            lanes[len(shares) == 1].append((path, command(shares, seed, path)))
        commands = [[command for _, command in lane] for lane in lanes]
        turns = take_turns(commands, [FLAGS.turn, LONGER * FLAGS.turn])
        for lane, own_turns in zip(lanes, turns):
            for (path, _), own in zip(lane, own_turns):
                (row,) = common.read_lines(path)
                row["seconds"] = overlap(own, row["began"], row["ended"])
                row["turn"] = FLAGS.turn
                del row["parts"]  # they count the others' turns as well
                common.append_line(out, row)
                print(row, flush=True)


def command(shares, seed, out):
    """The command line that does one run."""
    given = {name: getattr(FLAGS, name) for name in (*SETTINGS, *UNRECORDED)}
    options = [f"--{k}={v}" for k, v in given.items() if v is not None]
    macs = ",".join(map(str, shares))
    options += [f"--macs={macs}", f"--seeds={seed}", "--turn=0", f"--out={out}"]
    return [sys.executable, "-m", "benchmarks.frontier", "--only", *options]


def time_ratios(rows, name):
    """The frontier's time over that of the separate runs, for each complete seed."""
    ratios = []
    for seed in sorted({row["cell"]["seed"] for row in rows}):
        own = [row for row in rows if row["cell"]["seed"] == seed]
        joint = [r for r in own if len(r["cell"]["shares"]) > 1]
        single = [r for r in own if len(r["cell"]["shares"]) == 1]
        # Times of runs that took turns do not compare with those of others.
        if len({r.get("turn") for r in own}) > 1:
            continue
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
    shares = [float(share) for share in FLAGS.macs]
    wanted = [shares] if FLAGS.only else [shares, *[[share] for share in shares]]
    run_all = run_in_turns if FLAGS.turn else run_one_after_the_other
    for seed in map(int, FLAGS.seeds):
        done = [row["cell"] for row in common.read_lines(FLAGS.out)]
        missing = [(s, seed) for s in wanted if cell(s, seed) not in done]
        if missing:
            run_all(missing, FLAGS.out)
    if not FLAGS.only:
        chosen = cell(None, None)
        rows = common.read_lines(FLAGS.out)
        own = [r for r in rows if {**r["cell"], "seed": None, "shares": None} == chosen]
        print(summary(own))


if __name__ == "__main__":
    define_flags()
    app.run(main)
