"""What a compact model learns from inputs alone: no labels, no training."""

import inspect

from tf_lossprune.training.data import DEFAULT_BATCH_SIZE, batches, first_of
from tf_lossprune.training.moments import some_inputs
from tf_lossprune.training.repair import repair
from tf_lossprune.training.statistics import reestimate_statistics


def calibrate(pruned, compact, data):
    """Repairs a compact model and re-estimates its statistics.

    Args:
        pruned: `PrunedModel` that is not cut itself; its options say whether to repair
            and from how many batches the statistics come.
        compact: what was cut from it; its weights change.
        data: an array, a list or dict of them, or batches; without labels.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    wanted = pruned.options.schedule.statistics_batches
    once = inspect.isgenerator(data)
    found = data if once else batches(first_of(data))
    inputs = some_inputs(found, DEFAULT_BATCH_SIZE * max(wanted, 16))
    if pruned.options.repair is not None:
        repair(pruned.channel_graph, pruned.kept_units(), compact, inputs)
    if wanted:
        reestimate_statistics(compact, inputs, wanted)
