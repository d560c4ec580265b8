"""Least-squares repair: what is cut is predicted from what stays.

A layer reads channels `x` of which K are kept and R are removed. With the channels'
means `m` and covariance `S` on a few hundred inputs of the network before the cut,

    A = (S_KK + lambda I)^-1 S_KR        x_R ~ m_R + A' (x_K - m_K)

is the ridge regression of the removed channels on the kept ones. The layer then gets
what it loses through the channels that it still reads:

    W_K <- W_K + A W_R                   b <- b + W_R' (m_R - A' m_K)

A convolution reads patches: there, `x` are the channels at each tap of its kernel, so
that a removed channel is predicted from the kept ones' surroundings, too.

References:
    He et al., Channel pruning for accelerating very deep neural networks, ICCV 2017,
    arXiv 1707.06168. GRAIL, arXiv 2602.23795.
"""

import dataclasses

import numpy as np
from keras import ops, tree

from tf_lossprune.config import check_count
from tf_lossprune.cut_variables import cut_variables
from tf_lossprune.training.moments import collect, some_inputs
from tf_lossprune.training.readers import find_readers

#: Candidates for lambda, in units of the kept channels' mean variance; the one that
#: predicts the other half of the inputs best is taken, tensor by tensor.
RIDGES = (1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: How many inputs are read, if nobody says.
SAMPLES = 512
#: So many entries of covariances are held in one pass over the inputs, unless a single
#: tensor has more: 256 MiB for both halves.
ENTRIES_AT_ONCE = 2**24


@dataclasses.dataclass
class Repair:
    """What a repair did.

    Attributes:
        unexplained: dict, name of a weight -> share of what the removed channels gave
            its layer (in squares, on inputs that the regression has not seen) that the
            kept ones cannot replace, from 0.
        left: dict, name of a weight that reads removed channels and was left as it
            was -> why.
        samples: int, how many inputs it was computed from.
    """

    unexplained: dict
    left: dict
    samples: int


def repair(channel_graph, keep, compact, data, samples=SAMPLES):
    """Makes a compact model's layers predict what was cut from what was kept.

    Memory: besides the network's own, two float64 matrices for each tensor that is
    read, channels by channels, of at most 256 MiB together; more only where a single
    tensor needs it (from 4,096 channels on). Time: one pass over the samples, and the
    solutions of systems of as many equations as a tensor has channels. The same
    inputs give the same weights.

    Args:
        channel_graph: `ChannelGraph` with the weights from before the cut; they stay.
        keep: bool `[num_units + 1]`, the units that stay.
        compact: the model that was cut from it; its kernels, biases and moving means
            change. Re-estimate the statistics of batch normalisations afterwards.
        data: iterable of batches; of a tuple, the first entry is the input. No labels
            are needed.
        samples: int >= 2, how many inputs to use at most.

    Returns:
        A `Repair`.

    Raises:
        ValueError: if there are fewer than two samples, or if activations are not
            finite.
    """
    check_count("samples", samples, 2)
    readers, left = find_readers(channel_graph, keep)
    if not readers:
        return Repair({}, left, 0)
    inputs = some_inputs(data, samples)
    values, unexplained = {}, {}
    for part in in_passes(readers, lambda reader: [reader]):
        moments = collect(channel_graph, part, inputs)
        unexplained.update(fold(part, moments, keep, values))
    for piece in cut_variables(channel_graph, compact):
        if id(piece.source) in values:
            value = piece.factor * piece.cut(values[id(piece.source)][1])
            piece.target.assign(ops.cast(value, piece.target.dtype))
    return Repair(unexplained, left, sum(len(tree.flatten(x)[0]) for x in inputs))


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


def in_passes(jobs, readers_of):
    """Parts of the jobs whose covariances are held at the same time.

    Args:
        jobs: iterable.
        readers_of: function of a job that returns its `Reader`s.
    """
    part, held = [], 0
    for job in jobs:
        slices = [piece for reader in readers_of(job) for piece in reader.slices]
        more = sum(piece.columns.shape[-1] ** 2 for piece in slices)
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
        ridge, left, whole = _best_ridge(halves, kept, matrix[~kept], centred)
        rest, lost = rest + left, lost + whole
        both = halves[0] + halves[1]
        more = _solve(both, kept, matrix[~kept], ridge, centred)
        flat[part.index[kept]] += more
        constant = both.mean[~kept] @ matrix[~kept] - both.mean[kept] @ more
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


def _solve(moments, kept, lost, ridge, centred):
    """What kept channels' weights gain: `(S_KK + lambda I)^-1 S_KR W_R`.

    Args:
        moments: `Moments`.
        kept: bool array, which of the channels are.
        lost: array, the removed channels' weights `W_R`.
        ridge: float, lambda in units of the kept channels' mean variance.
        centred: bool, whether a constant can be added.
    """
    square = moments.about(moments.mean if centred else 0 * moments.mean)
    given = square[np.ix_(kept, kept)]
    level = ridge * np.trace(given) / max(len(given), 1) + np.finfo("float32").tiny
    return np.linalg.solve(
        given + level * np.eye(len(given)), square[np.ix_(kept, ~kept)] @ lost
    )


def _best_ridge(halves, kept, lost, centred):
    """The ridge that predicts each half best from the other.

    Returns:
        The ridge, the squared error that it leaves, and that without any repair.
    """
    errors, whole = np.zeros(len(RIDGES)), 0.0
    for fitted, held_out in (halves, halves[::-1]):
        square = held_out.about(0 * held_out.mean)[np.ix_(~kept, ~kept)]
        whole += np.sum(lost * (square @ lost))
        square = held_out.about(fitted.mean if centred else 0 * fitted.mean)
        s_kk, s_kr = square[np.ix_(kept, kept)], square[np.ix_(kept, ~kept)]
        s_rr = square[np.ix_(~kept, ~kept)]
        for index, ridge in enumerate(RIDGES):
            d = _solve(fitted, kept, lost, ridge, centred)
            errors[index] += np.sum(lost * (s_rr @ lost - 2 * s_kr.T @ d))
            errors[index] += np.sum(d * (s_kk @ d))
    best = int(np.argmin(errors))
    return RIDGES[best], max(errors[best], 0.0), whole
