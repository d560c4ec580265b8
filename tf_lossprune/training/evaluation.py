"""What a cut network is worth: for methods that try widths out."""

import itertools
import math

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.training.data import batches
from tf_lossprune.training.statistics import moving, reestimate_statistics


class Evaluation:
    """Scores networks with some channels gated off on a few training batches.

    The statistics of batch normalisations are re-estimated for each network, since
    without that a cut network says little about what training makes of it.

    Args:
        model: `PrunedModel`, compiled.
        data: training data in a form which `fit` takes, with targets.
        batch_size: int or None, for arrays.
        batches: int >= 1, how many batches are looked at.
        statistics: int >= 0, batches for the statistics.

    Attributes:
        calls: int, how many networks have been scored.

    Raises:
        ValueError: if the model is not compiled, or the data has no targets or
            cannot be read twice.
    """

    def __init__(self, model, data, batch_size=None, batches=4, statistics=2):
        if not model.compiled:
            raise ValueError(
                f"The method {model.options.method.name!r} evaluates networks, so "
                "compile the pruned model first. Received: a model that is not compiled"
            )
        self.model = model
        self._data, self._batch_size = data, batch_size
        found = list(itertools.islice(_labelled(data, batch_size), batches))
        if not found or not isinstance(found[0], (tuple, list)) or len(found[0]) < 2:
            raise ValueError(
                f"The method {model.options.method.name!r} needs training data with "
                "targets which can be read more than once: arrays (x, y), a "
                f"tf.data.Dataset or a PyDataset. Received: {type(data).__name__}"
            )
        self._inputs = [batch[0] for batch in found[:statistics]]
        self._size = len(tree.flatten(found[0])[0])
        self._arrays = tree.map_structure(
            lambda *parts: np.concatenate([ops.convert_to_numpy(p) for p in parts]),
            *[tuple(batch) for batch in found],
        )
        self.calls = 0

    def __call__(self, ratios):
        """Scores the network of these keep ratios.

        Args:
            ratios: float `[groups]`; each group keeps its most important channels,
                rounded to whole ones.

        Returns:
            A float, higher is better: the accuracy if the model was compiled with
            it as a metric, else `exp(-loss)`.
        """
        self.calls += 1
        gates, network = self.model.search, self.model.network
        statistics = moving(network)
        before = [ops.convert_to_numpy(v.value) for v in statistics]
        kept, fixed = ops.convert_to_numpy(gates.kept.value), int(gates.fixed)
        self._assign(ratios)
        try:
            reestimate_statistics(
                network,
                self._inputs,
                len(self._inputs),
                self.model.forward_kept,
            )
            logs = self._evaluate()
        finally:
            for variable, value in zip(statistics, before):
                variable.assign(value)
            gates.kept.assign(kept)
            gates.fixed.assign(fixed)
        return _score(logs)

    def train(self, ratios, steps):
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

    def _assign(self, ratios):
        gates = self.model.search
        scores = self.model.current_importance()
        keep = np.ones(self.model.channel_graph.num_units + 1, "float32")
        for group, ratio in zip(self.model.groups, ratios):
            order = group.units[np.argsort(-scores[group.units], kind="stable")]
            keep[order[int(round(float(ratio) * group.size)) :]] = 0.0
        gates.kept.assign(keep)
        gates.fixed.assign(1)

    def _evaluate(self):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(self._arrays)
        return keras.Model.evaluate(
            self.model,
            x,
            y,
            sample_weight=weight,
            batch_size=self._size,
            verbose=0,
            return_dict=True,
        )


def _labelled(data, batch_size):
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


def _score(logs):
    accuracies = [v for k, v in logs.items() if "acc" in k]
    score = accuracies[0] if accuracies else math.exp(-min(logs["loss"], 50.0))
    return float(score) if np.isfinite(score) else 0.0
