"""What a convolution reads at each of its positions."""

import itertools

import numpy as np
from keras import ops

#: At most so many positions are looked at along each axis, spread evenly.
MOST_POSITIONS = 16


class Window:
    """The taps of a convolution's kernel over an image.

    Args:
        layer: convolution, not a transposed one.
        shape: tuple, the spatial shape of its input.
    """

    def __init__(self, layer, shape):
        self._shape = shape
        self._size, self._step = layer.kernel_size, layer.dilation_rate
        self._starts = [
            _starts(layer, axis, size) for axis, size in enumerate(shape) if size
        ]

    @property
    def known(self):
        """Whether the image's size is."""
        return len(self._starts) == len(self._shape)

    @property
    def key(self):
        """The same for windows that read the same patches of the same image."""
        return self._size, self._step, *(starts.tobytes() for starts in self._starts)

    def inside(self):
        """For each tap the share of the positions at which it is inside of the image.

        Where the size is not known, borders are taken to be far.
        """
        shares = np.ones(1)
        for axis, taps in enumerate(self._size):
            along = np.ones(taps)
            if self.known:
                at = self._at(axis, self._starts[axis])
                along = ((at >= 0) & (at < self._shape[axis])).mean(axis=0)
            shares = np.outer(shares, along).reshape(-1)
        return shares

    def patches(self, x):
        """What it reads of an image.

        Args:
            x: tensor `[samples, ..., channels]`.

        Returns:
            A tensor `[rows, taps * channels]`; zeros outside of the image.
        """
        padding, places = [(0, 0)], []
        for axis, size in enumerate(self._shape):
            starts = self._starts[axis]
            count = min(len(starts), MOST_POSITIONS)
            some = ((np.arange(count) + 0.5) * len(starts) / count).astype(int)
            at = self._at(axis, starts[some])
            before = max(-at.min(), 0)
            padding.append((int(before), int(max(at.max() - size + 1, 0))))
            places.append(at + before)
        x = ops.pad(x, [*padding, (0, 0)])
        found = []
        for taps in itertools.product(*map(range, self._size)):
            part = x
            for axis, tap in enumerate(taps):
                part = ops.take(part, places[axis][:, tap], axis=axis + 1)
            found.append(ops.reshape(part, (-1, x.shape[-1])))
        return ops.concatenate(found, axis=1) if len(found) > 1 else found[0]

    def _at(self, axis, starts):
        """Int `[positions, taps]`: where along an axis each tap is."""
        return starts[:, None] + np.arange(self._size[axis]) * self._step[axis]


def _starts(layer, axis, size):
    """Where the first tap is at each position of the output, along one axis."""
    stride = layer.strides[axis]
    reach = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis]
    if layer.padding == "valid":
        return np.arange(0, size - reach, stride)
    outputs = -(-size // stride)
    missing = max((outputs - 1) * stride + reach + 1 - size, 0)
    before = reach if layer.padding == "causal" else missing // 2
    return np.arange(outputs) * stride - before
