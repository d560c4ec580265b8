r"""Measured speed of dense and compact networks in LiteRT.

Random weights and uniform widths: the speed depends on the shapes alone. Each
compact file is timed in turns with its dense one, so that a busy machine slows
both. `of promised` is the speed-up as a share of the reduction of the MACs, the last
column how far the compact file's outputs are from the Keras model's (root mean square,
relative; in int8 with ranges of random inputs).

Example:

    python -m benchmarks.latency --arch=resnet20,resnet50 --out=out/latency.jsonl
"""

import itertools
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common, networks
from examples import models
from tf_lossprune.deploy import (
    convert_to_measure,
    litert_error,
    this_device,
    times_in_turns,
)

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "arch",
    "resnet20,mobilenet_v1,mobilenet_v2,resnet50",
    "Of benchmarks/networks.py, or resnet50, at 224.",
)
flags.DEFINE_integer("resnet20_size", 28, "Height and width of resnet20's images.")
flags.DEFINE_integer("width", None, "Width of the first layer; unset: the network's.")
flags.DEFINE_list("shares", "0.5,0.25", "Shares of the dense MACs.")
flags.DEFINE_list("precisions", "fp32,fp16,int8", "Precisions of to_litert.")
flags.DEFINE_list("threads", "1,2", "Threads of the runtime.")
flags.DEFINE_list("multiples", "auto,1", "Values of channel_multiple.")
flags.DEFINE_integer("rounds", 15, "Turns; the medians count.")
flags.DEFINE_string("out", "out/latency.jsonl", "File the JSON lines go to.")


#: Of CIFAR-10's size.
SMALL = ("vit", "hybrid")
SAMPLES = 8
HEAD = ["network", "MACs", "multiple", "precision", "threads", "dense ms"]
HEAD += ["compact ms", "fewer MACs", "speed-up", "of promised", "error"]


def size_of(arch):
    """Height and width of the images."""
    sizes = {"resnet20": FLAGS.resnet20_size, "resnet50": 224}
    return sizes.get(arch, 32 if arch in SMALL else 96)


def width_of(row):
    """The flag `--width` of a row; older ones do not have it."""
    width = row.get("width", "own")
    return None if width == "own" else width


def build(arch):
    """The network at that size; ResNet-20 of 28 pixels is Fashion-MNIST's."""
    keras.utils.set_random_seed(0)
    size = size_of(arch)
    if arch == "resnet50":
        model = keras.applications.ResNet50(weights=None, classifier_activation=None)
    else:
        model = networks.build(
            arch, (size, size, 1 if size == 28 else 3), width=FLAGS.width
        )
    models.randomize(model, 0)
    return model


def disagreement(model, path):
    """How far a file's outputs are from its model's for random images."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(SAMPLES, *model.input_shape[1:])).astype("float32")
    return litert_error(model, path, images)


def measure(arch, folder, done):
    """Yields a row for each setting that is not in `done`."""
    settings = list(itertools.product(FLAGS.shares, FLAGS.multiples))
    case = arch, size_of(arch), FLAGS.width
    open_settings = [
        (share, multiple, precision, threads)
        for share, multiple in settings
        for precision in FLAGS.precisions
        for threads in FLAGS.threads
        if (*case, share, multiple, precision, threads) not in done
    ]
    if not open_settings:
        return
    model = build(arch)
    compacts = {
        (share, multiple): tf_lossprune.strip_pruning(
            tf_lossprune.prune_model(
                model,
                {"macs": float(share)},
                method="uniform",
                channel_multiple=common.channel_multiple(multiple),
            ),
            check=False,
        )
        for share, multiple in settings
    }
    dense_macs = tf_lossprune.cost(model)["macs"]
    for precision in FLAGS.precisions:
        paths = [
            convert_to_measure(network, str(folder / f"{index}.tflite"), precision)
            for index, network in enumerate([model, *compacts.values()])
        ]
        errors = [disagreement(*pair) for pair in zip(compacts.values(), paths[1:])]
        for threads in FLAGS.threads:
            dense_ms, *times = times_in_turns(paths, int(threads), FLAGS.rounds)
            for (share, multiple), time, error in zip(compacts, times, errors):
                if (share, multiple, precision, threads) not in open_settings:
                    continue
                macs = tf_lossprune.cost(compacts[share, multiple])["macs"]
                yield {
                    "arch": arch,
                    "size": size_of(arch),
                    "width": FLAGS.width or "own",
                    "share": share,
                    "multiple": multiple,
                    "precision": precision,
                    "threads": threads,
                    "macs_ratio": dense_macs / macs,
                    "dense_ms": dense_ms,
                    "compact_ms": time,
                    "speed_up": dense_ms / time,
                    "of_promised": dense_ms / time / (dense_macs / macs),
                    "error": error,
                    "device": this_device(),
                }


def line(row):
    """A row of the table."""
    error = f"{row['error']:.0e}" if "error" in row else ""
    return (
        f"| {row['arch']} | {row['share']} | {row['multiple']} | {row['precision']} | "
        f"{row['threads']} | {row['dense_ms']:.3f} | {row['compact_ms']:.3f} | "
        f"{row['macs_ratio']:.2f} | {row['speed_up']:.2f} | {row['of_promised']:.2f} | "
        f"{error} |"
    )


def main(argv):
    """Measures what is not in `--out` yet, and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    keys = ("share", "multiple", "precision", "threads")
    done = {
        (row["arch"], row["size"], width_of(row), *(row[key] for key in keys))
        for row in common.read_lines(FLAGS.out)
    }
    with tempfile.TemporaryDirectory() as folder:
        for arch in FLAGS.arch:
            for row in measure(arch, pathlib.Path(folder), done):
                common.append_line(FLAGS.out, row)
                print(line(row), flush=True)
    print(common.markdown(HEAD, []))
    for row in common.read_lines(FLAGS.out):
        print(line(row))


if __name__ == "__main__":
    app.run(main)
