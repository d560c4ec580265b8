"""What a compact model learns from inputs alone: no labels, no training."""

import inspect

from tf_lossprune.training.data import DEFAULT_BATCH_SIZE, batches, first_of
from tf_lossprune.training.dense_moments import SAMPLES
from tf_lossprune.training.moments import all_alike, some_inputs
from tf_lossprune.training.repair import repair
from tf_lossprune.training.statistics import reestimate_statistics


def some_batches(data, samples):
    """The first inputs, as a list of batches.

    Args:
        data: an array, a list or dict of them, or batches; without labels.
        samples: int, how many at most.
    """
    found = data if inspect.isgenerator(data) else batches(first_of(data))
    return some_inputs(found, samples)


def samples_for(statistics_batches):
    """How many inputs a calibration reads at most.

    Args:
        statistics_batches: int, of which statistics are made.
    """
    return DEFAULT_BATCH_SIZE * max(statistics_batches, SAMPLES // DEFAULT_BATCH_SIZE)


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
    inputs = some_batches(data, samples_for(wanted))
    if pruned.options.repair is not None:
        kept = pruned.kept_units()
        repair(pruned.channel_graph, kept, compact, inputs, trained=pruned)
    if wanted and not all_alike(inputs):  # of which a variance would be wrong
        reestimate_statistics(compact, inputs, wanted)
