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
from keras import ops, tree

from tf_lossprune.config import check_count
from tf_lossprune.training.changes import Changes
from tf_lossprune.training.moments import all_alike, collect, some_inputs
from tf_lossprune.training.nearer import Nearest
from tf_lossprune.training.readers import find_readers, layers_of
from tf_lossprune.training.rescaling import rescale

#: Candidates for lambda, in units of the kept channels' mean variance; the one that
#: predicts the other half of the inputs best is taken, tensor by tensor.
RIDGES = (1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: How many inputs are read, if nobody says.
SAMPLES = 512
#: Why nothing was repaired.
ALIKE = (
    "All inputs to repair the network with are the same, so that they do not say how "
    "its channels depend on each other: nothing was repaired. Give inputs that differ."
)
#: So many entries of covariances are held in one pass over the inputs, unless a single
#: tensor has more: 256 MiB for both halves.
ENTRIES_AT_ONCE = 2**24


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
            are needed.
        samples: int >= 2, how many inputs to use at most.
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
    inputs = some_inputs(data, samples)
    count = sum(len(tree.flatten(x)[0]) for x in inputs)
    if count > 1 and all_alike(inputs):
        warnings.warn(ALIKE, stacklevel=3)
        return Repair({}, {**left, **{r.name: ALIKE for r in readers}}, count)
    nearest = Nearest(channel_graph, compact, inputs, trained)
    values, unexplained = {}, {}
    rescaled = rescale(channel_graph, keep, changes, inputs, values)
    taken = bool(rescaled) and nearest.takes(values)
    for part in in_passes(readers, lambda reader: [reader], changes):
        moments = collect(channel_graph, part, inputs, keep, changes)
        unexplained.update(fold(part, moments, keep, values))
    taken |= nearest.takes(values)
    nearest.restore()
    return Repair(unexplained, left, count, rescaled if taken else [], not taken)


def fold(readers, moments, keep, values):
    """Computes the weights with which layers do without what is cut.

    Args:
        readers: list of `Reader`s that lose channels.
        moments: for each, what `collect` returns.
        keep: bool `[num_units + 1]`, the units that stay.
        values: dict, id of a variable -> the variable and its new value, which has the
            size from before the cut; the new values are added.

    Returns:
        Dict, name of a reader -> the share of what it loses that the kept channels
        cannot replace.
    """
    return {
        reader.name: _fold(reader, found, keep, values)
        for reader, found in zip(readers, moments, strict=True)
    }


def in_passes(jobs, readers_of, changes=None):
    """Parts of the jobs whose covariances are held at the same time.

    Args:
        jobs: iterable.
        readers_of: function of a job that returns its `Reader`s.
        changes: `Changes` or None, as `collect` gets them.
    """
    part, held = [], 0
    for job in jobs:
        more = 0
        for reader in readers_of(job):
            twice = 2 if changes is not None and reader.reads(changes) else 1
            sizes = [twice * piece.columns.shape[-1] for piece in reader.slices]
            more += sum(size**2 for size in sizes)
        if part and held + more > ENTRIES_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(job)
        held += more
    if part:
        yield part


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
    return ops.convert_to_numpy(variable.value).astype("float64")


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
        square = moments.about(moments.mean if self._centred else 0 * moments.mean)
        given = square[np.ix_(self._after, self._after)]
        level = ridge * np.trace(given) / max(len(given), 1) + np.finfo("float32").tiny
        return np.linalg.solve(
            given + level * np.eye(len(given)), square[self._after] @ self._lost
        )

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
            whole += np.sum(self._lost * (square @ self._lost))
            if self._centred:
                square = held_out.about(fitted.mean)
            for index, ridge in enumerate(RIDGES):
                rest = self._lost.copy()
                rest[self._after] -= self.solve(fitted, ridge)
                errors[index] += np.sum(rest * (square @ rest))
        best = int(np.argmin(errors))
        return RIDGES[best], max(errors[best], 0.0), max(whole, 0.0)
