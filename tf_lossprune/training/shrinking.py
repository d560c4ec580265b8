"""How a pruned model's network becomes the compact one, in the middle of `fit`."""

import warnings
from typing import Any

import numpy as np
from keras import ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.cut_variables import cut_variables
from tf_lossprune.surgery import cut
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.fresh_optimizer import fresh_optimizer
from tf_lossprune.training.network import gated_network
from tf_lossprune.training.optimizer_state import cut_optimizer
from tf_lossprune.training.repair import Repair, repair


class Shrinking:
    """Mix-in for `PrunedModel`: from the gated network to the compact one, and back.

    The gated network and the template share their layers, which keep the weights of
    the moment of the cut; the compact network has layers of its own, a part of those
    weights, and trains on.

    Attributes:
        is_compact: bool, whether the network is the compact one.
    """

    is_compact = False

    def shrink(self, optimizer: Any = None) -> Any:
        """Puts the compact network in the gated one's place.

        `fit` does this itself when the widths are fixed, at the end of a batch. The
        optimizer's slots are cut as the weights are, and training goes on at the
        compact network's cost.

        Args:
            optimizer: the Keras optimizer of a custom loop; None: the one that
                the model is compiled with.

        Returns:
            The optimizer that takes its place, built for the compact network's
            weights; None where there was none.

        Raises:
            ValueError: if the widths are not fixed yet: call `decide` before.
        """
        compiled = getattr(self, "optimizer", None)
        optimizer = compiled if optimizer is None else optimizer
        if self.is_compact:
            return optimizer
        if self.phase != "fixed":
            raise ValueError(
                "Expected fixed widths: call `decide()` before, or train to the end of "
                f"the search. Received: {self.name!r} in phase {self.phase!r}"
            )
        self._become_compact(self.kept_units())
        found = optimizer
        if optimizer is not None and optimizer.built:
            with self.variable_scope():
                pieces = cut_variables(self.channel_graph, self.network)
                weights = self.trainable_variables
                found = cut_optimizer(optimizer, pieces, weights)
        if compiled is not None and optimizer is compiled:
            self.optimizer = found
        self.forget_programs()
        return found

    @property
    def repairs(self) -> bool:
        """Whether `fit` would repair the network if it were cut now.

        `"auto"` says so unless the weights were trained with gates: what they learned
        to compute with channels that come and go is no target to go back to.
        """
        if self.options.repair != "auto":
            return bool(self.options.repair)
        self.sync_state()  # within an epoch, variables lag behind on JAX
        dense = self.search.read("step") <= self.search.read("warmup_steps")
        return bool(self.search.frozen.on_host) or dense

    def repair_cut(self, data: Any) -> Repair | None:
        """Makes the network that has just been cut predict what it lost.

        `fit` does this itself where the `repair` option says so. In a loop of one's
        own, it belongs right after `shrink`, before any further step.

        Args:
            data: iterable of batches or `DenseMoments`, as in `training.repair`.

        Returns:
            What was done; None where there are no data, as with a generator, which
            cannot be read twice.
        """
        if not self.is_compact:
            raise ValueError(
                "Expected a network that has been cut: call `shrink` before. "
                f"Received: {self.name!r}"
            )
        if not isinstance(data, DenseMoments):
            data = DenseMoments(self.channel_graph, data)
        if data.count < 2:
            if self.options.repair == "least_squares":
                warnings.warn(
                    "Nothing is repaired: the training data cannot be read a second "
                    "time (a generator cannot). Train on arrays, a tf.data.Dataset or "
                    "a PyDataset.",
                    stacklevel=2,
                )
            return None
        with self.variable_scope():
            kept = self.kept_units()
            done = repair(self.channel_graph, kept, self.network, data, trained=self)
        self.commit_state()
        return done

    def delivered_logs(self) -> dict:
        """What the progress bar shows of the compact network, as tensors."""
        logs = {**self._delivered, "phase": 2.0}
        return {name: ops.convert_to_tensor(v, "float32") for name, v in logs.items()}

    def _become_compact(self, keep):
        widths = np.array([n for n, _ in self.kept_channels(keep).values()])
        self._delivered = {
            name: self.costs[name].total(widths) / self.costs[name].dense
            for name in self.shares
        }
        with self.variable_scope():
            self._put(cut(self.channel_graph, keep, self.network.name), compact=True)

    def _become_gated(self):
        """Back to the gated network, for the state of an earlier moment."""
        with self.variable_scope():
            self._put(
                gated_network(self.network.name, self.channel_graph), compact=False
            )

    def _put(self, network, compact):
        internals.untrack(self, self.network)
        self.network = network
        self.is_compact = compact

    def _renew_optimizer(self):
        """An optimizer of the same settings for the network's weights."""
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and optimizer.built:
            with self.variable_scope():
                self.optimizer = fresh_optimizer(optimizer)
                self.optimizer.build(self.trainable_variables)
        self.forget_programs()

    def _match(self, kept):
        """Makes the network the one whose state is about to be loaded.

        Args:
            kept: bool `[num_units + 1]`, the units of a compact network; None: the
                state is that of a gated one.
        """
        kept = None if kept is None else np.asarray(kept, bool)
        if kept is None and not self.is_compact:
            return
        if self.is_compact:
            if kept is not None and np.array_equal(kept, self.kept_units()):
                return
            self._become_gated()
        if kept is not None:
            self._become_compact(kept)
        self._renew_optimizer()
