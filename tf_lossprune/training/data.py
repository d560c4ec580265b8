"""Looks at training data in the forms which `fit` takes."""

import inspect
import math

import keras
from keras import tree

#: Keras' default, where arrays come without a batch size.
DEFAULT_BATCH_SIZE = 32


def steps_per_epoch(data, batch_size=None):
    """Counts the batches of one pass.

    Args:
        data: `tf.data.Dataset`, `keras.utils.PyDataset` or tuple `(x, y)`, in which
            `x` is an array, or a list or dict of them.
        batch_size: int or None, for arrays.

    Returns:
        An int; a data set of unknown length is iterated once to count.

    Raises:
        ValueError: if there is no batch.
    """
    if isinstance(data, (tuple, list)):
        size = batch_size or DEFAULT_BATCH_SIZE
        steps = math.ceil(len(tree.flatten(data[0])[0]) / size)
    elif isinstance(data, keras.utils.PyDataset):
        steps = data.num_batches
        if steps is None:
            raise ValueError(
                "Expected training data of known length: define `__len__`. "
                f"Received: {data!r}, which has no end"
            )
    else:
        try:
            steps = len(data)
        except TypeError:
            steps = sum(1 for _ in data)
    if not steps:
        raise ValueError("Expected training data with batches in it. Received: none")
    return steps


def check_data(x):
    """Raises `ValueError` if there is nothing to train on.

    Args:
        x: what `fit` got.
    """
    if x is None:
        raise ValueError("Expected training data as `x`. Received: x=None")
    if isinstance(first_of(x), tuple):
        leaves = [leaf for leaf in tree.flatten(x) if hasattr(leaf, "__len__")]
        empty = not tree.flatten(x) or any(not len(leaf) for leaf in leaves)
    elif isinstance(x, keras.utils.PyDataset):
        empty = x.num_batches == 0
    else:
        try:
            empty = len(x) == 0
        except TypeError:  # of unknown length
            empty = False
    if empty:
        raise ValueError(
            "Expected training data with batches in it. Received: data of length 0"
        )


def batches(data, batch_size=None):
    """Iterates over the batches from the start, without using the data up.

    Args:
        data: as above, or a generator.
        batch_size: int or None, for arrays.

    Returns:
        An iterable of batches, tuples `(x,)` where the data are arrays; empty for a
        generator, which cannot be rewound.
    """
    if inspect.isgenerator(data) or data is None:
        return ()
    if isinstance(data, keras.utils.PyDataset):
        # Without a length it has no end, and cannot be rewound either.
        return (data[i] for i in range(data.num_batches or 0))
    if isinstance(data, (tuple, list)):
        return _array_batches(data[0], batch_size or DEFAULT_BATCH_SIZE)
    return data


def first_of(x):
    """Training data for `batches`, of what `fit` takes as `x`.

    Args:
        x: an array, a list or dict of them, or data that come in batches.
    """
    in_arrays = isinstance(x, (list, tuple, dict)) or hasattr(x, "shape")
    return (x,) if in_arrays else x


def _array_batches(arrays, size):
    for i in range(0, len(tree.flatten(arrays)[0]), size):
        yield (tree.map_structure(lambda a, i=i: a[i : i + size], arrays),)
