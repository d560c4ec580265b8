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


def measure(arch, multiple):
    """MACs of delivered networks, as shares of what random budgets allow."""
    rng = random.Random(f"{FLAGS.seed} {arch} {multiple}")
    model = models.build(arch)
    models.randomize(model, FLAGS.seed)
    options = {"channel_multiple": common.channel_multiple(multiple)}
    seen = tf_lossprune.inspect_model(model, **options)
    least, used = seen.smallest["macs"], []
    for case in range(FLAGS.cases):
        share = least + (1.0 - least) * rng.random()
        method = ("uniform", "magnitude")[case % 2]
        pruned = tf_lossprune.prune_model(
            model, {"macs": share}, method=method, **options
        )
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        used.append(tf_lossprune.cost(compact)["macs"] / (share * seen.cost["macs"]))
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
