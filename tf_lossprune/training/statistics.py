"""Re-estimates the statistics of batch normalisations after a cut."""

import keras

from tf_lossprune.config import check_count


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
    tf_lossprune.reestimate_statistics(compact, train)
    ```
    """
    check_count("batches", batches, 1)
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(
            "Expected data as an iterable of batches, such as a tf.data.Dataset. "
            f"Received: {data!r} (of type {type(data).__name__})"
        )
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        return 0
    forward = forward or (lambda x: model(x, training=True))
    momenta = [layer.momentum for layer in layers]
    used = 0
    try:
        for batch in data:
            if used >= batches:
                break
            x = batch[0] if isinstance(batch, (tuple, list)) else batch
            for layer in layers:
                layer.momentum = used / (used + 1.0)
            forward(x)
            used += 1
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
    return used
