r"""Pretrained networks that people install: mtcnn's three, pruned and taught anew.

They are subclassed models whose weights come with the package (`pip install mtcnn
joblib lz4`). Each is cut to a share of its multiply-accumulates, repaired, and
fine-tuned against its own dense outputs on crops of pictures: no labels, and no faces
are needed. Half of the crops are some that the dense network takes for a face.

Of each output, the figure is the root mean squared error over the deviation, the mean
of the outputs; and the share of crops on which the dense and the compact network agree
whether there is a face. Both on crops of pictures held out. One JSON line a network
and budget; those in `--out` already are not run again.

    python -m benchmarks.mtcnn --pictures=cifar10.npz
    python -m benchmarks.mtcnn --table
"""

import importlib
import io

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common

FLAGS = flags.FLAGS

#: Each network and the size of the crops that it judges.
SIZES = {"PNet": 12, "RNet": 24, "ONet": 48}
BATCH = 64


def read_pictures(path, split):
    """The pictures of a part of an `.npz` file with compressed ones behind each other.

    Args:
        path: Path of the file; `train_bytes` are the files of the pictures in a row,
            and `train_ends` where each ends.
        split: `"train"` or `"test"`.

    Returns:
        List of uint8 `[height, width, 3]`.
    """
    from PIL import Image

    with np.load(path) as file:
        data, ends = file[f"{split}_bytes"].tobytes(), file[f"{split}_ends"]
    parts = [data[a:b] for a, b in zip([0, *ends], ends)]
    return [np.asarray(Image.open(io.BytesIO(p)).convert("RGB")) for p in parts]


def crops(pictures, size, count, rng):
    """Square parts of any size, scaled to one, as mtcnn takes them: -1 to 1."""
    from PIL import Image

    found = []
    for index in rng.integers(len(pictures), size=count):
        picture = Image.fromarray(pictures[index])
        side = rng.integers(min(picture.size) // 2, min(picture.size) + 1)
        left, top = (rng.integers(n - side + 1) for n in picture.size)
        box = (left, top, left + side, top + side)
        found.append(np.asarray(picture.resize((size, size), box=box)))
    return (np.stack(found).astype("float32") - 127.5) / 128


def outputs(model, x):
    """List of arrays, boxes first; the last says whether there is a face."""
    return [np.reshape(y, (len(x), -1)) for y in model.predict(x, verbose=0)]


def balanced(model, pictures, size, count, rng):
    """As many crops that a network takes for a face as others, in random order."""
    faces, others = [], []
    while len(faces) < count // 2:
        x = crops(pictures, size, 4096, rng)
        face = outputs(model, x)[-1].argmax(-1) == 1
        faces += [*x[face]]
        others += [*x[~face]][: face.sum()]
    x = np.stack(faces[: count // 2] + others[: count // 2])
    return x[rng.permutation(len(x))]


def load(name):
    """One of mtcnn's networks, with its weights."""
    weights = importlib.import_module("mtcnn.utils.tensorflow").load_weights
    module = importlib.import_module(f"mtcnn.network.{name.lower()}")
    model = getattr(module, name)()
    model.build()
    model.set_weights(weights(f"{name.lower()}.lz4"))
    return model


def compare(model, compact, x):
    """How far a compact network's outputs are from those of the dense one."""
    wanted, found = outputs(model, x), outputs(compact, x)
    errors = [
        np.sqrt(np.mean((a - b) ** 2) / np.mean((a - a.mean(0)) ** 2))
        for a, b in zip(wanted, found)
    ]
    same = wanted[-1].argmax(-1) == found[-1].argmax(-1)
    return {"error": float(np.mean(errors)), "agreement": float(np.mean(same))}


def measure(name, share, train, test):
    """Dict, what is told of a network at a budget."""
    keras.utils.set_random_seed(0)
    rng, size, model = np.random.default_rng(0), SIZES[name], load(name)
    x = balanced(model, train, size, FLAGS.crops, rng)
    x_test = balanced(model, test, size, FLAGS.crops // 4, rng)
    options = {
        "method": "uniform",
        "channel_multiple": 1,
        "input_shape": (size, size, 3),
        "distill": False,
    }
    row = {"crops": len(x), "held_out": len(x_test)}
    pruned = tf_lossprune.prune_model(model, {"macs": share}, **options)
    cut = tf_lossprune.strip_pruning(pruned)

    def cost(network):
        return tf_lossprune.cost(network, input_shape=(size, size, 3))["macs"]

    row["macs"] = float(cost(cut) / cost(model))
    row["cut"] = compare(model, cut, x_test)
    repaired = tf_lossprune.strip_pruning(pruned, calibration=x[:512])
    row["repaired"] = compare(model, repaired, x_test)
    steps = FLAGS.epochs * -(-len(x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(FLAGS.lr, steps)
    targets = model.predict(x, verbose=0)
    weights = [float(1 / np.var(y)) for y in targets]  # each counts as much
    pruned.compile(
        keras.optimizers.Adam(rate),
        ["mse"] * len(targets),
        loss_weights=weights,
        jit_compile=False,
    )
    pruned.fit(x, targets, batch_size=BATCH, epochs=FLAGS.epochs, verbose=0)
    tuned = tf_lossprune.strip_pruning(pruned)
    row["fine_tuned"] = compare(model, tuned, x_test)
    return row


def table(rows):
    """The rows as a Markdown table."""
    stages = ("cut", "repaired", "fine_tuned")
    head = ["network", "MACs", *(f"error {s}" for s in stages)]
    head += [f"agreement {s}" for s in stages]
    cells = [
        [
            *r["name"].split("/"),
            *(f"{r[s]['error']:.2f}" for s in stages),
            *(f"{r[s]['agreement']:.1%}" for s in stages),
        ]
        for r in rows
    ]
    return common.markdown([h.replace("_", "-") for h in head], cells)


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("pictures", None, "File of pictures (`read_pictures`).")
    flags.DEFINE_list("names", list(SIZES), "Networks.")
    flags.DEFINE_list("macs", "0.75,0.5", "Budgets, shares of the MACs.")
    flags.DEFINE_integer("crops", 4000, "Crops to train on; to judge by, a quarter.")
    flags.DEFINE_integer("epochs", 30, "Epochs of fine-tuning.")
    flags.DEFINE_float("lr", 1e-3, "First learning rate of Adam.")
    flags.DEFINE_string("out", "benchmarks/results/mtcnn.jsonl", "File of the rows.")
    flags.DEFINE_bool("table", False, "Print the table of --out and end.")


def main(argv):
    """Measures the networks of the flags that are not in `--out` yet."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if not FLAGS.table:
        if not FLAGS.pictures:
            raise app.UsageError("Expected --pictures, a file of pictures.")
        train, test = (read_pictures(FLAGS.pictures, s) for s in ("train", "test"))
        for name in FLAGS.names:
            common.run_missing(
                [f"{name}/{share}" for share in FLAGS.macs],
                lambda full, name=name: {
                    "name": full,
                    **measure(name, float(full.partition("/")[2]), train, test),
                },
                FLAGS.out,
            )
    print(table(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
