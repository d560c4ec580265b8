r"""How much of packages' networks is opened: `python -m benchmarks.opening`.

Small configurations with random weights, of keras-hub, zeromodels or
keras-cv-attention-models: groups, share of the multiply-accumulates outside of opaque
layers, smallest reachable share, largest difference between the network and its opened
copy in inference, and between the gated and the compact network at random widths; what
half of the MACs asked for is in the converted file (`tests/judge.py`); seconds to build
and to open, and what stayed closed.

One JSON line a network; those in `--out` already are not run again. `--table` prints
the lines of a package as a Markdown table.

    python -m benchmarks.opening --zoo=zeromodels
"""

import math
import time
import warnings

import keras
import numpy as np
from absl import app, flags
from keras import tree

import tf_lossprune
from benchmarks import common, hub_networks, zoo_networks
from examples.models import randomize
from tests import judge
from tf_lossprune.differences import relative_error
from tf_lossprune.graph import open_model
from tf_lossprune.surgery import copy_graph
from tf_lossprune.testing import close_at_random

FLAGS = flags.FLAGS
ZOOS = {
    "keras-hub": hub_networks.networks,
    "zeromodels": zoo_networks.zeromodels,
    "keras-cv-attention-models": zoo_networks.attention_models,
}


def with_head(model):
    """A backbone with a classifier, as the outputs of a model always stay."""
    try:
        from keras_hub.models import Backbone
    except ImportError:
        return model
    if not isinstance(model, Backbone):
        return model
    y = model.output
    if isinstance(y, dict):
        y = list(y.values())[-1]
    rank = len(y.shape)
    pool = keras.layers.GlobalAveragePooling2D if rank == 4 else None
    pool = keras.layers.GlobalAveragePooling1D if rank == 3 else pool
    y = pool()(y) if pool else y
    return keras.Model(model.inputs, keras.layers.Dense(10)(y))


def measure(make):
    """Dict, what is told of a network."""
    keras.utils.set_random_seed(0)
    began = time.perf_counter()
    model = with_head(make())
    built = time.perf_counter()
    graph = open_model(model)
    opened = time.perf_counter()
    randomize(model, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tf_lossprune.inspect_model(model, channel_multiple=1)
        row = {
            "groups": len(found.groups),
            "opened": opened_share(found),
            "smallest": found.smallest.get("macs", math.nan),
            "difference": _difference(model, graph),
            "build": built - began,
            "open": opened - built,
            "closed": _closed(graph, found),
        }
        return {**row, **_pruned(model, found)}


def opened_share(found):
    """Share of the MACs that are in layers with rules; NaN: it cannot be counted."""
    if "macs" not in found.cost:
        return math.nan
    return 1 - sum(layer.share["macs"] for layer in found.opaque)


def _closed(graph, found):
    """The reasons, the costliest first."""
    reasons = sorted(found.opaque, key=lambda la: -la.share.get("macs", 0))
    return list(dict.fromkeys([*graph.closed.values(), *(la.reason for la in reasons)]))


def _sample(model):
    rng = np.random.default_rng(0)
    return tree.map_structure(
        lambda t: rng.normal(size=(2, *t.shape[1:])).astype(t.dtype), model.input
    )


def _difference(model, graph):
    """Between the outputs of a network and of its copy, relative to the largest."""
    copy, _ = copy_graph(graph)
    x = _sample(model)
    return relative_error(*(m(x, training=False) for m in (model, copy)))


def _pruned(model, found):
    """What compact networks compute, and what half of the MACs is in a file."""
    share = max(0.5, found.smallest.get("macs", 1.0))
    options = {"method": "uniform", "channel_multiple": 1}
    pruned = tf_lossprune.prune_model(model, {"macs": share}, **options)
    compact = tf_lossprune.strip_pruning(pruned, check=False)
    try:
        in_file = judge.macs(compact) / judge.macs(copy_graph(open_model(model))[0])
    except (judge.ConversionError, ValueError, TypeError):  # it cannot be counted
        in_file = math.nan
    gated = tf_lossprune.prune_model(model, {"macs": 1.0}, **options)
    close_at_random(gated, np.random.default_rng(0))
    compact = tf_lossprune.strip_pruning(gated, check=False)
    x = _sample(model)
    error = relative_error(*(m(x, training=False) for m in (gated, compact)))
    return {"asked": share, "in_file": in_file, "error": error}


def table(rows):
    """The rows as a Markdown table."""
    head = ["network", "groups", "MACs opened", "smallest", "opened - model"]
    head += ["compact - gated", "asked", "in the file", "build s", "open s"]
    cells = [
        [
            *(r["name"].partition("/")[2], r["groups"]),
            *(f"{r[k]:.1%}" for k in ("opened", "smallest")),
            *(f"{r[k]:.0e}" for k in ("difference", "error")),
            *(f"{r[k]:.3f}" for k in ("asked", "in_file")),
            *(f"{r[k]:.1f}" for k in ("build", "open")),
        ]
        for r in rows
    ]
    return common.markdown(head, cells)


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_enum("zoo", "keras-hub", list(ZOOS), "Package.")
    common.define_networks("opening")


def main(argv):
    """Opens the networks of the flags that are not in `--out` yet."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if FLAGS.table:
        rows = common.read_lines(FLAGS.out)
        print(table([r for r in rows if r["name"].startswith(f"{FLAGS.zoo}/")]))
        return
    found = ZOOS[FLAGS.zoo]()
    for name in FLAGS.names or found:
        try:
            common.run_missing(
                [f"{FLAGS.zoo}/{name}"],
                lambda full, name=name: {"name": full, **measure(found[name])},
                FLAGS.out,
            )
        except Exception as error:  # the others are to be told of all the same
            print(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
