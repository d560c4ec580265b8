"""Channel labels: integer arrays that follow the data through the graph.

Each tensor has an array of labels, broadcastable to its shape without the
batch dimension. An element's label names the channel unit with which it is
removed; label 0 means that it always stays.
"""

import numpy as np

FROZEN = 0


def compact(labels):
    """Shrinks axes along which the labels do not vary to size 1."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1:
            first = labels.take([0], axis=axis)
            if np.array_equal(np.broadcast_to(first, labels.shape), labels):
                labels = first
    return labels


def expand(labels, shape):
    """Broadcasts labels to `shape`; None if `shape` has unknown entries."""
    if any(d is None for d in shape):
        return None
    return np.broadcast_to(labels, shape)


def along(labels, axis, size):
    """The labels along one axis, `[size]`; None if they vary along another."""
    axis = axis % labels.ndim
    others = [d for i, d in enumerate(labels.shape) if i != axis]
    if size is None or any(d != 1 for d in others):
        return None
    return np.broadcast_to(labels.reshape(-1), (size,))


def on_axis(values, axis, ndim):
    """The inverse of `along`: an array `[1, .., size, .., 1]`."""
    shape = [1] * ndim
    shape[axis % ndim] = -1
    return np.asarray(values).reshape(shape)


def varying(labels):
    """The axes along which labels vary."""
    return [axis for axis, size in enumerate(labels.shape) if size > 1]


def main_axis(labels):
    """Of the axes along which labels vary, the one with the most different labels."""
    axes = range(labels.ndim)

    def different(axis):
        first = labels[tuple(slice(None) if i == axis else 0 for i in axes)]
        return len(np.unique(first)), axis

    return max(varying(labels), key=different)


def count_along(kept, axis):
    """How many entries along an axis are kept of an array that is a block: an int."""
    others = tuple(k for k in range(kept.ndim) if k != axis)
    return int(kept.any(axis=others).sum())


class Ties:
    """Hands out labels and remembers which of them belong together."""

    def __init__(self):
        self.count = 1  # label 0 is FROZEN
        self.blocks = []  # (first label, size, producer)
        self.parts = []  # label arrays of which some must stay
        self._pairs = []
        self._options = []  # (pairs, other pairs)
        self._chosen = 0
        self._frozen = []

    def fresh(self, size, producer):
        """Returns `size` new labels of one producer."""
        labels = np.arange(self.count, self.count + size)
        self.blocks.append((self.count, size, producer))
        self.count += size
        return labels

    def unite(self, a, b):
        """Ties two broadcastable label arrays elementwise."""
        a, b = np.broadcast_arrays(a, b)
        self.freeze(a[b == FROZEN])
        self.freeze(b[a == FROZEN])
        tied = (a != b) & (a != FROZEN) & (b != FROZEN)
        if tied.any():
            self._pairs.append(np.unique(np.stack([a[tied], b[tied]]), axis=1))

    def unite_either(self, first, second):
        """Ties one or another pair of broadcastable label arrays elementwise.

        Which one `choose` says, for all at once.
        """
        pairs = [np.stack(np.broadcast_arrays(*pair)) for pair in (first, second)]
        self._options.append([pair.reshape(2, -1) for pair in pairs])

    @property
    def has_options(self):
        """Whether there is something to choose."""
        return bool(self._options)

    def choose(self, option):
        """Says which ones of `unite_either` hold: 0 or 1."""
        self._chosen = option

    def separate(self, labels):
        """Says that these labels form groups of their own."""
        self.parts.append(np.unique(labels))

    def freeze(self, labels):
        """Says that these labels, and all that is tied to them, must stay."""
        self._frozen.append(np.unique(labels))

    def straighten(self, arrays):
        """Ties labels until they vary along one axis of each array.

        Only then what is kept of a tensor is a tensor again.
        """
        several = [array for array in arrays if len(varying(array)) > 1]
        tied = bool(several)
        while tied:
            tied = False
            roots, frozen = self.resolve()
            roots = np.where(frozen, FROZEN, roots)
            for array in several:
                found = compact(roots[array])
                if len(varying(found)) > 1:
                    main = main_axis(found)
                    axes = range(found.ndim)
                    first = tuple(
                        slice(None) if k == main else slice(0, 1) for k in axes
                    )
                    self.unite(found[first], found)
                    tied = True
                    break

    def resolve(self):
        """Finds what is tied together.

        Returns:
            `roots`, int `[count]`: the smallest label tied to each label; and
            `frozen`, bool `[count]`: whether it must stay.
        """
        roots = self._roots()
        frozen = np.zeros(self.count, bool)
        frozen[roots[np.concatenate([[FROZEN], *self._frozen]).astype(int)]] = True
        return roots, frozen[roots]

    def _roots(self):
        # Connected components by minimum propagation with pointer jumping: a
        # few vectorised passes whatever the size of the model.
        parent = np.arange(self.count)
        pairs = self._pairs + [options[self._chosen] for options in self._options]
        if not pairs:
            return parent
        a, b = np.concatenate(pairs, axis=1)
        while True:
            root_a, root_b = parent[a], parent[b]
            if np.array_equal(root_a, root_b):
                return parent
            low = np.minimum(root_a, root_b)
            np.minimum.at(parent, root_a, low)
            np.minimum.at(parent, root_b, low)
            while not np.array_equal(parent, parent[parent]):
                parent = parent[parent]
