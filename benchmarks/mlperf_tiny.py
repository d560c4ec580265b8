r"""MLPerf Tiny's reference networks, dense and pruned, as devices' own tools see them.

The files are `ad01.h5`, `pretrainedResnet.h5`, `str_ww_ref_model.h5` and `vww_96.h5` of
https://github.com/mlcommons/tiny, in the folders `trained_models` of
`benchmark/training/`. They are cut once, by the sizes of their weights. ResNet-8 is
repaired with images, and fine-tuned for `--epochs`.

    python -m benchmarks.mlperf_tiny --folder=mlperf_tiny --cifar10=cifar10.npz
    python -m benchmarks.mlperf_tiny --page=docs/mlperf_tiny.md

A line is written for each network and share; those that are there stay. On a machine
without other work, this measures only the milliseconds of the page anew, and writes it
(in minutes; nothing is trained, since times depend on the widths alone):

    python -m benchmarks.mlperf_tiny --folder=mlperf_tiny --times --alone \
        --page=docs/mlperf_tiny.md
"""

import json
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from benchmarks.mlperf_page import ACCELERATORS, NETWORKS, TIMED, page
from examples import data as datasets
from tf_lossprune import deploy

FLAGS = flags.FLAGS

flags.DEFINE_string("folder", None, "Folder of the four files.")
flags.DEFINE_string("cifar10", None, "File of CIFAR-10, as in `examples.data.load`.")
flags.DEFINE_list("networks", None, "Names of networks; default: all.")
flags.DEFINE_list("shares", "1.0,0.5,0.25", "Shares of the MACs.")
flags.DEFINE_list(
    "by_cycles", "ResNet-8,DS-CNN", "Networks also cut to as many cycles, by cycles."
)
flags.DEFINE_list("cycles", "1.0,0.8", "To how many, as shares of those by MACs.")
flags.DEFINE_integer("epochs", 0, "Of fine-tuning ResNet-8.")
flags.DEFINE_integer("limit", None, "Training images.")
flags.DEFINE_integer("rounds", 9, "Turns in which files are timed.")
flags.DEFINE_string(
    "out", "benchmarks/results/mlperf_tiny.jsonl", "Where lines are added."
)
flags.DEFINE_bool("times", False, "Only time anew the networks that have lines.")
flags.DEFINE_bool("alone", False, "Whether the machine has nothing else to do.")
flags.DEFINE_string("page", None, "Page to write from the lines, and nothing else.")

SAMPLES, BATCH = 512, 64


def load(name):
    """A reference network, a model of Keras 2, as one of Keras 3."""
    import tf_keras

    path = pathlib.Path(FLAGS.folder) / NETWORKS[name][0]
    return deploy.from_tf_keras(tf_keras.models.load_model(path, compile=False))


def pixels(images):
    """Normalised images with values from 0 to 255, as ResNet-8 takes them."""
    images = images * datasets.CIFAR10_DEVIATION + datasets.CIFAR10_MEAN
    return np.rint(255.0 * images).astype("float32")


def pruned(model, limits, data):
    """A network cut to a budget, repaired where there are data."""
    found = tf_lossprune.prune_model(model, limits, method="magnitude")
    if data is None:
        return tf_lossprune.strip_pruning(found)
    x, y = pixels(data.x_train), data.y_train
    compact = tf_lossprune.strip_pruning(found, calibration=x[:SAMPLES])
    if FLAGS.epochs:
        keras.utils.set_random_seed(0)
        steps = FLAGS.epochs * (len(x) // BATCH)
        compact.compile(
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(0.02, steps), 0.9
            ),
            keras.losses.SparseCategoricalCrossentropy(),
            jit_compile=False,
        )
        compact.fit(x, y, batch_size=BATCH, epochs=FLAGS.epochs, verbose=2)
    return compact


def write_files(model, folder, typical):
    """All forms of a network; returns the folder."""
    folder.mkdir()
    if typical is None:
        deploy.convert_to_measure(model, folder / "int8.tflite", "int8")
    else:
        tf_lossprune.to_litert(model, folder / "int8.tflite", "int8", typical)
    tf_lossprune.to_litert(model, folder / "fp32.tflite", representative_data=typical)
    deploy.to_onnx(model, folder / "fp32.onnx", typical)
    deploy.to_openvino(model, folder / "fp32.xml", typical)
    return folder


def accuracy(folder, data):
    """Share of the test images that the two LiteRT files classify correctly."""
    x = pixels(data.x_test)
    return {
        form: float((deploy.run_litert(folder / f"{form}.tflite", x).argmax(-1)
                     == data.y_test).mean())
        for form in ("fp32", "int8")
    }  # fmt: skip


def figures(model, folder, data):
    """What a network costs by all tools but the clock."""
    file = folder / "int8.tflite"
    arena = deploy.micro_arena(file)
    row = {
        **tf_lossprune.cost(model),
        "int8_bytes": file.stat().st_size,
        "tflm_arena_bytes": arena.total,
        "tflm_activations": arena.activations,
        "litert_arena_bytes": deploy.arena_bytes(file),
        "cycles": {a: deploy.npu_estimate(file, a).cycles for a in ACCELERATORS},
    }
    if data is not None:
        row["accuracy"] = accuracy(folder, data)
    return row


def measure(name, shares, data, folder):
    """Rows of a network, one for each share; times are taken in turns."""
    dense, rows, folders = load(name), [], []
    typical = None if data is None else pixels(data.x_train[:256])

    def add(model, **what):
        folders.append(write_files(model, folder / f"{len(rows)}", typical))
        row = {"name": name, **what, **figures(model, folders[-1], data)}
        rows.append({**row, "versions": common.versions()})
        print(row, flush=True)

    for share in shares:
        full = share == 1.0
        model = dense if full else pruned(dense, {"macs": share}, data)
        add(model, share=share, by="macs")
        if not full and name in FLAGS.by_cycles:
            cycles = rows[-1]["cycles"][ACCELERATORS[0]]
            for part in map(float, FLAGS.cycles):
                model = pruned(dense, {"npu_cycles": int(part * cycles)}, data)
                add(model, share=share, by="npu_cycles", of_cycles=part)
    for row, milliseconds in zip(rows, times(folders)):
        row.update(milliseconds)
    return rows


def times(folders):
    """What lines say of the times of networks, whose files are in these folders."""
    found = {
        what: deploy.times_in_turns(
            [place / file for place in folders], rounds=FLAGS.rounds, runtime=runtime
        )
        for what, file, runtime in TIMED
    }
    for index in range(len(folders)):
        yield {
            "milliseconds": {what: float(ms[index]) for what, ms in found.items()},
            "rounds": FLAGS.rounds,
            "alone": FLAGS.alone,
        }


def timed_anew(rows, name, folder):
    """Puts new times into the lines of a network with widths by MACs."""
    found = [row for row in rows if row["name"] == name and row["by"] == "macs"]
    dense, folders = load(name), []
    typical = None
    if name == "ResNet-8":  # takes pixels; with others, quantization has no scale
        shape = (SAMPLES, *dense.input_shape[1:])
        typical = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    for row in found:
        share = row["share"]
        model = dense if share == 1.0 else pruned(dense, {"macs": share}, None)
        if tf_lossprune.cost(model)["macs"] != row["macs"]:
            raise app.UsageError(
                f"Expected the network that was measured before, {name} with "
                f"{row['macs']} MACs; measure it as a whole (another --out)."
            )
        folders.append(write_files(model, folder / f"{len(folders)}", typical))
    for row, milliseconds in zip(found, times(folders)):
        row.update(milliseconds)
        print(name, row["share"], row["milliseconds"], flush=True)


def main(argv):
    """Measures the networks that have no lines yet, or writes the page."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    rows = common.read_lines(FLAGS.out)
    if FLAGS.times:
        for name in FLAGS.networks or NETWORKS:
            with tempfile.TemporaryDirectory() as folder:
                timed_anew(rows, name, pathlib.Path(folder))
            text = "".join(json.dumps(row) + "\n" for row in rows)
            pathlib.Path(FLAGS.out).write_text(text, encoding="utf-8")
    if FLAGS.page:
        pathlib.Path(FLAGS.page).write_text(page(rows), encoding="utf-8")
    if FLAGS.times or FLAGS.page:
        return
    shares = [float(share) for share in FLAGS.shares]
    for name in FLAGS.networks or NETWORKS:
        if any(row["name"] == name for row in rows):
            continue
        data = None
        if name == "ResNet-8" and FLAGS.cifar10:
            data = common.load_data("cifar10", FLAGS.limit, FLAGS.cifar10)
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(name, shares, data, pathlib.Path(folder)):
                settings = {} if data is None else {"epochs": FLAGS.epochs}
                common.append_line(FLAGS.out, {**row, **settings})


if __name__ == "__main__":
    app.run(main)
