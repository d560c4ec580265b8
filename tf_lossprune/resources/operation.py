"""How long one operation takes, from measurements at several widths."""

import itertools
from typing import Any

import numpy as np

#: Kernels compute tiles of so many channels at once.
TILE = 8
#: How far an input width inside a tile may count as the whole tile's, and beyond.
_PADDINGS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


class OperationTime:
    """Milliseconds of an operation by its input and output channels.

    At each measured number of output channels time is linear in the input channels.
    Over the output channels, a kernel has steps: it computes whole tiles, so that time
    is interpolated between measured whole tiles. A width inside a tile takes a multiple
    of what the whole tile would, which is measured, too: 12 channels can take longer
    than 16. Input channels inside a tile count as more than they are, by a measured
    share. Whatever has no kernel moves bytes, and is interpolated without steps.

    Args:
        points: float `[points, 3]`: inputs, outputs, milliseconds.
        stepped: bool, whether it has a kernel.

    Attributes:
        coefficients: `(a, b, c, d)` of the smooth `a + b in + c out + d in out`
            that is nearest to all points (ECC's model of energy, Yang et al.,
            CVPR 2019, arXiv 1812.01803).
    """

    def __init__(self, points: np.ndarray, stepped: bool = True) -> None:
        given, made, times = points.T
        self._stepped = stepped
        # Inputs that follow the outputs (depthwise, sums) have no axis of their own.
        pairs = len({*zip(made, given)})
        self._tied = pairs == len({*made}) and np.ptp(given) > 0
        self._padding = 0.0
        if stepped and not self._tied:
            self._padding = _input_padding(*points.T)
        given = self._inputs(given)
        self.coefficients = bilinear(given, made, times)
        widest = made.max()
        whole = (made % TILE == 0) | (made == widest) | (not stepped)
        self._whole = np.array(
            [
                (k, *bilinear(given[made == k], 0.0, times[made == k])[:2])
                for k in np.unique(made[whole])
            ]
        )
        self._inside = np.array(
            [
                (
                    k,
                    np.mean(
                        [self._ratio(*p) for p in zip(given, made, times) if p[1] == k]
                    ),
                )
                for k in np.unique(made[~whole])
            ]
        )
        self._seen: dict[tuple[float, float], float] = {}

    def __call__(self, given: float, made: float) -> float:
        """Milliseconds at whole numbers of input and output channels."""
        key = given, made
        if key not in self._seen:
            self._seen[key] = self._time(float(self._inputs(given)), float(made))
        return self._seen[key]

    def _inputs(self, given: Any) -> Any:
        """As how many input channels some count."""
        missing = np.ceil(np.divide(given, TILE)) * TILE - given
        return given + self._padding * missing

    def _time(self, given: float, made: float) -> float:
        widest = self._whole[-1, 0]
        if not self._stepped or made >= widest:
            return self._of_whole(given, made)
        tile = min(np.ceil(made / TILE) * TILE, widest)
        time = self._of_whole(given, tile)
        if made == tile or tile % TILE or not len(self._inside):
            return time
        middle = tile - TILE / 2  # there, narrow tiles are measured
        return time * float(np.interp(middle, *self._inside.T))

    def _ratio(self, given: float, made: float, time: float) -> float:
        """A measured time as a multiple of that of the whole tile."""
        return time / self._of_whole(given, np.ceil(made / TILE) * TILE)

    def _of_whole(self, given: float, made: float) -> float:
        """Milliseconds between measured whole tiles, and beyond them in proportion."""
        widths = self._whole[:, 0]
        inside = min(max(made, widths[0]), widths[-1])
        times = [_at(line, given) for line in self._whole]
        time = float(np.interp(inside, widths, times))
        if inside == made:
            return time
        return time * self._smooth(given, made) / max(self._smooth(given, inside), 1e-9)

    def _smooth(self, given: float, made: float) -> float:
        a, b, c, d = self.coefficients
        return float(a + b * given + c * made + d * given * made)


def _at(line: np.ndarray, given: float) -> float:
    return float(line[1] + line[2] * given)


def _input_padding(given: np.ndarray, made: np.ndarray, times: np.ndarray) -> float:
    """How much of the rest of their tile input channels inside one cost.

    Of the output width with the most measurements, the padding at which they are
    nearest to a line.
    """
    at = max(np.unique(made), key=lambda k: (np.sum(made == k), k))
    given, times = given[made == at], times[made == at]
    missing = np.ceil(given / TILE) * TILE - given
    if not missing.any() or len(given) < 4:
        return 0.0

    def error(padding: float) -> float:
        inputs = given + padding * missing
        line = bilinear(inputs, 0.0, times)
        return float(np.sum(((line[0] + line[1] * inputs) / times - 1.0) ** 2))

    return min(_PADDINGS, key=error)


def bilinear(
    given: np.ndarray, made: np.ndarray | float, times: np.ndarray
) -> np.ndarray:
    """Coefficients `(a, b, c, d)`, at least 0, with the least relative errors."""
    made = np.broadcast_to(made, given.shape)
    features = np.stack([np.ones_like(given), given, made, given * made], 1)
    # What never varies is left to the constant.
    moving = np.ptp(features, axis=0) > 0
    moving[0] = True
    found = np.zeros(4)
    found[moving] = nonnegative(features[:, moving] / times[:, None], times / times)
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
    best, least = np.zeros(count), float(targets @ targets)
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
