"""How much of keras-hub's networks is opened: `python -m benchmarks.opening`.

Small configurations with random weights, backbones and tasks (or those named behind),
one line each: groups, share of the multiply-accumulates outside of opaque layers,
smallest reachable share, largest difference between the network and its opened copy in
inference, seconds to build and to open, and what stayed closed.
"""

import math
import sys
import time
import warnings

import keras
import numpy as np
from keras import tree

import tf_lossprune
from benchmarks.hub_networks import networks
from tf_lossprune.differences import relative_error
from tf_lossprune.graph import open_model
from tf_lossprune.surgery import copy_graph


def with_head(model):
    """A backbone with a classifier, as the outputs of a model always stay."""
    import keras_hub.models as hub

    if not isinstance(model, hub.Backbone):
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
    began = time.perf_counter()
    model = with_head(make())
    built = time.perf_counter()
    graph = open_model(model)
    opened = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tf_lossprune.inspect_model(model, channel_multiple=1)
    return {
        "groups": len(found.groups),
        "opened": opened_share(found),
        "smallest": found.smallest.get("macs", math.nan),
        "difference": _difference(model, graph),
        "build": built - began,
        "open": opened - built,
        "closed": _closed(graph, found),
    }


def opened_share(found):
    """Share of the MACs that are in layers with rules; NaN: it cannot be counted."""
    if "macs" not in found.cost:
        return math.nan
    return 1 - sum(layer.share["macs"] for layer in found.opaque)


def _closed(graph, found):
    """The reasons, the costliest first."""
    reasons = sorted(found.opaque, key=lambda la: -la.share.get("macs", 0))
    return list(dict.fromkeys([*graph.closed.values(), *(la.reason for la in reasons)]))


def _difference(model, graph):
    """Between the outputs of a network and of its copy, relative to the largest."""
    copy, _ = copy_graph(graph)
    rng = np.random.default_rng(0)
    x = tree.map_structure(
        lambda t: rng.normal(size=(2, *t.shape[1:])).astype(t.dtype), model.input
    )
    return relative_error(*(m(x, training=False) for m in (model, copy)))


def main(names):
    print(
        "| network | groups | MACs opened | smallest | difference | build s | open s "
        "| closed |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, make in networks().items():
        if names and name not in names:
            continue
        try:
            row = measure(make)
        except Exception as error:  # the others are to be told of all the same
            print(f"| {name} | {type(error).__name__}: {str(error)[:200]!r} |")
            continue
        print(
            f"| {name} | {row['groups']} | {row['opened']:.1%} | {row['smallest']:.1%} "
            f"| {row['difference']:.0e} | {row['build']:.1f} | {row['open']:.1f} "
            f"| {'; '.join(row['closed'])} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
