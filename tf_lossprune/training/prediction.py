"""Which channels the others can stand in for: an order that needs no labels."""

from typing import Any

import numpy as np
from keras import ops

from tf_lossprune.gates.importance import (
    GroupL2,
    Importance,
    normalize,
    register_importance,
)
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.training.calibration import some_batches
from tf_lossprune.training.dense_moments import SAMPLES, DenseMoments, in_passes
from tf_lossprune.training.readers import find_readers
from tf_lossprune.types import BackendTensor, Data
from tf_lossprune.values import numpy_of

#: The ridge, in units of the channels' mean variance.
RIDGE = 1e-2
#: In so many steps at most the channels of a group are removed.
MOST_STEPS = 64
#: Matrices get smaller when no more than this share of them is left.
LARGEST_REST = 0.75


@register_importance
class Prediction(Importance):
    """What is lost of the outputs that read a channel if the others stand in for it.

    Channels are removed one after the other, each time the one whose removal changes
    its readers' outputs least after `training.repair`, relative to their variance; that
    change is the score. With `H` the second moments of what a layer reads, `J` the
    columns of a channel (one for each tap of a kernel) and `W` the layer's weights, the
    change is `tr(W_J' (H^-1_JJ)^-1 W_J)`, as in optimal brain surgery and ZipLM (Kurtic
    et al., NeurIPS 2023, arXiv 2302.04089). Groups that are read by layers which cannot
    be repaired go by `GroupL2`.

    It is computed once, from the network as `prune_model` gets it, and fits methods
    that do not train the weights first: `method="magnitude"` sets one threshold for the
    whole network.

    Args:
        inputs: an array, a list or dict of them, or batches; without labels. A few
            hundred are enough.
        samples: int >= 2, how many of them are used at most.
        scores: list of floats, what was computed before; in a config.

    Example:

    ```python
    pruned = tf_lossprune.prune_model(
        model, {"macs": 0.5}, method="magnitude",
        importance=tf_lossprune.importances.Prediction(images))
    compact = tf_lossprune.strip_pruning(pruned, calibration=images)
    ```
    """

    name = "prediction"

    def __init__(
        self, inputs: Data = None, samples: int = SAMPLES, scores: Any = None
    ) -> None:
        super().__init__()
        self._inputs = None if inputs is None else some_batches(inputs, samples)
        self._samples, self._scores = samples, scores
        self._of: ChannelGraph | None = None

    def get_config(self) -> dict[str, Any]:
        scores = None if self._scores is None else np.asarray(self._scores).tolist()
        return {"samples": self._samples, "scores": scores}

    def score(self, channels: ChannelGraph) -> BackendTensor:
        if self._inputs is not None and self._of is not channels:
            moments = DenseMoments(channels, self._inputs)
            self._scores, self._of = predicted(channels, moments), channels
        if self._scores is None:
            raise ValueError(
                "Expected inputs to tell how well channels are predicted: "
                "importance=tf_lossprune.importances.Prediction(images), or in "
                "`compress` epochs=0 with `calibration`. Received: none"
            )
        return ops.convert_to_tensor(np.asarray(self._scores, "float32"))


def prediction_orders(
    channel_graph: ChannelGraph, moments: DenseMoments
) -> list[np.ndarray]:
    """The importance of all units `[num_units + 1]` by `Prediction`, in two versions.

    What it does not know is that a normalisation over channels has other statistics
    once some of them are gone. In some networks, channels that pass one had better go
    by `GroupL2`; the second version is for those.

    Args:
        channel_graph: `ChannelGraph`.
        moments: `DenseMoments` of it.

    Returns:
        List of scores with mean 1 over each group. One where no channels pass a
        normalisation; none where the data say nothing: there are none, as from a
        generator, or they are all the same.
    """
    if moments.count < 2 or moments.all_alike():
        return []
    scores = predicted(channel_graph, moments).astype("float32")
    found = [ops.convert_to_numpy(normalize(scores, channel_graph))]
    mixed = _normalized(channel_graph)
    if mixed.any():
        norms = ops.convert_to_numpy(GroupL2()(channel_graph))
        found.append(np.where(mixed, norms, found[0]))
    return found


def _normalized(channel_graph):
    """`[num_units + 1]`: whether its group passes a normalisation over channels."""
    passed = np.zeros(channel_graph.num_units + 1, bool)
    for call in channel_graph.graph.calls:
        gated = channel_graph.gated_call(call)
        if gated is not None:
            passed[gated[0]] = True
    for group in channel_graph.groups:
        passed[group.units] = passed[group.units].any()
    passed[0] = False
    return passed


def predicted(channel_graph: ChannelGraph, moments: DenseMoments) -> np.ndarray:
    """The scores of all units `[num_units + 1]`; see `Prediction`.

    Args:
        channel_graph: `ChannelGraph`.
        moments: `DenseMoments` of it.
    """
    readers, left = find_readers(channel_graph)
    unknown = {
        unit
        for record in channel_graph.records.values()
        for weight, axes in record.gates.items()
        if f"{record.layer.name}.{weight}" in left
        for axis in axes
        for unit in np.unique(record.weights[weight][axis])
    }
    scores = np.zeros(channel_graph.num_units + 1)
    known = np.zeros(channel_graph.num_units + 1, bool)
    jobs = []
    for group in channel_graph.groups:
        own = [r for r in readers if any(_reads(s, group) for s in r.slices)]
        if own and not unknown & set(group.units):
            jobs.append((group, own))
    for part in in_passes(jobs, lambda job: job[1]):
        every = list({id(r): r for _, own in part for r in own}.values())
        found = {id(r): pieces for r, pieces in moments.of(every)}
        for group, own in part:
            maps = [
                _Map(reader, piece, halves[0] + halves[1], group)
                for reader in own
                for piece, halves in zip(reader.slices, found[id(reader)])
                if _reads(piece, group)
            ]
            scores[group.units] = _elimination(maps, group.size)
            known[group.units] = True
    if not known[1:].all():
        norms = ops.convert_to_numpy(GroupL2()(channel_graph))
        level = scores[known].mean() if known.any() else 1.0
        scores = np.where(known, scores, level * norms)
    return scores


def _reads(piece, group):
    return np.isin(group.units, piece.units).any()


class _Map:
    """A linear map whose inputs are removed, unit by unit, and stood in for.

    Args:
        reader: `Reader`.
        piece: its `Slice`.
        moments: `Moments` of what it reads.
        group: `Group` whose units are removed.
    """

    def __init__(self, reader, piece, moments, group):
        mean = moments.mean if reader.constant is not None else 0 * moments.mean
        square = moments.about(mean)
        if not np.isfinite(square).all():
            raise ValueError(
                "Expected finite activations to tell how well channels are predicted. "
                f"Received: NaN or Inf in what {reader.name!r} reads"
            )
        kernel = numpy_of(reader.weight).astype("float64")
        self.weights = kernel.reshape(-1)[piece.index]
        whole = np.sum(self.weights * (square @ self.weights))
        level = np.trace(square) / len(square)
        self._scale = whole + np.finfo("float32").tiny
        tiny = np.finfo("float32").tiny
        self._inverse = np.linalg.inv(
            square + (RIDGE * level + tiny) * np.eye(len(square))
        )
        self._columns = [np.flatnonzero(piece.units == u) for u in group.units]
        self._stay = np.ones(len(square), bool)
        self._counts = np.array([len(at) for at in self._columns])

    def errors(self, places):
        """What the removal of each of these units changes, of the map's output.

        Args:
            places: int array, places in the group.
        """
        found = np.zeros(len(places))
        counts = self._counts[places]
        for count in np.unique(counts[counts > 0]):
            which = np.flatnonzero(counts == count)
            at = np.stack([self._columns[place] for place in places[which]])
            lost = self.weights[at]
            blocks = self._inverse[at[:, :, None], at[:, None, :]]
            if count == 1:
                fitted = lost / blocks
            else:
                fitted = np.linalg.solve(blocks, lost)
            found[which] = np.sum(lost * fitted, axis=(1, 2)) / self._scale
        return found

    def remove(self, places):
        """Lets the other inputs stand in for the units at these places."""
        at = np.concatenate([self._columns[place] for place in places])
        if not len(at):
            return
        gone = self._inverse[at]
        share = np.linalg.solve(gone[:, at], gone).T  # H^-1_:J (H^-1_JJ)^-1
        self.weights -= share @ self.weights[at]
        self._inverse -= share @ gone
        # What is gone has no part in what follows.
        self._stay[at] = False
        if self._stay.mean() < LARGEST_REST:
            self._forget()

    def _forget(self):
        """Drops the rows and columns of what is gone."""
        self.weights = self.weights[self._stay]
        self._inverse = self._inverse[np.ix_(self._stay, self._stay)]
        moved = np.cumsum(self._stay) - 1
        self._columns = [moved[columns] for columns in self._columns]
        self._stay = np.ones(len(self.weights), bool)


def _elimination(maps, size):
    """The scores of a group's units, by the order in which they are removed."""
    scores, left, last = np.zeros(size), np.arange(size), 0.0
    at_once = -(-size // MOST_STEPS)
    while len(left):
        errors = sum(m.errors(left) for m in maps)
        first = np.argsort(errors, kind="stable")[:at_once]
        last = max(last, float(errors[first[-1]]))
        scores[left[first]] = last
        for m in maps:
            m.remove(left[first])
        left = np.delete(left, first)
    return scores
