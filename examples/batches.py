"""Batches of arrays in memory, where there is no `tf.data` (JAX without TensorFlow)."""

import keras
import numpy as np


class ArrayBatches(keras.utils.PyDataset):
    """Batches of images, shuffled and augmented anew in every epoch.

    Args:
        x: float array `(n, height, width, channels)`.
        y: array `(n,)`.
        batch_size: Images in a batch; the last one may be smaller.
        seed: Seed of order and augmentation; None: in order, as they are.
        shift: Largest shift in pixels, in both directions.
        flip: Whether to mirror half of the images.
        fill: Value of the pixels shifted in.
    """

    def __init__(self, x, y, batch_size, seed=None, shift=0, flip=False, fill=0.0):
        super().__init__()
        self._x, self._y, self._batch_size = x, y, batch_size
        self._seed, self._shift, self._flip, self._fill = seed, shift, flip, fill
        self._epoch = 0
        self._order = self._shuffled()

    def __len__(self):
        return -(-len(self._x) // self._batch_size)

    def __getitem__(self, index):
        start = index * self._batch_size
        rows = self._order[start : start + self._batch_size]
        images = self._x[rows]
        if self._seed is not None and (self._shift or self._flip):
            images = self._augmented(images, index)
        return images, self._y[rows]

    def on_epoch_end(self):
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self):
        if self._seed is None:
            return np.arange(len(self._x))
        rng = np.random.default_rng([self._seed, self._epoch])
        return rng.permutation(len(self._x))

    def _augmented(self, images, index):
        rng = np.random.default_rng([self._seed, self._epoch, index + 1])
        count, height, width, _ = images.shape
        shift = self._shift
        pads = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        padded = np.pad(images, pads, constant_values=self._fill)
        down, right = rng.integers(0, 2 * shift + 1, (2, count, 1))
        rows = np.arange(height) + down
        columns = np.broadcast_to(np.arange(width), (count, width))
        if self._flip:
            mirrored = rng.random((count, 1)) < 0.5
            columns = np.where(mirrored, width - 1 - columns, columns)
        columns = columns + right
        each = np.arange(count)[:, None, None]
        return padded[each, rows[:, :, None], columns[:, None, :]]
