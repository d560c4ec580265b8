"""The contract of a training step, with `fit` or without."""

import dataclasses
from typing import Any

from keras import ops

from tf_lossprune.config import check_count
from tf_lossprune.methods.step import Step


class StepContract:
    """Mix-in for `PrunedModel`: what happens before and after a backward pass.

    This is all that a custom loop, a `train_step` of a subclass and the backends
    know of the search.
    """

    def begin_step(self, batch_size: Any, optimizer: Any = None) -> Step:
        """Draws the gates of one training step.

        Args:
            batch_size: int or scalar tensor, how many samples this device's batch has.
            optimizer: the Keras optimizer of a custom loop, which waits with the
                weights where the schedule has a `frozen_search`; None: the one that
                the model is compiled with.

        Returns:
            A `Step`: run the network with its `gates`, and differentiate its
            `loss(task_loss)` with respect to weights and gates.

        Example (TensorFlow):

        ```python
        step = pruned.begin_step(len(x))
        with tf.GradientTape() as tape:
            tape.watch(step.gates)
            y_pred = pruned.run_network(x, step.gates, training=True)
            loss = step.loss(loss_fn(y, y_pred))
        weights = pruned.trainable_weights
        by_gates, *by_weights = tape.gradient(loss, [step.gates, *weights])
        optimizer.apply(by_weights, weights)
        pruned.end_step(step, by_gates)
        ```
        """
        if isinstance(batch_size, (int, float)):
            check_count("batch_size", batch_size, 1)
        images = ops.cast(batch_size, "float32") * self.replicas()
        if self.is_compact:
            return self.search.finished_step(images, self.replicas())
        step = self.search.begin_step(images, self.replicas())
        return dataclasses.replace(step, held=self._held(optimizer))

    def _held(self, optimizer: Any) -> list:
        """Pairs of variable and value: what a step of the search leaves alone."""
        if not self.search.frozen.on_host:
            return []
        optimizer = getattr(self, "optimizer", None) if optimizer is None else optimizer
        if optimizer is None:
            raise ValueError(
                "Expected the optimizer of the loop, `begin_step(batch_size, "
                "optimizer)`, for a search on frozen weights. Received: None"
            )
        if not optimizer.built:
            optimizer.build(self.trainable_variables)
        # The scale of a loss has to follow the gradients, whatever trains.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        held = [*self.trainable_variables, *self.network.weights, *optimizer.variables]
        return [(v, ops.copy(v.value)) for v in {id(v): v for v in held}.values()]

    def end_step(self, step: Step, gate_gradient: Any) -> None:
        """Moves what the method learns, and counts the step.

        Args:
            step: what `begin_step` returned.
            gate_gradient: tensor `[num_units + 1]`, the gradient of the step's loss
                with respect to its gates, without any loss scaling; None: the loss
                does not depend on them.
        """
        if not isinstance(step, Step):
            raise TypeError(
                "Expected what `begin_step` returned. "
                f"Received: {step!r} (of type {type(step).__name__})"
            )
        if self.is_compact:
            self.search.step.assign_add(1)
            return
        if gate_gradient is None:
            gate_gradient = ops.zeros_like(step.gates)
        gate_gradient = ops.cast(self.sum_over_replicas(gate_gradient), "float32")
        if tuple(gate_gradient.shape) != tuple(step.gates.shape):
            raise ValueError(
                "Expected the gradient with respect to the step's gates, of shape "
                f"{tuple(step.gates.shape)}. Received: {tuple(gate_gradient.shape)}"
            )
        optimizer = self.ratio_optimizer
        self.search.end_step(step, gate_gradient, optimizer, self.assign_all)
        if step.held:
            variables = [variable for variable, _ in step.held]
            values = [ops.where(step.searching, old, v.value) for v, old in step.held]
            self.assign_all(variables, values)

    def search_logs(self, step: Step) -> dict:
        """What the progress bar shows: expected costs and the phase, as tensors."""
        if self.is_compact:
            return self.delivered_logs()
        fixed = self.search.fixed > 0
        phase = ops.where(fixed, 2.0, ops.where(step.searching, 1.0, 0.0))
        ratios = ops.where(step.searching, step.ratios, self.search.kept_ratios())
        shares = self.search.fractions(ratios)
        logs = {name: shares[i] for i, name in enumerate(self.shares)}
        return {**logs, "phase": phase}
