r"""A budget in milliseconds against a budget of MACs, at equal measured time.

Each cell is a trained network, a precision and a share of its dense time in LiteRT (one
thread). It trains two networks for `--steps` (search included, Adam, cosine to zero),
otherwise with the defaults of `prune_model`:

- `macs`: a budget of MACs, those at which uniform widths take that share of the time,
  interpolated between networks that are timed in turns with the dense one (the
  smallest of them where none is as fast);
- `latency_ms`: a budget of the milliseconds that the former's file takes, measured.

So neither has to be trained twice to be as fast as the other, and what the second
leaves of its budget counts against it. As far as the method's widths are slower or
faster than uniform ones, the time that is asked for differs from the share aimed at.
Accuracy is that of the files, on the test images.

`--phase=dense` trains the dense networks, and may run beside other work.
`--phase=train` runs the cells, on an idle machine: budgets in milliseconds measure it.
`--phase=time`, another process, waits until `--pause` seconds have gone by and times
the files of `--folder` anew. Cells and times that `--out` has are not made again.

Example:

    python -m benchmarks.equal_time --data_file=cifar10.npz --phase=train
    python -m benchmarks.equal_time --phase=time
"""

import itertools
import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples.flags import define_data_flags
from tf_lossprune import deploy

FLAGS = flags.FLAGS

#: Shares of the MACs whose networks are timed, of uniform widths.
TIMED = (0.6, 0.35, 0.2, 0.12)
#: First learning rate of Adam; turns of a timing; images for the ranges of int8.
RATE, ROUNDS, CALIBRATION = 1e-3, 21, 256
ARMS = ("macs", "latency_ms")


def define_flags():
    """Defines the flags of this script."""
    define_data_flags("cifar10")
    networks = ["resnet20:16", "mobilenet_v1:16", "mobilenet_v2:16"]
    flags.DEFINE_list("archs", networks, "Networks, each with its width: name:width.")
    flags.DEFINE_list("precisions", ["fp32", "int8"], "Precisions of to_litert.")
    flags.DEFINE_list("shares", ["0.5", "0.25"], "Shares of the dense time aimed at.")
    flags.DEFINE_list("seeds", ["0"], "Seeds.")
    flags.DEFINE_integer("steps", 300, "Training steps in all.")
    flags.DEFINE_integer("dense_epochs", 6, "Epochs of the dense networks.")
    flags.DEFINE_integer("limit", None, "Images in each split, for quick tries.")
    flags.DEFINE_string("folder", "out/equal_time", "Dense networks, and files.")
    flags.DEFINE_float("pause", 600, "Seconds before the files are timed anew.")
    flags.DEFINE_enum("phase", "train", ["dense", "train", "time"], "What to do.")
    flags.DEFINE_string("out", "out/equal_time.jsonl", "File of the lines.")
    flags.DEFINE_bool("table", False, "Only print the table of the lines.")


def cells():
    """The cells of the flags, those of a network and precision behind one another."""
    same = {name: FLAGS[name].value for name in ("dense_epochs", "limit", "steps")}
    grid = itertools.product(FLAGS.seeds, FLAGS.precisions, FLAGS.archs, FLAGS.shares)
    for seed, precision, arch, share in grid:
        cell = {"arch": arch, "precision": precision, "share": float(share)}
        yield {"data": FLAGS.data, **cell, **same, "seed": int(seed)}


def load_dense(network, data):
    """The trained network `name:width`."""
    arch, _, width = network.partition(":")
    settings = {"path": FLAGS.data_file, "limit": FLAGS.limit, "jit_compile": False}
    return common.cached_dense(
        FLAGS.folder, arch, data, FLAGS.dense_epochs, width=int(width), **settings
    )


def uniform_times(dense, precision):
    """Times of networks of uniform widths at `TIMED`, as shares of the dense one's."""
    networks = [dense]
    for share in TIMED:
        pruned = tf_lossprune.prune_model(dense, {"macs": share}, method="uniform")
        networks.append(tf_lossprune.strip_pruning(pruned, check=False))
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{index}.tflite" for index in range(len(networks))]
        for network, path in zip(networks, paths):
            deploy.LitertMeasurer().convert_operation(network, path, precision)
        dense_ms, *times = deploy.times_in_turns(paths, rounds=ROUNDS)
    return [ms / dense_ms for ms in times]


def macs_for(share, times, timed):
    """The share of the MACs that takes a share of the time, as `timed` ones do."""
    # A smaller network is not slower: what says so is noise.
    return float(np.interp(share, sorted([*times, 1.0]), sorted([*timed, 1.0])))


def trained(dense, budget, cell, data):
    """The compact network, what it cost to get it, and how often it was cut again."""
    keras.utils.set_random_seed(cell["seed"])
    began, images = time.perf_counter(), (data.x_train, data.y_train)
    pruned = tf_lossprune.prune_model(dense, budget, seed=cell["seed"])
    common.fine_tune(pruned, images, cell["steps"], RATE, cell["seed"], logits=True)
    compact = tf_lossprune.strip_pruning(pruned)
    return compact, {
        "recuts": pruned.recuts,
        "macs": tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(dense)["macs"],
        "seconds": time.perf_counter() - began,
    }


def path_of(cell, name):
    """Where the file of a cell's network is: `dense` or one of `ARMS`."""
    text = "-".join(map(str, [*cell.values(), name])).replace(":", "-")
    return str(pathlib.Path(FLAGS.folder, f"{text}.tflite"))


def written(network, cell, name, data):
    """Writes a network's file; its accuracy in percent."""
    sample = data.x_train[:CALIBRATION]
    path = deploy.to_litert(network, path_of(cell, name), cell["precision"], sample)
    found = deploy.run_litert(path, data.x_test).argmax(-1)
    return 100 * float((found == data.y_test).mean())


def milliseconds(cell, names=("dense", *ARMS)):
    """Milliseconds of a cell's files, timed in turns."""
    paths = [path_of(cell, name) for name in names]
    return dict(zip(names, deploy.times_in_turns(paths, rounds=ROUNDS)))


def run(cell, data, kept):
    """One cell: the rest of its line; `kept` are the `uniform_times` known so far."""
    key = cell["arch"], cell["precision"]
    dense = load_dense(cell["arch"], data)
    if key not in kept:
        kept[key] = uniform_times(dense, cell["precision"])
    asked, arms = {"macs": macs_for(cell["share"], kept[key], TIMED)}, {}
    accuracy = {"dense": written(dense, cell, "dense", data)}
    latency = tf_lossprune.resources.Latency(precision=cell["precision"])
    for name in ARMS:
        budget = tf_lossprune.Budget({name: asked[name]}, resources=[latency])
        compact, arms[name] = trained(dense, budget, cell, data)
        accuracy[name] = written(compact, cell, name, data)
        if name == "macs":
            ms = milliseconds(cell, ("dense", "macs"))
            asked["latency_ms"] = ms["macs"] / ms["dense"]
    return {
        "asked": asked,
        "accuracy": accuracy,
        "fraction": {name: arms[name]["macs"] for name in ARMS},
        "arms": arms,
        "ms": milliseconds(cell),
        "ended": time.time(),
        "device": deploy.this_device(),
        "versions": common.versions(),
    }


def run_cell(cell, data, kept):
    """Runs a cell that `--out` has no line of, if its budget can be met."""
    try:
        common.run_once(FLAGS.out, cell, lambda: run(cell, data, kept))
    except tf_lossprune.InfeasibleBudgetError as error:
        print(f"{cell}: {error}")
    keras.backend.clear_session()


def time_anew():
    """Times the files of the cells that are not timed anew yet, after the pause."""
    rows = common.read_lines(FLAGS.out)
    done = [row["anew"] for row in rows if "anew" in row]
    for row in rows:
        if "anew" in row or row["cell"] in done:
            continue
        time.sleep(max(0.0, row["ended"] + FLAGS.pause - time.time()))
        line = {"anew": row["cell"], "ms": milliseconds(row["cell"])}
        common.append_line(FLAGS.out, {**line, "pause": time.time() - row["ended"]})


def of_asked(row, ms):
    """The time that was delivered over that asked for, both in the dense network's."""
    return ms["latency_ms"] / ms["dense"] / row["asked"]["latency_ms"]


def table(rows):
    """The table of the cells, and what they say in the mean."""
    anew = [(row["anew"], row["ms"]) for row in rows if "anew" in row]
    rows = [row for row in rows if "anew" not in row]
    lines, gains, later = [], [], []
    for row in rows:
        cell, found = row["cell"], row["accuracy"]
        again = [of_asked(row, ms) for timed, ms in anew if timed == cell]
        gains.append(found["latency_ms"] - found["macs"])
        later += again
        shares = [row["asked"]["latency_ms"], *(row["fraction"][name] for name in ARMS)]
        percents = [f"{found[name]:.2f}" for name in ("dense", *ARMS)]
        shown = [f"{share:.3f}" for share in (*shares, of_asked(row, row["ms"]))]
        shown = [*percents, *shown, ", ".join(f"{share:.3f}" for share in again)]
        ms = f"{row['ms']['dense']:.3f}"
        lines.append([cell["arch"], cell["precision"], ms, *shown])
    head = ["network", "precision", "dense ms", "dense %", "by MACs %", "by time %"]
    head += ["time asked", "MACs", "MACs, by time", "delivered", "timed anew"]
    text = common.markdown(head, lines)
    if gains:
        text += f"\n\nBy time over by MACs: {_mean(gains)} points."
    if later:
        kept = sum(0.9 <= share <= 1.0 for share in later)
        text += f" Anew in 0.9 to 1.0 of the time: {kept} of {len(later)}."
    return text


def _mean(values):
    text = f"{statistics.fmean(values):+.2f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values) / len(values) ** 0.5:.2f}"
    return text


def main(argv):
    """Does what `--phase` says, and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if FLAGS.phase == "time" and not FLAGS.table:
        time_anew()
    elif not FLAGS.table:
        data = common.load_data(FLAGS.data, FLAGS.limit, FLAGS.data_file)
        if FLAGS.phase == "dense":
            for network in FLAGS.archs:
                load_dense(network, data)
        else:
            kept = {}
            for cell in cells():
                run_cell(cell, data, kept)
    print(table(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
