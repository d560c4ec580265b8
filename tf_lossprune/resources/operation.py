"""How long one operation takes, from measurements at several widths."""

import itertools

import numpy as np

from tf_lossprune.resources.probes import width_bin


class OperationTime:
    """Milliseconds of an operation by its input and output channels.

    At each measured number of output channels time is linear in the input
    channels; between those numbers it is interpolated. Kernels compute whole tiles
    of output channels, and other kernels may run below one tile, so that 12
    channels can take longer than 16: `width_bin` says what is measured apart.

    Args:
        points: float `[points, 3]`: inputs, outputs, milliseconds.

    Attributes:
        coefficients: `(a, b, c, d)` of the smooth `a + b in + c out + d in out`
            that is nearest to all points (ECC's model of energy, Yang et al.,
            CVPR 2019, arXiv 1812.01803).
    """

    def __init__(self, points: np.ndarray) -> None:
        given, made, times = points.T
        bins = np.array([width_bin(int(width)) for width in made])
        pairs = len({*zip(bins, given)}), len({*bins})
        # Inputs that follow the outputs (depthwise, sums): no kernel, no tiles.
        self._tied = pairs[0] == pairs[1] and np.ptp(given) > 0
        bins = made if self._tied else bins
        self._bins = np.unique(bins)
        self._lines = np.array(
            [bilinear(given[bins == k], 0.0, times[bins == k])[:2] for k in self._bins]
        )
        self.coefficients = bilinear(given, made, times)
        self._seen = {}

    def __call__(self, given: float, made: float) -> float:
        """Milliseconds at whole numbers of input and output channels."""
        key = given, made
        if key not in self._seen:
            times = self._lines @ (1.0, given)
            width, widest = made if self._tied else width_bin(int(made)), self._bins[-1]
            beyond = max(width / widest, 1.0)
            self._seen[key] = float(np.interp(width, self._bins, times) * beyond)
        return self._seen[key]


def bilinear(
    given: np.ndarray, made: np.ndarray | float, times: np.ndarray
) -> np.ndarray:
    """Coefficients `(a, b, c, d)`, at least 0, with the least relative errors."""
    made = np.broadcast_to(made, given.shape)
    features = np.stack([np.ones_like(given), given, made, given * made], 1)
    # What never varies is left to the constant.
    moving = np.ptp(features, axis=0) > 0
    moving[0] = True
    weighted = features[:, moving] / times[:, None]
    found = np.zeros(4)
    found[moving] = nonnegative(weighted, np.ones_like(times))
    return found


def nonnegative(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Least squares with coefficients of at least 0, of few features.

    The solution is the best among those of the subsets of features that have no
    coefficient below 0.

    Args:
        features: float `[points, n]`.
        targets: float `[points]`.

    Returns:
        float `[n]`.
    """
    count = features.shape[1]
    scale = np.maximum(np.abs(features).max(axis=0), 1e-300)  # well conditioned
    best, least = np.zeros(count), targets @ targets
    for bits in itertools.product((False, True), repeat=count):
        chosen = np.flatnonzero(bits)
        if not len(chosen):
            continue
        part = features[:, chosen] / scale[chosen]
        found = np.linalg.lstsq(part, targets, rcond=None)[0]
        error = float(np.sum((part @ found - targets) ** 2))
        if (found >= 0).all() and error < least:
            best, least = np.zeros(count), error
            best[chosen] = found / scale[chosen]
    return best
