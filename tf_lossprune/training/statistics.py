"""Re-estimates the statistics of batch normalisations after a cut."""

import itertools

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.config import check_count
from tf_lossprune.training.program import as_program
from tf_lossprune.values import numpy_of


def reestimate_statistics(model, data, batches=32, forward=None):
    """Sets each BatchNormalization's moving statistics to plain means over data.

    Channels that went away change what the remaining layers see, so the moving
    statistics of the dense network no longer fit.

    Args:
        model: built `keras.Model`; its moving statistics are changed.
        data: iterable of batches; of a tuple, the first entry is the input.
        batches: int, how many batches to use at most.
        forward: function of a batch that runs the model in training mode, or None:
            `model(x, training=True)`.

    Returns:
        The number of batches used; 0 if the model has no BatchNormalization.

    Raises:
        TypeError: if `data` cannot be iterated over.
        ValueError: if `batches` is below 1.

    Example:

    ```python
    compact = tf_lossprune.strip_pruning(pruned)
    tf_lossprune.training.reestimate_statistics(compact, train)
    ```
    """
    check_count("batches", batches, 1)
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(
            "Expected data as an iterable of batches, such as a tf.data.Dataset. "
            f"Received: {data!r} (of type {type(data).__name__})"
        )
    statistics = moving(model)
    if not statistics:
        return 0
    if forward is None:
        forward = as_program(lambda x: model(x, training=True), model, often=True)
    layers = normalizations(model)
    momenta = [layer.momentum for layer in layers]
    sums, used = [np.zeros(v.shape) for v in statistics], 0
    try:
        for layer in layers:
            layer.momentum = 0.0  # what moves then is the last batch's own
        for batch in itertools.islice(data, batches):
            forward(batch[0] if isinstance(batch, (tuple, list)) else batch)
            used += 1
            for index, variable in enumerate(statistics):
                sums[index] += numpy_of(variable).astype("float64")
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
        if used:
            for variable, total in zip(statistics, sums):
                variable.assign(total / used)
    return used


def normalizations(model):
    """The BatchNormalization layers of a model, as a list."""
    return [
        layer
        for layer in internals.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def moving(model):
    """The moving statistics of a model, as a list of variables."""
    return [
        variable
        for layer in normalizations(model)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
