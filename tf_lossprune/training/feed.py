"""Training and validation data of one job: length, first batch, what `fit` gets."""

import itertools
import math
import threading

import keras
import numpy as np
from keras import tree

from tf_lossprune.training.data import (
    DEFAULT_BATCH_SIZE,
    batches,
    count_batches,
    num_batches,
)

_NAMES = ("x", "y", "sample_weight")


class Feed:
    """Data that several `fit`s read, whatever form they have.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, `tf.data.Dataset`,
            `keras.utils.PyDataset`, another iterable of batches, or a generator.
        batch_size: int or None, for arrays.
        steps: int or None, the batches of an epoch; data without end need it.
        option: string, the argument that `steps` came as, for messages.
        kept: int, how many batches of a generator are remembered, at least one.

    Attributes:
        data: what is read: `data`, repeated or cut where `steps` asks for it.
        steps: int, the batches of an epoch.
        batch: the first batch, a tuple `(x, y)` or `(x, y, sample_weight)`.

    Raises:
        TypeError, ValueError: for what is no such data, is empty, or has no end.
    """

    def __init__(self, data, batch_size=None, steps=None, option=None, kept=32):
        _check_form(data)
        self._option = option or "steps_per_epoch"
        self._given, self._batch_size = steps, batch_size
        self.in_arrays = isinstance(data, (tuple, list))
        self._stream = None
        if hasattr(data, "__next__"):
            self._check_stream(data)
            self._stream = _Stream(data, kept)
        self.data = data
        self._length = self._measure()
        self.steps = steps or self._length
        self.batch = self._first_batch()
        if steps and hasattr(data, "repeat") and self._length != math.inf:
            self.data, self._length = data.repeat(), math.inf

    def _check_stream(self, data):
        if self._given is None:
            raise ValueError(
                f"Expected `{self._option}` with data that cannot be read twice. "
                f"Received: {type(data).__name__}, {self._option}=None"
            )

    def _measure(self):
        if self._stream:
            return math.inf
        length = num_batches(self.data, self._batch_size)
        if length == math.inf and self._given is None:
            raise ValueError(
                f"Expected `{self._option}` with data that have no end, for an epoch's "
                f"number of batches. Received: {type(self.data).__name__} without "
                f"end, {self._option}=None"
            )
        if length is None and isinstance(self.data, keras.utils.PyDataset):
            raise ValueError(
                "Expected a PyDataset with `__len__`, or `num_batches` as None for one "
                f"without end. Received: {type(self.data).__name__}"
            )
        if length is None and self._given is None:
            length = count_batches(self.data, self._option)
        if length == 0:
            raise ValueError(
                "Expected training data with at least one batch. Received: none"
                if self._option == "steps_per_epoch"
                else "Expected validation data with at least one batch. Received: none"
            )
        sized = not hasattr(self.data, "repeat") and length is not None
        if self._given and sized and self._given > length:
            raise ValueError(
                f"Expected {self._option} of at most {length}, the batches that there "
                f"are. Received: {self._option}={self._given}"
            )
        return length

    def _first_batch(self):
        """Read once: a pipeline may fill a large buffer before it."""
        if self.in_arrays:
            size = self._batch_size or DEFAULT_BATCH_SIZE
            return tuple(
                None if part is None else tree.map_structure(lambda a: a[:size], part)
                for part in self.data
            )
        batch = next(iter(self.batches()), None)
        if batch is None:
            raise ValueError("Expected data with at least one batch. Received: none")
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(
                "Expected batches (x, y) or (x, y, sample_weight). "
                f"Received: {_described(batch)}"
            )
        return tuple(batch)

    def batches(self):
        """Iterates over batches from the start; over those kept of a generator."""
        if self._stream:
            return self._stream.kept
        return batches(self.data, self._batch_size)

    def epochs(self, steps):
        """At most how many epochs of `fit` a number of steps takes.

        Where a pass over the data is no multiple of an epoch, Keras ends the epoch
        with the pass.
        """
        if self._given is None or self._length in (None, math.inf):
            return math.ceil(steps / self.steps)
        passes = math.ceil(steps / self._length)
        return passes * math.ceil(self._length / self.steps)

    def arguments(self):
        """Dict of the arguments of `fit` that say what to read, and how much."""
        found = {"batch_size": self._batch_size, "steps_per_epoch": self._given}
        if self.in_arrays:
            return {**found, **dict(zip(_NAMES, self.data))}
        return {**found, "x": self._stream.rest() if self._stream else self.data}


class HeldOut(Feed):
    """Validation data, which every model sees from the start."""

    def __init__(self, data, batch_size=None, steps=None):
        if hasattr(data, "__next__"):
            self._option = "validation_steps"
            self._given = steps
            self._check_stream(data)
            data = _Kept(list(itertools.islice(data, steps)))
            steps = None
        elif steps and hasattr(data, "take"):
            data, steps = data.take(steps), None
        super().__init__(data, batch_size, steps, "validation_steps")

    def fit_arguments(self):
        """Dict of the arguments of `fit` that say what to validate on."""
        data = tuple(self.data) if self.in_arrays else self.data
        return {"validation_data": data, "validation_steps": self._given}

    def evaluate(self, model):
        """Dict of a compiled model's loss and metrics."""
        given = self.arguments()
        given["steps"] = given.pop("steps_per_epoch")
        return model.evaluate(**given, verbose=0, return_dict=True)


class _Kept(keras.utils.PyDataset):
    """Batches in memory."""

    def __init__(self, kept):
        super().__init__()
        self._kept = kept

    def __len__(self):
        return len(self._kept)

    def __getitem__(self, index):
        return tuple(self._kept[index])


class _Stream:
    """A generator that several `fit`s read on, one after the other.

    Args:
        data: iterator of batches.
        kept: int, how many of the first batches are kept as a list.
    """

    def __init__(self, data, kept):
        self.kept = list(itertools.islice(data, max(1, kept)))
        self._rest = itertools.chain(self.kept, data)
        # The reading thread of the fit before may still be waiting for a batch.
        self._lock = threading.Lock()

    def rest(self):
        """A generator of the batches that have not been read."""
        while True:
            with self._lock:
                batch = next(self._rest, None)
            if batch is None:
                return
            yield tuple(batch)


def split(data, share):
    """Holds the last samples out, as `fit(validation_split=...)` does.

    Args:
        data: tuple `(x, y)` or `(x, y, sample_weight)` of arrays.
        share: float in (0, 1).

    Returns:
        Two tuples.

    Raises:
        ValueError: for other data, or if a part would be empty.
    """
    if not isinstance(data, (tuple, list)):
        raise ValueError(
            "Expected validation_split with training data in arrays; pass validation "
            f"data otherwise. Received: {type(data).__name__}"
        )
    count = len(tree.flatten(data[0])[0])
    at = math.floor(count * (1.0 - share))
    if not 0 < at < count:
        raise ValueError(
            "Expected validation_split so that both parts have samples. "
            f"Received: {share} of {count} samples"
        )

    def part(rows):
        return tuple(
            None if p is None else tree.map_structure(lambda a: a[rows], p)
            for p in data
        )

    return part(slice(None, at)), part(slice(at, None))


def _check_form(data):
    """Raises `TypeError` or `ValueError` for what is no data with labels."""
    if isinstance(data, (tuple, list)):
        if len(data) not in (2, 3):
            raise ValueError(
                "Expected data as (x, y) or (x, y, sample_weight). "
                f"Received: {len(data)} entries"
            )
        leaves = [leaf for leaf in tree.flatten(tuple(data)) if hasattr(leaf, "shape")]
        counts = {len(leaf) for leaf in leaves if np.ndim(leaf)}
        if len(counts) > 1:
            raise ValueError(
                "Expected data (x, y) with the same number of samples in all "
                f"arrays. Received: {sorted(counts)}"
            )
        if not leaves:
            raise TypeError(
                "Expected data (x, y) of arrays. "
                f"Received: {[type(part).__name__ for part in data]}"
            )
    elif not isinstance(data, keras.utils.PyDataset) and (
        data is None or hasattr(data, "shape") or not hasattr(data, "__iter__")
    ):
        raise TypeError(
            "Expected data as (x, y), a tf.data.Dataset or a PyDataset. "
            f"Received: {type(data).__name__}"
        )


def _described(batch):
    """What a batch looks like, in a few words."""
    return tree.map_structure(
        lambda leaf: f"{type(leaf).__name__}{tuple(getattr(leaf, 'shape', ()))}", batch
    )
