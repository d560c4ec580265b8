r"""Prunes every network of `keras.applications` to half its MACs and checks it.

For each network, with random weights and random BN statistics: the one-shot
magnitude method, strip, then

- the compact network computes what the gated one does (largest relative difference),
- TensorFlow's profiler counts both networks (convolutions and matrix products),
- only stock layers are left: the file loads in a process without tf_lossprune,
- LiteRT gives the same output,
- seconds for pruning and stripping, also as a multiple of `clone_model`, and how much
  memory the process took for it at most, as a multiple of the network's weights.

One JSON line a network; those in `--out` already are not run again.
`python -m benchmarks.zoo --table` prints the lines as a Markdown table.

    python -m benchmarks.zoo --names=MobileNetV2,ResNet50
"""

import gc
import pathlib
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from benchmarks.process_memory import forget_peak, peak_memory
from examples import models
from tf_lossprune.deploy import run_litert

FLAGS = flags.FLAGS

#: Constructors, with the smallest square input that suits all their stages; those
#: that are not here take 64.
INPUT_SIZES = {
    "InceptionResNetV2": 96,
    "InceptionV3": 96,
    "Xception": 96,
    "NASNetLarge": 96,
}
#: Their outputs are compared, and LiteRT run; of the others only the structure.
LARGE = {
    "ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetB7", "EfficientNetV2L",
    "NASNetLarge",
}  # fmt: skip
PROFILED = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "Conv2DBackpropInput")


def constructors():
    """Dict, name -> constructor, of all networks of `keras.applications`."""
    found = {
        name: value
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    }
    return dict(sorted(found.items()))


def build(name, seed=0):
    """A network with random weights and random BN statistics.

    Args:
        name: Name of its constructor.
        seed: Seed of the weights.

    Returns:
        A `keras.Model` for square RGB images.
    """
    constructor = constructors()[name]
    size = INPUT_SIZES.get(name, 64)
    options = {"weights": None, "classes": 10, "classifier_activation": None}
    # Some constructors only take their default size with a top of their own.
    try:
        model = constructor(input_shape=(size, size, 3), **options)
    except ValueError:
        model = constructor(input_shape=(224, 224, 3), **options)
    models.randomize(model, seed)
    return model


def profiled_macs(model):
    """MACs of convolutions and matrix products as TensorFlow's profiler counts."""
    import tensorflow as tf

    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda x: model(x, training=False))
    graph = function.get_concrete_function(tf.TensorSpec(shape)).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    options["account_type_regexes"] = list(PROFILED)
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    found = {}
    _collect(profile, found)
    return sum(v for k, v in found.items() if k in PROFILED) // 2


def _collect(node, found):
    for child in node.children:
        found[child.name] = child.float_ops
        _collect(child, found)


def relative(expected, actual):
    """Largest difference, relative to the largest expected value."""
    expected, actual = (np.asarray(a, np.float64) for a in (expected, actual))
    return float(np.abs(expected - actual).max() / np.abs(expected).max())


def check(name):
    """Prunes one network and measures everything the table shows.

    Args:
        name: Name of its constructor.

    Returns:
        A dict; see the module's text.
    """
    model = build(name)
    started = time.perf_counter()
    keras.models.clone_model(model)
    cloned = time.perf_counter()
    gc.collect()
    forgotten = forget_peak()
    held = peak_memory()
    began = time.perf_counter()
    pruned = tf_lossprune.prune_model(
        model, {"macs": 0.5}, method="magnitude", channel_multiple=1
    )
    wrapped = time.perf_counter()
    compact = tf_lossprune.strip_pruning(pruned, check=False)
    stripped = time.perf_counter()
    taken = 2**20 * (peak_memory() - held)
    before, after = (tf_lossprune.cost(m) for m in (model, compact))
    kept = list(pruned.kept_channels().values())
    row = {
        "name": name,
        "layers": len(model.layers),
        "groups": len(kept),
        "at_minimum": sum(k <= 1 for k, _ in kept),
        "frozen_share": frozen_share(pruned),
        "ratio": after["macs"] / before["macs"],
        "params_ratio": after["params"] / before["params"],
        "stock": all(type(la).__module__.startswith("keras.") for la in compact.layers),
        "seconds": {
            "clone": cloned - started,
            "prune": wrapped - began,
            "strip": stripped - wrapped,
        },
    }
    if forgotten:  # else the peak may be an earlier one
        row["memory"] = taken / sum(w.nbytes for w in model.get_weights())
    if name not in LARGE:
        row.update(compare(model, pruned, compact))
    return row


def frozen_share(pruned):
    """Share of the dense MACs in layers none of whose channels can go."""
    terms = pruned.costs["macs"]
    sizes = [group.size for group in pruned.groups]
    smallest = np.zeros(len(sizes))
    dense, least = terms.per_layer(sizes), terms.per_layer(smallest)
    stuck = sum(dense[layer] for layer in dense if dense[layer] == least[layer])
    return stuck / sum(dense.values())


def compare(model, pruned, compact):
    """Compares outputs and profiled MACs; runs the compact network in LiteRT."""
    shape = (2, *model.input_shape[1:])
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    expected = pruned(x, training=False)
    actual = np.asarray(compact(x, training=False))
    with tempfile.TemporaryDirectory() as folder:
        loaded = run_alone(compact, x, pathlib.Path(folder))
        path = pathlib.Path(folder) / "compact.tflite"
        tf_lossprune.to_litert(compact, path)
        output = run_litert(path, x[:1])
    return {
        "error": relative(expected, actual),
        "loaded_error": relative(actual, loaded),
        "profiled_ratio": profiled_macs(compact) / profiled_macs(model),
        "litert_error": relative(actual[:1], output),
    }


#: Loads a network without tf_lossprune and runs it.
ALONE = """
import sys, keras, numpy
x, model = numpy.load(sys.argv[2]), keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], numpy.asarray(model(x, training=False)))
assert "tf_lossprune" not in sys.modules
"""


def run_alone(model, x, folder):
    """The output of a network that another process loads from a file."""
    paths = [folder / name for name in ("compact.keras", "x.npy", "y.npy")]
    model.save(paths[0])
    np.save(paths[1], x)
    command = [sys.executable, "-c", ALONE, *map(str, paths)]
    subprocess.run(command, check=True, cwd=folder)
    return np.load(paths[2])


def table(rows):
    """The rows as a Markdown table."""
    head = ["network", "layers", "groups", "at minimum", "frozen MACs", "MACs"]
    head += ["by the profiler", "compact - gated", "LiteRT", "prune s", "strip s"]
    head += ["of clone_model", "memory"]
    lines = []
    for row in sorted(rows, key=lambda r: r["name"]):
        seconds = row["seconds"]
        work = seconds["prune"] + seconds["strip"]
        cells = [row["name"], row["layers"], row["groups"], row["at_minimum"]]
        cells += [f"{row['frozen_share']:.1%}", f"{row['ratio']:.4f}"]
        optional = (
            ("profiled_ratio", "{:.4f}"),
            ("error", "{:.0e}"),
            ("litert_error", "{:.0e}"),
        )
        cells += [f.format(row[k]) if k in row else "" for k, f in optional]
        cells += [f"{seconds['prune']:.1f}", f"{seconds['strip']:.1f}"]
        cells += [f"{work / seconds['clone']:.1f}x"]
        cells += [f"{row['memory']:.1f}x" if "memory" in row else ""]
        lines.append(cells)
    return common.markdown(head, lines)


def main(argv):
    """Checks the networks of the flags that are not in `--out` yet."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if FLAGS.table:
        print(table(common.read_lines(FLAGS.out)))
        return
    common.run_missing(FLAGS.names or constructors(), check, FLAGS.out)


if __name__ == "__main__":
    common.define_networks("zoo")
    app.run(main)
