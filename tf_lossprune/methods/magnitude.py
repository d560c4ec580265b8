"""A global threshold on weight norms."""

import numpy as np

from tf_lossprune.methods.base import Method, register_method


class Magnitude(Method):
    """Removes the channels with the smallest norms, wherever they are.

    The norms are divided by their group's mean, so that they compare between
    layers (as in Torch-Pruning's global pruning), and the threshold is the
    lowest that keeps the budget. Norms: Li et al., ICLR 2017, arXiv 1608.08710.
    """

    name = "magnitude"

    def ratios(self, channels, costs, shares, importance, smallest):
        levels = np.unique(importance[1:])
        low, high = 0, len(levels)  # the threshold at `high` is always enough
        while low < high:
            middle = (low + high) // 2
            widths = self._widths(channels, importance, levels[middle], smallest)
            fits = all(
                costs[name].total(widths) <= share * costs[name].dense
                for name, share in shares.items()
            )
            low, high = (low, middle) if fits else (middle + 1, high)
        level = levels[min(low, len(levels) - 1)]
        widths = self._widths(channels, importance, level, smallest)
        return widths / np.array([g.size for g in channels.groups])

    def _widths(self, channels, importance, level, smallest):
        widths = [(importance[g.units] >= level).sum() for g in channels.groups]
        return np.maximum(widths, smallest)


register_method(Magnitude())
