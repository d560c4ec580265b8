"""Accuracy class by class, of a dense and a compact classifier."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.training.feed import HeldOut
from tf_lossprune.types import Data

#: Up to so many classes, which is confused with which is kept, too.
MOST_CONFUSED = 20
#: Samples of arrays that are predicted at a time.
BATCH = 32


def class_figures(
    dense: keras.Model,
    compact: keras.Model,
    data: Data,
    names: Sequence[str] | None = None,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
) -> dict[str, Any] | None:
    """How many samples of each class two classifiers get right.

    Args:
        dense, compact: models with one output: a vector of class scores, or one score
            of two classes (a logit where the last activation is linear).
        data: labelled data, as `validation` of `compress`.
        names: names of the classes in the outputs' order; None: their numbers.
        batch_size: int or None, for arrays.
        steps: int or None, the batches that are read; data without end need it.

    Returns:
        A dict for `report_data(..., classes=...)`: `names`; `count`, the samples of
        each class; `dense` and `compact`, how many of them are right; and for up to 20
        classes `confusion`, for each class how often the compact model says which. None
        if the models are no such classifiers, or the labels no classes.

    Example:
        >>> classes = report.class_figures(model, compact, (x_test, y_test))
        >>> result.write_html("report.html", classes=classes)
    """
    shape = compact.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[1], int):
        return None
    count = max(2, shape[1])
    activation = getattr(compact.layers[-1], "activation", None)
    threshold = 0.0 if activation in (None, keras.activations.linear) else 0.5
    confusion = np.zeros((2, count, count), int)
    held_out = HeldOut(data, batch_size, steps)
    for inputs, labels in _batches(held_out, batch_size or BATCH, steps):
        true = _classes_of_labels(labels, shape[1])
        if true is None or (true >= count).any() or (true < 0).any():
            return None
        for index, model in enumerate((dense, compact)):
            outputs = ops.convert_to_numpy(model.predict_on_batch(inputs))
            said = _classes_of_outputs(outputs, threshold)
            np.add.at(confusion[index], (true, said), 1)
    found = {
        "names": [str(name) for name in (names or range(count))],
        "count": confusion[1].sum(1).tolist(),
        "dense": np.diagonal(confusion[0]).tolist(),
        "compact": np.diagonal(confusion[1]).tolist(),
    }
    if count <= MOST_CONFUSED:
        found["confusion"] = confusion[1].tolist()
    return found


def _batches(held_out: HeldOut, size: int, steps: int | None) -> Iterator[tuple]:
    """Inputs and labels, batch by batch."""
    found: Iterable = held_out.batches()
    if held_out.in_arrays:
        x, y = held_out.data[:2]
        found = (
            tree.map_structure(lambda array, i=i: array[i : i + size], (x, y))
            for i in range(0, len(y), size)
        )
    for batch in itertools.islice(found, steps):
        yield batch[0], ops.convert_to_numpy(batch[1])


def _classes_of_labels(labels: np.ndarray, outputs: int) -> np.ndarray | None:
    """Int array of classes, or None for labels that are something else."""
    if outputs > 1 and labels.ndim == 2 and labels.shape[1] == outputs:
        one_hot = (labels.max(1) == 1) & (labels.sum(1) == 1) & (labels.min(1) == 0)
        return labels.argmax(1) if one_hot.all() else None
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or (flat != np.round(flat)).any():
        return None
    return flat[:, 0].astype(int)


def _classes_of_outputs(outputs: np.ndarray, threshold: float) -> np.ndarray:
    if outputs.shape[1] > 1:
        return outputs.argmax(1)
    return (outputs[:, 0] > threshold).astype(int)
