r"""How much of a MACs budget the delivered networks use.

Random budgets between the smallest reachable and all of the MACs, for several
architectures; each network is pruned in one shot, stripped, and its MACs are counted
on what is delivered. Widths are whole channels, or multiples of `channel_multiple`, so
that a little stays unused; printed is how much.

Example:

    python -m benchmarks.tightness --out=out/tightness.json
"""

import random

import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import models

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "arch",
    "resnet20,vgg16_bn,mobilenet_v1,mobilenet_v2,densenet_small,squeeze_excite_net",
    "Networks of examples/models.py.",
)
flags.DEFINE_list("multiples", "1,4,8,auto", "Values of channel_multiple.")
flags.DEFINE_integer("cases", 10, "Budgets for each network and multiple.")
flags.DEFINE_integer("seed", 0, "Seed of weights and budgets.")
flags.DEFINE_string("out", None, "Where the figures go (.json).")


def used_share(model, share, multiple, method):
    """MACs of the delivered network, as a share of what `share` allows."""
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": share},
        method=method,
        channel_multiple=multiple if multiple == "auto" else int(multiple),
    )
    compact = tf_lossprune.strip_pruning(pruned, check=False)
    allowed = share * tf_lossprune.cost(model)["macs"]
    return tf_lossprune.cost(compact)["macs"] / allowed


def smallest_share(model, multiple):
    """The smallest share of the MACs that can be reached."""
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": 1.0},
        method="uniform",
        channel_multiple=multiple if multiple == "auto" else int(multiple),
    )
    cost = pruned.costs["macs"]
    return cost.total(pruned.choice.smallest) / cost.dense


def measure(arch, multiple):
    """Used shares at random budgets."""
    rng = random.Random(f"{FLAGS.seed} {arch} {multiple}")
    model = models.build(arch)
    models.randomize(model, FLAGS.seed)
    least = smallest_share(model, multiple)
    used = []
    for case in range(FLAGS.cases):
        share = least + (1.0 - least) * rng.random()
        method = ("uniform", "magnitude")[case % 2]
        used.append(used_share(model, share, multiple, method))
    return used


def main(argv):
    """Measures every network and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    found = {}
    print("| channel_multiple | networks x budgets | least | 5 % | median | most |")
    print("| --- " * 6 + "|")
    for multiple in FLAGS.multiples:
        found[multiple] = {arch: measure(arch, multiple) for arch in FLAGS.arch}
        used = np.concatenate(list(found[multiple].values()))
        quantiles = np.quantile(used, [0.0, 0.05, 0.5, 1.0])
        texts = " | ".join(f"{100 * q:.2f} %" for q in quantiles)
        print(f"| {multiple} | {used.size} | {texts} |", flush=True)
    if FLAGS.out:
        common.write_json(FLAGS.out, {"used": found, "versions": common.versions()})


if __name__ == "__main__":
    app.run(main)
