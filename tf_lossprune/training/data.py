"""Looks at training data in the forms which `fit` takes."""

import inspect
import itertools
import math
import time

import keras
from keras import tree

#: Keras' default, where arrays come without a batch size.
DEFAULT_BATCH_SIZE = 32
#: How long the batches of data of unknown length are counted.
COUNTING_SECONDS = 60.0
#: What `tf.data` calls them.
_INFINITE, _UNKNOWN = -1, -2

#: Keras' arguments of `fit` behind `callbacks`, in their order.
BEHIND_CALLBACKS = (
    "validation_split",
    "validation_data",
    "shuffle",
    "class_weight",
    "sample_weight",
)


def num_batches(data, batch_size=None):
    """How many batches one pass has, without reading any.

    Args:
        data: `tf.data.Dataset`, `keras.utils.PyDataset`, another iterable of batches,
            or tuple `(x, y)`, in which `x` is an array, or a list or dict of them.
        batch_size: int or None, for arrays.

    Returns:
        An int; `math.inf` for data without end; None where that is not known.
    """
    if isinstance(data, (tuple, list)):
        size = batch_size or DEFAULT_BATCH_SIZE
        return math.ceil(len(tree.flatten(data[0])[0]) / size)
    if isinstance(data, keras.utils.PyDataset):
        try:
            number = data.num_batches
        except NotImplementedError:  # no `__len__`
            return None
        return math.inf if number is None else number
    if callable(getattr(data, "cardinality", None)):  # tf.data
        number = int(data.cardinality())
        return {_INFINITE: math.inf, _UNKNOWN: None}.get(number, number)
    try:
        return len(data)
    except TypeError:
        return None


def count_batches(data, hint, seconds=COUNTING_SECONDS):
    """Counts the batches of one pass by reading them.

    Args:
        data: iterable of batches, of unknown length.
        hint: string, the argument that makes counting needless.
        seconds: float, after which it gives up.

    Returns:
        An int.

    Raises:
        ValueError: if the data have not ended by then.
    """
    limit, number = time.monotonic() + seconds, 0
    for _ in batches(data):
        number += 1
        if time.monotonic() > limit:
            raise ValueError(
                f"Expected `{hint}`, or data of known length, such as "
                "dataset.apply(tf.data.experimental.assert_cardinality(n)). Received: "
                f"{type(data).__name__} of unknown length with {number} batches in the "
                f"first {seconds:.0f} seconds, without reaching the end"
            )
    return number


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
            "Expected training data with at least one batch. Received: data of length 0"
        )


def batch_spec(x, y=None, sample_weight=None):
    """What a batch looks like, where that can be known without reading one.

    Args:
        x: what `fit` got: arrays, or data that come in batches.
        y: arrays or None.
        sample_weight: arrays or None.

    Returns:
        A tuple `(x, y, sample_weight)` of `KerasTensor`, or as many of them as the
        data have; None for data that have to be read.
    """
    if isinstance(first_of(x), tuple):
        found = tree.map_structure(_without_batch_size, (x, y, sample_weight))
    else:
        found = tree.map_structure(_symbolic, getattr(x, "element_spec", None))
    return None if any(leaf is ... for leaf in tree.flatten(found)) else found


def _without_batch_size(array):
    if array is None:
        return None
    shape, dtype = getattr(array, "shape", ()), getattr(array, "dtype", None)
    return _spec((None, *shape[1:]), dtype) if len(shape) else ...


def _symbolic(spec):
    # Keras hands on what is optional as None.
    dense = hasattr(spec, "shape") and hasattr(spec, "dtype")
    return _spec(spec.shape, spec.dtype) if dense else ...


def _spec(shape, dtype):
    try:
        return keras.KerasTensor(tuple(shape), keras.backend.standardize_dtype(dtype))
    except (TypeError, ValueError):  # strings, ragged tensors, unknown ranks
        return ...


def batches(data, batch_size=None):
    """Iterates over the batches from the start, without using the data up.

    Args:
        data: as above, or a generator.
        batch_size: int or None, for arrays.

    Returns:
        An iterable of batches, tuples `(x,)` where the data are arrays; without end
        where the data are; empty for a generator, which cannot be rewound.
    """
    if inspect.isgenerator(data) or data is None:
        return ()
    if isinstance(data, keras.utils.PyDataset):
        number = num_batches(data)
        endless = number in (None, math.inf)
        return (data[i] for i in (itertools.count() if endless else range(number)))
    if isinstance(data, (tuple, list)):
        return _array_batches(data[0], batch_size or DEFAULT_BATCH_SIZE)
    return _untuned(data)


def trained_on(x, y, batch_size, *args, **kwargs):
    """What a call of `fit` trains on.

    Args:
        x, y, batch_size: as `fit` takes them.
        *args: its arguments behind `callbacks`, by position.
        **kwargs: likewise, by name.

    Returns:
        Data `(x, y)` or `(x, y, sample_weight)` without what `validation_split` holds
        out, or as they were given where they are not arrays; their batch size; and the
        class weights.
    """
    given, data = {**dict(zip(BEHIND_CALLBACKS, args)), **kwargs}, x
    if y is not None:
        parts = x, y, given.get("sample_weight")
        data = tuple(part for part in parts if part is not None)
        held_out = given.get("validation_split")
        if held_out and given.get("validation_data") is None:
            count = len(tree.flatten(data)[0])
            used = math.floor(count * (1.0 - held_out))
            data = tree.map_structure(lambda array: array[:used], data)
    return data, batch_size, given.get("class_weight")


def _untuned(data):
    """The same batches, from a pipeline that ends as soon as nobody reads it.

    The thread that tunes a `tf.data` pipeline sleeps twice as long each time, and the
    end of an iterator waits for it: a pass of seconds takes up to twice as long.
    """
    if not (hasattr(data, "options") and hasattr(data, "with_options")):
        return data
    options = type(data.options())()  # these are merged with the data's own
    options.autotune.enabled = False
    return data.with_options(options)


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
