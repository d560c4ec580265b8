r"""The settings of the project's own method, one changed at a time.

    python -m benchmarks.lab.ablations --networks=vgg16_bn:16 --macs=0.125 --workers=2
    python -m benchmarks.summarize benchmarks/lab/results/ablations.jsonl --paired

Each cell is a run of `benchmarks.accuracy` that differs from the default run in one
setting, with the same seeds. They are judged on held-out training images; the test
images are not read. A cell whose line is in `--out` is not run again.
"""

import json
import sys
import time

from absl import app, flags

from benchmarks import compare
from benchmarks.paired import DEFAULT

FLAGS = flags.FLAGS


def _object(name, **config):
    return {"class_name": name, "config": config}


def _options(**options):
    return {"options": json.dumps(options)}


def _method(name, **config):
    return {"method": json.dumps(_object(name, **config))}


def _variant(name, **config):
    return _method(f"benchmarks.lab.variants.{name}", **config)


#: Topic -> name of the setting -> the flags of `benchmarks.accuracy` that it changes.
ABLATIONS = {
    "soft threshold": {
        "Gaussian": _options(threshold="gaussian_log"),
        "clipped linear": _options(threshold="clipped_linear"),
    },
    "sampler": {
        "hard, plain straight-through": _options(
            sampler=_object("hard", second_order=False)
        ),
        "concrete": _options(sampler="concrete"),
        "deterministic": _options(sampler="deterministic"),
    },
    "saliency": {
        "first order": _method("Loss", order=1),
        "relative squares with half the learning rate": _method("Loss", order=2),
        "squares of the gates' gradients": _variant("Fisher"),
        "squares with half the learning rate": _variant("Fisher", rate=0.005),
        "sizes of the gates' gradients": _variant("Fisher", power=1.0),
        "less what the group makes up for": _variant("Compensated", damping=1.0),
        "the same with less damping": _variant("Compensated", damping=0.3),
    },
    "memory of the squares": {
        "50 steps": _method("Loss", decay=0.98),
        "100 steps": _method("Loss", decay=0.99),
    },
    "annealing": {
        "variance 0.15 to 0.01": _options(
            schedule=_object("Schedule", start_variance=0.15, end_variance=0.01)
        ),
        "variance 0.01 to 0.001": _options(
            schedule=_object("Schedule", start_variance=0.01, end_variance=0.001)
        ),
    },
    "importance": {
        "L1 of the kernels": _options(importance="l1"),
        "BN scale": _options(importance="bn_scale"),
        "gradient x weight": _options(importance="taylor"),
    },
    "members of a residual group": {
        "first": _options(importance=_object("group_l2", members="first")),
        "last": _options(importance=_object("group_l2", members="last")),
        "last, and a rate of 0.03 falling to 0.003": {
            **_options(importance=_object("group_l2", members="last")),
            **_variant("Settling", rate=0.03, end=0.1),
        },
    },
    "rounding of all groups": {
        "down": _variant("Rounded", offset=0.0),
        "nearest": _variant("Rounded", offset=0.5),
        "up": _variant("Rounded", offset=0.999),
    },
    "budget": {
        "augmented Lagrangian": _options(constraint=_object("AugmentedLagrangian")),
        "comes down evenly (power 1)": _options(
            schedule=_object("Schedule", power=1.0)
        ),
    },
    "ratio update interval": {
        "4 steps": _options(
            ratio_optimizer=_object(
                "Adam", learning_rate=0.04, gradient_accumulation_steps=4
            )
        ),
        "16 steps": _options(
            ratio_optimizer=_object(
                "Adam", learning_rate=0.16, gradient_accumulation_steps=16
            )
        ),
    },
    "ratio learning rate": {
        "0.003": _options(ratio_optimizer=_object("Adam", learning_rate=0.003)),
        "0.03": _options(ratio_optimizer=_object("Adam", learning_rate=0.03)),
        "0.03 falling to 0.003": _variant("Settling", rate=0.03, end=0.1),
        "0.1 falling to 0.003": _variant("Settling", rate=0.1, end=0.03),
    },
    "search": {
        "5 % of the epochs": {"search_share": 0.05},
        "7.5 % of the epochs": {"search_share": 0.075},
        "30 % of the epochs": {"search_share": 0.3},
        "60 % of the epochs": {"search_share": 0.6},
        "60 % of the epochs, budget reached after 9 %": {
            **_options(schedule=_object("Schedule", descent=0.15)),
            "search_share": 0.6,
        },
    },
    "after the search": {
        "no BN re-estimation": _options(statistics_batches=0),
        "with a teacher": {"distill": "0.5"},
    },
}


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_list("networks", ["vgg16_bn:16"], "Networks, each with its width.")
    flags.DEFINE_list("macs", ["0.125"], "Shares of the MACs.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
    flags.DEFINE_list("topics", [], "Topics; empty: all.")
    flags.DEFINE_list("settings", [], "Names of settings in them; empty: all.")
    flags.DEFINE_integer("epochs", 4, "Epochs in all.")
    flags.DEFINE_integer("dense_epochs", 10, "Epochs of the dense networks.")
    flags.DEFINE_float("search_share", 0.15, "Share of the search in the epochs.")
    flags.DEFINE_string("method", "loss", "What the settings belong to (also JSON).")
    flags.DEFINE_list("extra", [], "Further flags of benchmarks.accuracy.")
    flags.DEFINE_float("minutes", None, "Start no new cell after this time.")
    flags.DEFINE_integer("workers", 1, "Processes.")
    flags.DEFINE_bool("list", False, "Print the cells and end.")
    flags.DEFINE_string("out", "benchmarks/lab/results/ablations.jsonl", "Results.")


def settings():
    """Lists `(topic, name, changed flags)`, the default first."""
    found = [
        (topic, name, changed)
        for topic, variants in ABLATIONS.items()
        for name, changed in variants.items()
        if (not FLAGS.topics or topic in FLAGS.topics)
        and (not FLAGS.settings or name in FLAGS.settings)
    ]
    return [("", DEFAULT, {}), *found]


def cells():
    """Lists the flags of each cell; all settings of a seed stand together."""
    found = []
    for seed in FLAGS.seeds:
        for network in FLAGS.networks:
            arch, _, width = network.partition(":")
            for share in FLAGS.macs:
                for topic, name, changed in settings():
                    changed = dict(changed)
                    search = changed.pop("search_share", FLAGS.search_share)
                    cell = {
                        "arch": arch,
                        "width": width,
                        "budget": f"macs={share}",
                        "seed": seed,
                        "method": FLAGS.method,
                        "epochs": FLAGS.epochs,
                        "search_epochs": round(search * FLAGS.epochs, 6),
                        "dense_epochs": FLAGS.dense_epochs,
                        "split": "validation",
                        "distill": "false",
                        "tag": f"{topic}: {name}" if topic else name,
                        "out": FLAGS.out,
                        **changed,
                    }
                    found.append(compare.as_flags(cell))
    return found


def main(argv):
    """Runs the cells, or prints them."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    chosen = list(enumerate(cells()))
    if FLAGS.list:
        for number, cell in chosen:
            print(number, *cell)
        return
    end = FLAGS.minutes and time.time() + 60 * FLAGS.minutes
    if failed := compare.run_shared(chosen, end, FLAGS.workers):
        sys.exit(f"Failed: {failed}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
