r"""A U-Net for street scenes: mean IoU at a share of the MACs.

CamVid at half its resolution, mirrored images added, 11 classes; void is not counted.
The dense network is trained once and kept; each cell of method, budget and seed then
trains for `--epochs` (Adam, cosine to zero, search included), otherwise with the
defaults of `prune_model`. What is evaluated once are the images of `--split`. Lines
that `--out` has already are not run again.

Example:

    python -m benchmarks.segmentation --data_file=camvid.npz \
        --out=benchmarks/results/segmentation.jsonl
    python -m benchmarks.segmentation --table \
        --out=benchmarks/results/segmentation.jsonl

Source of the images: Brostow, Fauqueur, Cipolla, Semantic object classes in video,
Pattern Recognition Letters 2009.
"""

import itertools
import pathlib
import statistics
import time

import keras
import numpy as np
from absl import app, flags
from keras import layers

import tf_lossprune
from benchmarks import common
from examples.image_files import decode_jpeg

FLAGS = flags.FLAGS

flags.DEFINE_string("data_file", None, "CamVid as an .npz file of JPEG images.")
flags.DEFINE_list("methods", "loss,uniform,magnitude", "Methods.")
flags.DEFINE_list("macs", "0.25", "Budgets, shares of the MACs.")
flags.DEFINE_list("seeds", "0,1,2", "Seeds.")
flags.DEFINE_integer("width", 8, "Width of the first convolution.")
flags.DEFINE_integer("dense_epochs", 20, "Epochs of the dense training.")
flags.DEFINE_integer("epochs", 8, "Epochs of a cell.")
flags.DEFINE_float("lr", 1e-3, "First learning rate of Adam.")
flags.DEFINE_enum("split", "val", ["val", "test"], "What is evaluated.")
flags.DEFINE_string("cache", "out/dense", "Folder of the dense network.")
flags.DEFINE_string("out", "out/segmentation.jsonl", "File of the lines.")
flags.DEFINE_bool("table", False, "Only print the table of the lines.")

BATCH, CLASSES, VOID = 8, 11, 11
HEIGHT, WIDTH = 88, 120  # halves three times


def load(split):
    """Images `[n, 88, 120, 3]` in [-1, 1] and classes `[n, 88, 120]` of a split."""
    with np.load(FLAGS.data_file) as file:
        names = (f"{split}_{part}" for part in ("bytes", "ends", "labels"))
        data, ends, labels = (file[name] for name in names)
    images = decode_jpeg(data, ends)[:, : 2 * HEIGHT, : 2 * WIDTH].astype("float32")
    blocks = images.reshape(len(images), HEIGHT, 2, WIDTH, 2, 3)
    labels = labels[:, : 2 * HEIGHT : 2, : 2 * WIDTH : 2]
    return blocks.mean((2, 4)) / 127.5 - 1, labels.astype("int32")


def unet(width):
    """U-Net of three halvings with batch normalisation."""

    def twice(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    inputs = x = keras.Input((HEIGHT, WIDTH, 3))
    skips = []
    for level in range(3):
        x = twice(x, width * 2**level)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = twice(x, width * 8)
    for level in reversed(range(3)):
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        x = layers.Concatenate()([x, skips[level]])
        x = twice(x, width * 2**level)
    return keras.Model(inputs, layers.Conv2D(CLASSES, 1)(x))


def train(model, data, epochs, seed):
    """Trains in place: Adam, cosine to zero."""
    x, y = (np.concatenate([a, a[:, :, ::-1]]) for a in data)
    steps = epochs * -(-len(x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(FLAGS.lr, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=VOID
    )
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=2)


def mean_iou(model, data):
    """Mean over the classes of intersection over union, in percent."""
    x, y = data
    found = model.predict(x, batch_size=BATCH, verbose=0).argmax(-1)
    counted = y != VOID
    pairs = CLASSES * y[counted] + found[counted]
    confusion = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return 100 * float((right / np.maximum(union, 1))[confusion.sum(1) > 0].mean())


def dense_network(data):
    """The dense network, trained at the first call."""
    name = f"unet{FLAGS.width}-camvid-{FLAGS.dense_epochs}.keras"
    path = pathlib.Path(FLAGS.cache) / name
    if not path.exists():
        keras.utils.set_random_seed(0)
        model = unet(FLAGS.width)
        train(model, data, FLAGS.dense_epochs, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return keras.models.load_model(path, compile=False)


def run(cell, data, evaluated):
    """One cell: the rest of its line."""
    model = dense_network(data)
    began = time.perf_counter()
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": cell["macs"]},
        method=cell["method"],
        channel_multiple=1,
        seed=cell["seed"],
    )
    train(pruned, data, cell["epochs"], cell["seed"])
    compact = tf_lossprune.strip_pruning(pruned)
    seconds = time.perf_counter() - began
    macs = tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(model)["macs"]
    return {
        "accuracy": {
            "dense": mean_iou(model, evaluated),
            "final": mean_iou(compact, evaluated),
        },
        "fraction": {"macs": macs},
        "seconds": seconds,
        "versions": common.versions(),
    }


def cells():
    """The cells of the flags, seeds outermost."""
    found = itertools.product(
        map(int, FLAGS.seeds), map(float, FLAGS.macs), FLAGS.methods
    )
    for seed, macs, method in found:
        yield {
            "network": f"unet{FLAGS.width}",
            "dense_epochs": FLAGS.dense_epochs,
            "epochs": FLAGS.epochs,
            "lr": FLAGS.lr,
            "split": FLAGS.split,
            "method": method,
            "macs": macs,
            "seed": seed,
        }


def table(rows):
    """Means over the seeds, a row for each budget and method."""
    found = {}
    for row in rows:
        cell = row["cell"]
        key = cell["split"], cell["macs"], cell["method"]
        found.setdefault(key, []).append(row["accuracy"])
    lines = []
    for (split, macs, method), values in sorted(found.items(), reverse=True):
        final = [value["final"] for value in values]
        spread = f" ± {statistics.stdev(final):.2f}" if len(final) > 1 else ""
        lines.append(
            [
                split,
                f"{macs:g}",
                method,
                f"{values[0]['dense']:.2f}",
                f"{statistics.mean(final):.2f}{spread}",
                len(final),
            ]
        )
    head = ["images", "MACs", "method", "dense mIoU", "mIoU", "seeds"]
    return common.markdown(head, lines)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if not FLAGS.table:
        if not FLAGS.data_file:
            raise app.UsageError("Expected --data_file, CamVid as an .npz file.")
        data, evaluated = load("train"), load(FLAGS.split)
        for cell in cells():
            common.run_once(FLAGS.out, cell, lambda: run(cell, data, evaluated))  # noqa: B023
            keras.backend.clear_session()
    print(table(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    app.run(main)
