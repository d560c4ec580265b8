r"""A vision transformer and a hybrid on CIFAR-10: methods at equal steps.

Each network of `benchmarks.vision_transformers` is trained once; each cell of network,
budget, method and seed prunes it and trains for `--steps` in all, search included, by
AdamW down to zero (cosine), with the dense network as a teacher. Everything is decided
and evaluated on images held out of the training images, which the dense network has
not seen. `benchmarks.peers.transformers` adds Torch-Pruning's lines. Lines that `--out`
has already are not run again.

    python -m benchmarks.transformers --data_file=cifar10.npz --checkpoints=out/vit
    python -m benchmarks.summarize benchmarks/results/transformers.jsonl \
        --where=steps=400 --methods
"""

import itertools
import pathlib
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from benchmarks import vision_transformers as networks
from examples import data as datasets
from examples.flags import parse_budget
from tf_lossprune import methods

FLAGS = flags.FLAGS

#: Images for repair and statistics, where nothing is trained.
SAMPLES = 2048


def define_flags():
    """Defines the flags that the peer's script has as well."""
    flags.DEFINE_string("data_file", None, "File of CIFAR-10.")
    flags.DEFINE_string("checkpoints", "out/vit", "Folder of the dense networks.")
    flags.DEFINE_list("archs", sorted(networks.NETWORKS, reverse=True), "Networks.")
    flags.DEFINE_integer("dense_epochs", 8, "Epochs of the dense networks.")
    flags.DEFINE_list("macs", "0.25,0.125,0.5", "Budgets, shares of the MACs.")
    flags.DEFINE_list("seeds", "0,1,2", "Seeds.")
    flags.DEFINE_integer("steps", 400, "Training steps in all.")
    flags.DEFINE_float("lr", 1e-3, "First learning rate of AdamW.")
    flags.DEFINE_string("out", "benchmarks/results/transformers.jsonl", "The lines.")


def cells(names):
    """The cells of the flags, seeds outermost.

    Args:
        names: Names of the methods.
    """
    grid = itertools.product(map(int, FLAGS.seeds), FLAGS.macs, FLAGS.archs, names)
    for seed, macs, arch, method in grid:
        yield {
            "arch": arch,
            "data": "cifar10",
            "method": method,
            "budget": f"macs={macs}",
            "steps": FLAGS.steps,
            "lr": FLAGS.lr,
            "seed": seed,
        }


def run_all(run, names):
    """Runs the cells that `--out` does not have.

    Args:
        run: Function of a cell, the dense network and the data.
        names: Names of the methods.
    """
    data = datasets.load_cifar10(FLAGS.data_file)
    folder = pathlib.Path(FLAGS.checkpoints)

    def dense(arch):
        path = folder / f"{arch}.keras"
        return networks.dense(arch, path, data, FLAGS.dense_epochs)

    for arch in FLAGS.archs:
        dense(arch)
    for cell in cells(names):
        common.run_once(FLAGS.out, cell, lambda: run(cell, dense(cell["arch"]), data))  # noqa: B023
        keras.backend.clear_session()


def _options(method):
    """Options of `prune_model` for a method's name: `loss`, `loss inner` ..."""
    name, *more = method.split()
    found = {"method": name}
    if "inner" in more:
        found["filters"] = list(networks.INNER)
    if "blocks" in more:
        found["remove_blocks"] = True
    if "unrepaired" in more:
        found["repair"] = None
    if "repaired" in more:
        found["repair"] = "least_squares"
    if "moving" in more:
        found["schedule"] = tf_lossprune.Schedule(frozen_search=False)
    return found


def run(cell, model, data):
    """One cell: the rest of its line."""
    keras.utils.set_random_seed(cell["seed"])
    train = networks.batches(data, cell["seed"], cell["steps"] * networks.BATCH)
    began = time.perf_counter()
    pruned = tf_lossprune.prune_model(
        model,
        parse_budget(cell["budget"]),
        channel_multiple=1,
        distill=networks.TEACHER,
        seed=cell["seed"],
        **_options(cell["method"]),
    )
    if cell["steps"]:
        rate = keras.optimizers.schedules.CosineDecay(cell["lr"], cell["steps"])
        optimizer = keras.optimizers.AdamW(rate, networks.WEIGHT_DECAY)
        common.compile_classifier(pruned, optimizer, jit_compile=False)
        steps, epochs = len(train), -(-cell["steps"] // len(train))
        pruned.fit(train, epochs=epochs, steps_per_epoch=steps, verbose=0)
        compact = tf_lossprune.strip_pruning(pruned)
    else:
        sample = data.x_train[:SAMPLES]
        compact = tf_lossprune.strip_pruning(pruned, calibration=sample)
    seconds = time.perf_counter() - began
    dense, found = tf_lossprune.cost(model), tf_lossprune.cost(compact)
    return {
        "accuracy": {"dense": right(model, data), "final": right(compact, data)},
        "fraction": {name: found[name] / dense[name] for name in dense},
        "seconds": {"total": seconds},
    }


def right(network, data):
    """Share of the held-out images that are classified correctly."""
    found = network.predict(data.x_val, batch_size=500, verbose=0).argmax(-1)
    return float((found == data.y_val).mean())


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    run_all(run, FLAGS.methods)


if __name__ == "__main__":
    define_flags()
    flags.DEFINE_list(
        "methods",
        "loss,taylor,uniform,magnitude,loss inner",
        f"Among {sorted(methods.METHODS)}, each followed by words of its own: inner "
        "(the residual stream keeps its width), blocks (may go), unrepaired, repaired, "
        "moving (weights during the search).",
    )
    app.run(main)
