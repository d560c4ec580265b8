"""Samples for a model: typical ones for the ranges of int8, and random ones."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.structure import by_name, input_names, input_tensors
from tf_lossprune.samples import random_values
from tf_lossprune.training.data import batches

#: Samples with which the ranges of an int8 file are found.
CALIBRATION_SAMPLES = 256
#: A dimension of a random sample whose size the model leaves open.
_OPEN_SIZE = 1

#: Arrays `(1, ...)` by the names of the inputs.
Sample = dict[str, np.ndarray]


def calibration_samples(
    model: keras.Model, data: Any, count: int = CALIBRATION_SAMPLES
) -> list[Sample]:
    """Typical inputs, one sample each.

    Args:
        model: A built `keras.Model`.
        data: As `representative_data` of `to_litert`.
        count: The most samples that are taken.

    Returns:
        A list of dicts of arrays `(1, ...)` by the names of the inputs.

    Raises:
        ValueError: If the data do not fit the model's inputs, or hold no sample.
    """
    names = input_names(model)
    tensors = dict(
        zip(keras.tree.flatten(names), keras.tree.flatten(input_tensors(model)))
    )
    samples: list[Sample] = []
    for batch in _batches(names, data):
        arrays = {
            name: _checked(name, batch[name], tensor)
            for name, tensor in tensors.items()
        }
        sizes = {len(array) for array in arrays.values()}
        if len(sizes) > 1:
            raise ValueError(
                "Expected representative_data with equally many samples for every "
                f"input. Received: {sorted(sizes)}"
            )
        for i in range(min(sizes.pop(), count - len(samples))):
            samples.append({name: a[i : i + 1] for name, a in arrays.items()})
        if len(samples) >= count:
            break
    if not samples:
        raise ValueError(
            "Expected representative_data with at least one sample. Received: none"
        )
    return samples


def _batches(names: Any, data: Any) -> Iterable[dict]:
    """Batches of inputs by name, of arrays or of anything that `fit` takes."""
    whole = _inputs_of(names, data)
    if whole is not None:
        yield whole
        return
    rewinds = isinstance(data, keras.utils.PyDataset) or hasattr(data, "with_options")
    for batch in batches(data) if rewinds else data:
        found = _inputs_of(names, batch)
        if found is None:
            raise ValueError(
                "Expected representative_data with the model's inputs "
                f"{names!r}, as arrays or a dataset of batches. Received: "
                f"{type(batch).__name__} {_shapes(batch)}"
            )
        yield found


def _inputs_of(names: Any, batch: Any) -> dict[str, Any] | None:
    """A batch's inputs by name, without the labels; None if they are not there."""
    if not _is_arrays(batch):
        return None
    pair = isinstance(batch, tuple) and len(batch) > 0
    for candidate in (batch[0], batch) if pair else (batch,):
        found = by_name(names, candidate)
        if found is not None:
            return found
    return None


def _is_arrays(batch: Any) -> bool:
    return all(hasattr(x, "shape") for x in keras.tree.flatten(batch) if x is not None)


def _shapes(batch: Any) -> Any:
    return keras.tree.map_structure(lambda x: getattr(x, "shape", type(x)), batch)


def _checked(name: str, array: Any, tensor: Any) -> np.ndarray:
    array = np.asarray(array, tensor.dtype)
    shape = tuple(tensor.shape[1:])
    fits = array.ndim == len(shape) + 1 and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape[1:])
    )
    if not fits:
        raise ValueError(
            f"Expected representative_data with samples of shape {shape} for input "
            f"{name!r}. Received: {array.shape[1:]}"
        )
    return array


def random_samples(
    model: keras.Model, count: int = 1, signed: bool = False, seed: int = 0
) -> list[Sample]:
    """Random inputs.

    Args:
        model: A built `keras.Model`.
        count: Number of samples.
        signed: Whether floats are normally distributed; else they lie in (0.1, 1), as
            logarithms, roots and tables want them. Whole numbers are 0 or 1, which
            every table has.
        seed: Of the numbers.

    Returns:
        As `calibration_samples`.
    """
    rng = np.random.default_rng(seed)

    def draw(tensor: Any) -> np.ndarray:
        shape = (1, *(size or _OPEN_SIZE for size in tensor.shape[1:]))
        limit = None if "float" in tensor.dtype else 2
        values = random_values(tensor.dtype, shape, rng, not signed, limit)
        return values.astype(tensor.dtype)

    names = keras.tree.flatten(input_names(model))
    tensors = keras.tree.flatten(input_tensors(model))
    return [{n: draw(t) for n, t in zip(names, tensors)} for _ in range(count)]
