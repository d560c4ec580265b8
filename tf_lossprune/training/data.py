"""Looks at training data in the forms which `fit` takes."""

import inspect
import math

import keras

#: Keras' default, where arrays come without a batch size.
DEFAULT_BATCH_SIZE = 32


def steps_per_epoch(data, batch_size=None):
    """Counts the batches of one pass.

    Args:
        data: `tf.data.Dataset`, `keras.utils.PyDataset` or tuple of arrays.
        batch_size: int or None, for arrays.

    Returns:
        An int; a data set of unknown length is iterated once to count.

    Raises:
        ValueError: if there is no batch.
    """
    if isinstance(data, (tuple, list)):
        steps = math.ceil(len(data[0]) / (batch_size or DEFAULT_BATCH_SIZE))
    elif isinstance(data, keras.utils.PyDataset):
        steps = data.num_batches
    else:
        try:
            steps = len(data)
        except TypeError:
            steps = sum(1 for _ in data)
    if not steps:
        raise ValueError("Expected training data with batches in it. Received: none")
    return steps


def batches(data, batch_size=None):
    """Iterates over the batches from the start, without using the data up.

    Args:
        data: as above; or an array, or a generator.
        batch_size: int or None, for arrays.

    Returns:
        An iterable of batches; empty for a generator, which cannot be rewound.
    """
    if inspect.isgenerator(data) or data is None:
        return ()
    if isinstance(data, keras.utils.PyDataset):
        return (data[i] for i in range(data.num_batches))
    if isinstance(data, (tuple, list)):
        data = data[0]
    if hasattr(data, "shape"):
        size = batch_size or DEFAULT_BATCH_SIZE
        return (data[i : i + size] for i in range(0, len(data), size))
    return data
