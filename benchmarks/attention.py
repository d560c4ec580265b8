"""How far networks with attention can be cut: `python -m benchmarks.attention`.

Small configurations with random weights (or those named behind), one line each: groups,
share of the multiply-accumulates in layers with rules, smallest reachable share, the
largest difference between gated and compact models over the largest output, how many
blocks can go and that difference without every second one of them, and what holds
channels back. Of keras-hub and, where it is installed, zeromodels.
"""

import collections
import sys
import warnings

import keras
import numpy as np

import tf_lossprune
from benchmarks import common
from benchmarks.hub_networks import networks
from benchmarks.opening import opened_share, with_head
from benchmarks.zoo_networks import zeromodels
from examples.models import randomize
from tf_lossprune.testing import close_at_random

#: Those of `benchmarks.hub_networks` with attention.
HUB = ("ViT", "MiT", "Swin", "SegFormer")
CUTS = 2


def keras_hub():
    """Dict, name -> function that builds a network."""
    found = networks()
    return {f"keras-hub {name}": _headed(found[name]) for name in HUB}


def _headed(make):
    return lambda: with_head(make())


def measure(make):
    """Dict, what is told of a network."""
    keras.utils.set_random_seed(0)
    model = make()
    randomize(model, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tf_lossprune.inspect_model(model, channel_multiple=1)
        pruned = tf_lossprune.prune_model(
            model, {"macs": 1.0}, method="uniform", channel_multiple=1
        )
    rng, errors = np.random.default_rng(0), []
    x = rng.normal(size=(2, *model.input_shape[1:])).astype("float32")
    for _ in range(CUTS):
        close_at_random(pruned, rng)
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        gated = np.asarray(pruned(x, training=False))
        error = np.abs(np.asarray(compact(x, training=False)) - gated)
        errors.append(error.max() / np.abs(gated).max())
    blocks = tf_lossprune.inspect_model(model, channel_multiple=1, remove_blocks=True)
    return {
        "blocks": len(blocks.blocks),
        "without": without_blocks(model, blocks.blocks[::2], x),
        "groups": len(found.groups),
        "opened": opened_share(found),
        "smallest": found.smallest.get("macs", 1.0),
        "error": max(errors),
        "held": held_back(found),
    }


def without_blocks(model, gone, x):
    """The difference when these `InspectedBlock`s are removed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = tf_lossprune.prune_model(
            model,
            {"macs": 1.0},
            method="uniform",
            channel_multiple=1,
            remove_blocks=True,
            widths={group: 0 for block in gone for group in block.groups},
        )
    compact = tf_lossprune.strip_pruning(pruned, check=False)
    gated = np.asarray(pruned(x, training=False))
    error = np.abs(np.asarray(compact(x, training=False)) - gated)
    return error.max() / np.abs(gated).max()


def held_back(found):
    """The reasons why layers are frozen, the most frequent ones first."""
    reasons = [reason for _, reason in found.frozen if "model output" not in reason]
    plain = [reason.partition(" (")[0] for reason in reasons]
    counts = collections.Counter(plain).most_common(3)
    return "; ".join(f"{reason} ({count})" for reason, count in counts)


def main(names):
    head = ["network", "groups", "MACs opened", "smallest", "error", "blocks"]
    print(common.markdown([*head, "without half of them", "held back by"], []))
    found = {
        **keras_hub(),
        **{f"zeromodels {k}": v for k, v in zeromodels().items()},
    }
    for name, make in found.items():
        if names and not any(part in name for part in names):
            continue
        try:
            row = measure(make)
        except Exception as error:  # the next one may work
            print(f"| {name} | {' '.join(str(error).split())[:300]} |", flush=True)
            continue
        print(
            f"| {name} | {row['groups']} | {row['opened']:.1%} | {row['smallest']:.1%} "
            f"| {row['error']:.0e} | {row['blocks']} | {row['without']:.0e} "
            f"| {row['held']} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
