"""Least-squares repair: what is cut is predicted from what stays.

A layer reads channels `x` of which K are kept and R are removed. With the channels'
means `m` and covariance `S` on a few hundred inputs of the network before the cut,

    A = (S_KK + lambda I)^-1 S_KR        x_R ~ m_R + A' (x_K - m_K)

is the ridge regression of the removed channels on the kept ones. The layer then gets
what it loses through the channels that it still reads:

    W_K <- W_K + A W_R                   b <- b + W_R' (m_R - A' m_K)

Where what it reads changes with the cut (a normalisation takes its statistics of the
kept channels only; a block went away), `x_K` are the kept channels as they are then,
and the rest is the same: what the layer gave is predicted from them. Before that, the
scale and the offset of each such normalisation are fitted to what it gave.

Nothing gets worse by it: a weight stays as it is if that does not bring its layer's
outputs nearer to what they were, on inputs that the regression has not seen; and so do
all of them if the network's outputs are nearer without.

A convolution reads patches: there, `x` are the channels at each tap of its kernel, so
that a removed channel is predicted from the kept ones' surroundings, too.

References:
    He et al., Channel pruning for accelerating very deep neural networks, ICCV 2017,
    arXiv 1707.06168. GRAIL, arXiv 2602.23795.
"""

import dataclasses
import warnings

import numpy as np

from tf_lossprune.config import check_count
from tf_lossprune.training.changes import Changes
from tf_lossprune.training.dense_moments import SAMPLES, DenseMoments, in_passes
from tf_lossprune.training.moments import collect
from tf_lossprune.training.nearer import Nearest
from tf_lossprune.training.readers import find_readers, layers_of
from tf_lossprune.training.rescaling import rescale
from tf_lossprune.values import numpy_of

#: Candidates for lambda, in units of the kept channels' mean variance; the one that
#: predicts the other half of the inputs best is taken, tensor by tensor.
RIDGES = (1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Why nothing was repaired.
ALIKE = (
    "All inputs to repair the network with are the same, so that they do not say how "
    "its channels depend on each other: nothing was repaired. Give inputs that differ."
)


@dataclasses.dataclass
class Repair:
    """What a repair did.

    Attributes:
        unexplained: dict, name of a weight -> share of what its layer loses by the cut
            (in squares, on inputs that the regression has not seen) that the kept
            channels cannot replace, from 0.
        left: dict, name of a weight that reads removed channels and was left as it
            was -> why.
        samples: int, how many inputs it was computed from.
        rescaled: list of names of normalisations with another scale or offset.
        undone: bool, whether all was put back: the network was nearer to what it was
            without it.
    """

    unexplained: dict
    left: dict
    samples: int
    rescaled: list = dataclasses.field(default_factory=list)
    undone: bool = False


def repair(channel_graph, keep, compact, data, samples=SAMPLES, trained=None):
    """Makes a compact model's layers predict what was cut from what was kept.

    Memory: besides the network's own, two float64 matrices for each tensor that is
    read, channels by channels, of at most 256 MiB together; more only where a single
    tensor needs it (from 4,096 channels on). Time: one pass over the samples (two where
    normalisations take statistics over channels), some more to compare the outputs, and
    the solutions of systems of as many equations as a tensor has channels. The same
    inputs give the same weights.

    Args:
        channel_graph: `ChannelGraph` with the weights from before the cut; they stay.
        keep: bool `[num_units + 1]`, the units that stay.
        compact: the model that was cut from it; its kernels, biases, moving means, and
            scales and offsets of normalisations over channels change. Re-estimate the
            statistics of batch normalisations afterwards.
        data: iterable of batches; of a tuple, the first entry is the input. No labels
            are needed. Or `DenseMoments` of this network.
        samples: int >= 2, how many inputs to use at most; not with `DenseMoments`.
        trained: compiled `keras.Model` with the network's outputs, or None: its losses
            say which of them are classes, whose probabilities are compared. Without
            it, the last activations do.

    Returns:
        A `Repair`.

    Raises:
        ValueError: if there are fewer than two samples, or if activations are not
            finite.
    """
    check_count("samples", samples, 2)
    unable = layers_of(channel_graph, find_readers(channel_graph)[1])
    changes = Changes(channel_graph, keep, unable)
    readers, left = find_readers(channel_graph, keep, changes)
    if not readers:
        return Repair({}, left, 0)
    if not isinstance(data, DenseMoments):
        data = DenseMoments(channel_graph, data, samples)
    if data.all_alike():
        warnings.warn(ALIKE, stacklevel=3)
        return Repair({}, {**left, **{r.name: ALIKE for r in readers}}, data.count)
    nearest = Nearest(channel_graph, compact, data.inputs, trained)
    values = {}
    rescaled = rescale(channel_graph, keep, changes, data.inputs, values)
    taken = bool(rescaled) and nearest.takes(values)
    same = [r for r in readers if not r.reads(changes)]
    unexplained = fold(data.of(same), keep, values)
    changed = [r for r in readers if r.reads(changes)]
    for part in in_passes(changed, changes=changes):
        moments = collect(channel_graph, part, data.inputs, keep, changes)
        unexplained |= fold(zip(part, moments, strict=True), keep, values)
    taken |= nearest.takes(values)
    nearest.restore()
    return Repair(unexplained, left, data.count, rescaled if taken else [], not taken)


def fold(read, keep, values):
    """Computes the weights with which layers do without what is cut.

    Args:
        read: iterable of pairs of a `Reader` that loses channels and the moments of
            what it reads, as `collect` returns them.
        keep: bool `[num_units + 1]`, the units that stay.
        values: dict, id of a variable -> the variable and its new value, which has the
            size from before the cut; the new values are added.

    Returns:
        Dict, name of a reader -> the share of what it loses that the kept channels
        cannot replace.
    """
    return {r.name: _fold(r, moments, keep, values) for r, moments in read}


def _fold(reader, moments, keep, values):
    """Writes a reader's new weight and constant into `values`.

    Returns:
        The share of what is lost that the kept channels cannot replace.
    """
    centred = reader.constant is not None
    kernel = _value(reader.weight, values).copy()
    flat, gained, rest, lost = kernel.reshape(-1), [], 0.0, 0.0
    for part, halves in zip(reader.slices, moments, strict=True):
        if not all(np.isfinite(half.square).all() for half in halves):
            raise ValueError(
                "Expected finite activations to repair the network with. Received: NaN "
                f"or Inf in what {reader.name!r} reads"
            )
        kept = part.kept(keep)
        matrix = flat[part.index]
        fit = _Fit(matrix, kept, len(halves[0].mean), centred)
        ridge, left, whole = fit.best_ridge(halves)
        rest, lost = rest + min(left, whole), lost + whole
        both = halves[0] + halves[1]
        better = left < whole
        more = fit.solve(both, ridge) if better else np.zeros_like(matrix[kept])
        constant = fit.constant(both, more) if better else np.zeros(matrix.shape[1])
        flat[part.index[kept]] += more
        gained.append(part.shares @ constant.reshape(len(part.shares), -1))
    values[id(reader.weight)] = reader.weight, kernel
    if centred:
        variable, index = reader.constant.variable, reader.constant.index
        value = _value(variable, values)
        value[index] += reader.constant.sign * np.concatenate(gained).reshape(
            value[index].shape
        )
        values[id(variable)] = variable, value
    return float(rest / lost) if lost > 0 else 0.0


def _value(variable, values):
    """A variable's new value, or its own, in float64."""
    if id(variable) in values:
        return values[id(variable)][1]
    return numpy_of(variable).astype("float64")


class _Fit:
    """The regression of what a layer gave on the channels that stay.

    Args:
        weights: float64 `[channels, outputs]`.
        kept: bool `[channels]`.
        count: int, how many columns there are moments of: those of the channels, and
            behind them, where they change, those of the kept ones after the cut.
        centred: bool, whether a constant can be added.
    """

    def __init__(self, weights, kept, count, centred):
        self._weights, self._centred = weights, centred
        self._before = np.arange(len(kept))
        self._after = np.flatnonzero(kept)
        if count > len(kept):
            self._after = len(kept) + np.arange(len(self._after))
        # What a layer gives before minus what it gives after the cut.
        self._lost = np.zeros((count, weights.shape[1]))
        self._lost[self._before] += weights
        self._lost[self._after] -= weights[kept]

    def solve(self, moments, ridge):
        """What kept channels' weights gain: `(S_KK + lambda I)^-1 S_K. W_lost`.

        Args:
            moments: `Moments`.
            ridge: float, lambda in units of the kept channels' mean variance.
        """
        given, wanted = self._equations(self._square(moments))
        return _ridge_regression(given, wanted, ridge)

    def constant(self, moments, more):
        """What the outputs gain besides, `[outputs]`."""
        return moments.mean @ self._lost - moments.mean[self._after] @ more

    def best_ridge(self, halves):
        """The ridge that predicts each half best from the other.

        Returns:
            The ridge, the squared error that it leaves, and that without any repair.
        """
        errors, whole = np.zeros(len(RIDGES)), 0.0
        for fitted, held_out in (halves, halves[::-1]):
            square = held_out.about(0 * held_out.mean)
            lost = np.sum(self._lost * (square @ self._lost))
            whole += lost
            if self._centred:
                square = held_out.about(fitted.mean)
                lost = np.sum(self._lost * (square @ self._lost))
            left, right = self._equations(square)
            given, wanted = self._equations(self._square(fitted))
            for index, ridge in enumerate(RIDGES):
                more = _ridge_regression(given, wanted, ridge)
                # (L - M)' S (L - M), with M in the kept channels' rows only.
                errors[index] += lost + np.sum(more * (left @ more - 2 * right))
        best = int(np.argmin(errors))
        return RIDGES[best], max(errors[best], 0.0), max(whole, 0.0)

    def _square(self, moments):
        return moments.about(moments.mean if self._centred else 0 * moments.mean)

    def _equations(self, square):
        """`S_KK` and `S_K. W_lost`."""
        rows = square[self._after]
        return rows[:, self._after], rows @ self._lost


def _ridge_regression(given, wanted, ridge):
    level = ridge * np.trace(given) / max(len(given), 1) + np.finfo("float32").tiny
    return np.linalg.solve(given + level * np.eye(len(given)), wanted)
