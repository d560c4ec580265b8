r"""How analysis, wrapping and stripping grow with the number of layers.

Each is compared with `keras.models.clone_model` of the same network, which has to
visit every layer as well. Times are the best of `--repeats` runs.

Example:

    python -m benchmarks.scale --depths=20,56,110 --out=out/scale.json
"""

import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import models
from examples.flags import parse_budget

FLAGS = flags.FLAGS

flags.DEFINE_list("depths", "20,38,56,74,92,110", "Depths of the ResNets, 6 n + 2.")
flags.DEFINE_integer("width", 4, "Width of the first convolution.")
flags.DEFINE_integer("size", 28, "Height and width of the images.")
flags.DEFINE_string("budget", "macs=0.5", "Budget of the wrapped network.")
flags.DEFINE_integer("repeats", 3, "Runs of which the best counts.")
flags.DEFINE_string("out", None, "Where the figures go (.json).")

_PARTS = ("clone", "inspect", "wrap", "strip")


def best(function):
    """Calls the function `--repeats` times: `(best seconds, last result)`."""
    seconds = []
    for _ in range(FLAGS.repeats):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def strip(pruned):
    """Chooses the widths and takes out the compact network, check included."""
    pruned.decide()
    return tf_lossprune.strip_pruning(pruned)


def measure(depth):
    """Seconds of each part for the ResNet of that depth."""
    shape = (FLAGS.size, FLAGS.size, 1)
    model = models.resnet(depth, input_shape=shape, width=FLAGS.width)
    budget = parse_budget(FLAGS.budget)
    row = {"depth": depth, "layers": len(model.layers)}
    row["clone"], _ = best(lambda: keras.models.clone_model(model))
    row["inspect"], found = best(lambda: tf_lossprune.inspect_model(model))
    row["wrap"], pruned = best(lambda: tf_lossprune.prune_model(model, budget))
    row["strip"], _ = best(lambda: strip(pruned))
    row["groups"] = len(found.groups)
    return row


def table(rows):
    """The rows as a Markdown table: seconds, and times the clone's."""
    head = ["depth", "layers", "groups", "clone s"]
    head += [f"{part} s (x clone)" for part in _PARTS[1:]]
    lines = []
    for row in rows:
        cells = [str(row[name]) for name in ("depth", "layers", "groups")]
        cells.append(f"{row['clone']:.3f}")
        for part in _PARTS[1:]:
            cells.append(f"{row[part]:.3f} ({row[part] / row['clone']:.1f})")
        lines.append(cells)
    return common.markdown(head, lines)


def main(argv):
    """Measures every depth and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    rows = []
    for depth in FLAGS.depths:
        rows.append(measure(int(depth)))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
        keras.backend.clear_session()
    print(table(rows))
    if FLAGS.out:
        common.write_json(FLAGS.out, {"rows": rows, "versions": common.versions()})


if __name__ == "__main__":
    app.run(main)
