"""What a cut network is worth: for methods that try widths out."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.training.data import batches
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.readers import find_readers, loses
from tf_lossprune.training.repair import fold
from tf_lossprune.training.statistics import moving, reestimate_statistics
from tf_lossprune.types import Data
from tf_lossprune.values import numpy_of

#: Training data in a form which `fit` takes, their batch size and class weights.
Labelled = tuple[Data, int | None, dict[int, float] | None]


class Evaluation:
    """Scores networks with some channels gated off on a few training batches.

    The statistics of batch normalisations are re-estimated for each network, since
    without that a cut network says little about what training makes of it; and unless
    training comes between, what it lost is repaired first (`training.repair`). The
    moments for that are computed once and kept.

    Args:
        model: `PrunedModel`, compiled.
        data: training data in a form which `fit` takes, with targets.
        batch_size: int or None, for arrays.
        class_weight: dict, class -> weight, or None, as in `fit`.
        batches: int >= 1, how many batches are looked at.
        statistics: int >= 0, batches for the statistics.
        repairs: bool, whether networks are repaired before they are scored.
        moments: `DenseMoments` for that, where they are at hand; None: of this data.

    Attributes:
        calls: int, how many networks have been scored.

    Raises:
        ValueError: if the model is not compiled, or the data has no targets or
            cannot be read twice.
    """

    def __init__(
        self,
        model: Any,
        data: Data,
        batch_size: int | None = None,
        class_weight: dict[int, float] | None = None,
        batches: int = 4,
        statistics: int = 2,
        repairs: bool = False,
        moments: DenseMoments | None = None,
    ) -> None:
        if not model.compiled:
            raise ValueError(
                f"The method {model.options.method.name!r} evaluates networks, so "
                "compile the pruned model first. Received: a model that is not compiled"
            )
        self.model = model
        self._data, self._batch_size = data, batch_size
        found = list(itertools.islice(_labelled(data, batch_size), batches))
        if not _have_targets(found):
            raise ValueError(
                f"The method {model.options.method.name!r} needs training data with "
                "targets which can be read more than once: arrays (x, y), a "
                f"tf.data.Dataset or a PyDataset. Received: {type(data).__name__}"
            )
        self._inputs = [batch[0] for batch in found[:statistics]]
        self._size = len(tree.flatten(found[0])[0])
        arrays = tree.map_structure(
            lambda *parts: np.concatenate([ops.convert_to_numpy(p) for p in parts]),
            *[tuple(batch) for batch in found],
        )
        self._x, self._y, self._weight = keras.utils.unpack_x_y_sample_weight(arrays)
        if class_weight is not None and not tree.is_nested(self._y):  # or Keras refuses
            self._weight = _of_samples(class_weight, self._y)
        self.calls = 0
        self._readers = find_readers(model.channel_graph)[0] if repairs else []
        if repairs and moments is None:
            moments = DenseMoments(model.channel_graph, _labelled(data, batch_size))
        self._moments = moments if repairs else None

    def __call__(
        self, ratios: np.ndarray, importance: np.ndarray | None = None
    ) -> float:
        """Scores the network of these keep ratios.

        Args:
            ratios: float `[groups]`; each group keeps its most important channels,
                rounded to whole ones.
            importance: as in `PrunedModel.decide`.

        Returns:
            A float, higher is better: the accuracy if the model was compiled with
            it as a metric, and samples weigh the same; else `exp(-loss)`.
        """
        self.calls += 1
        gates, network = self.model.search, self.model.network
        statistics = moving(network)
        kept, fixed = numpy_of(gates.kept), gates.read("fixed")
        metrics = [v for metric in self.model.metrics for v in metric.variables]
        changed = [*statistics, *self._variables(), *metrics]
        before = [numpy_of(v).copy() for v in changed]
        self._assign(ratios, importance)
        try:
            self._repair()
            reestimate_statistics(
                network,
                self._inputs,
                len(self._inputs),
                self.model.forward_kept,
            )
            logs = self._evaluate()
        finally:
            for variable, value in zip(changed, before):
                variable.assign(value)
            gates.kept.assign(kept)
            gates.fixed.assign(fixed)
        return _score(logs, by_loss=self._weight is not None)

    def _variables(self) -> list:
        """What a repair changes."""
        constants = [r.constant.variable for r in self._readers if r.constant]
        return [*(r.weight for r in self._readers), *constants]

    def _repair(self) -> None:
        """Lets the gated network's layers do without what is gated off."""
        if self._moments is None:
            return
        keep, values = self.model.kept_units(), {}
        lose = [reader for reader in self._readers if loses(reader, keep)]
        fold(self._moments.of(lose), keep, values)
        for variable, value in values.values():
            variable.assign(ops.cast(value, variable.dtype))

    def train(self, ratios: np.ndarray, steps: int) -> None:
        """Trains the network of these keep ratios for some steps.

        Args:
            ratios: float `[groups]`, as above.
            steps: int >= 1, training steps.
        """
        self._assign(ratios)
        given = {"x": self._data, "batch_size": self._batch_size}
        if isinstance(self._data, (tuple, list)):
            given.update(zip(("x", "y", "sample_weight"), self._data))
        keras.Model.fit(self.model, **given, steps_per_epoch=steps, verbose=0)
        self.model.sync_state()
        self.model.search.kept.assign(np.ones(self.model.channel_graph.num_units + 1))
        self.model.search.fixed.assign(0)

    def _assign(self, ratios: np.ndarray, importance: np.ndarray | None = None) -> None:
        gates = self.model.search
        scores = importance
        if scores is None:
            scores = self.model.current_importance()
        keep = np.ones(self.model.channel_graph.num_units + 1, "float32")
        for group, ratio in zip(self.model.groups, ratios):
            order = group.units[np.argsort(-scores[group.units], kind="stable")]
            keep[order[int(round(float(ratio) * group.size)) :]] = 0.0
        gates.kept.assign(keep)
        gates.fixed.assign(1)

    def _evaluate(self) -> dict[str, float]:
        return keras.Model.evaluate(
            self.model,
            self._x,
            self._y,
            sample_weight=self._weight,
            batch_size=self._size,
            verbose=0,
            return_dict=True,
        )


def first_labelled(data: Data, batch_size: int | None) -> tuple | None:
    """The first batch, `(x, y, ...)`; None without targets, or if it is used up then.

    Args:
        data: training data in a form which `fit` takes.
        batch_size: int or None, for arrays.
    """
    found = [*itertools.islice(_labelled(data, batch_size), 1)]
    return tuple(found[0]) if _have_targets(found) else None


def _have_targets(batches: list) -> bool:
    """Whether there are batches, with targets."""
    return (
        bool(batches) and isinstance(batches[0], (tuple, list)) and len(batches[0]) > 1
    )


def _labelled(data: Data, batch_size: int | None) -> Iterator:
    """Batches `(x, y, ...)`; those of arrays are drawn at random."""
    if isinstance(data, (tuple, list)):
        data = tuple(data)
        count = len(tree.flatten(data[0])[0])
        order = np.random.default_rng(0).permutation(count)
        size = batch_size or 32
        for start in range(0, count, size):
            rows = np.sort(order[start : start + size])
            yield tree.map_structure(lambda a, rows=rows: np.asarray(a)[rows], data)
    elif isinstance(data, keras.utils.PyDataset) or (
        hasattr(data, "__iter__") and not hasattr(data, "__next__")
    ):
        yield from batches(data)


def _of_samples(class_weight: Mapping[int, float], y: np.ndarray) -> np.ndarray:
    """The weights of samples by their classes, given as numbers or one-hot."""
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    classes = y.argmax(-1) if one_hot else y
    return np.array([class_weight.get(int(c), 1.0) for c in classes.ravel()])


def _score(logs: Mapping[str, float], by_loss: bool = False) -> float:
    accuracies = [v for k, v in logs.items() if "acc" in k and not by_loss]
    score = accuracies[0] if accuracies else math.exp(-min(logs["loss"], 50.0))
    return float(score) if np.isfinite(score) else 0.0
