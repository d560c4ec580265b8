"""What `prune` and `frontier` set up alike: options and arguments of the training."""

import sys

import keras

from tf_lossprune.cli.flags import channel_options
from tf_lossprune.cli.prune_flags import LEARNING_RATE

#: Settings of the hooks that `compress` does not get as they are.
_OWN = ("optimizer", "steps_per_epoch")


def pruning_options(values, source):
    """Arguments of `prune_model`: a flag that was given precedes the hooks' option.

    Args:
        values: parsed flags of `define_training`.
        source: `Source`.
    """
    defaults = {"channel_multiple": "auto", "min_channels": 1, "remove_blocks": False}
    given = {k: v for k, v in channel_options(values).items() if v != defaults.get(k)}
    options = {"seed": values.seed, **source.options, **given}
    if values.importance:
        options["importance"] = values.importance
    return options


def training_options(values, source, steps, verbose):
    """Arguments of `compress` and `compress_frontier` for the training.

    Args:
        values: parsed flags of `define_training`.
        source: `Source`.
        steps: int, in all epochs.
        verbose: int, as `verbosity` returns it.
    """
    return {
        "epochs": values.epochs,
        "batch_size": values.batch_size,
        "optimizer": _optimizer(values, source, steps),
        **{n: v for n, v in source.settings.items() if n not in _OWN},
        "search_epochs": values.search_epochs,
        "distill": "auto" if values.distill is None else values.distill,
        "verbose": verbose,
    }


def verbosity(values):
    """What `--verbose` means for Keras: 0, 1 (bars) or 2 (a line for each epoch)."""
    if values.verbose == "auto":
        return 1 if sys.stderr.isatty() else 2
    return int(values.verbose)


def _optimizer(values, source, steps):
    given = source.optimizer(steps)
    compiled = source.model.compiled and source.model.optimizer is not None
    if values.learning_rate is None and (given is not None or compiled):
        return given
    rate = LEARNING_RATE if values.learning_rate is None else values.learning_rate
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
