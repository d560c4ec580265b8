"""The training step on TensorFlow."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from tf_lossprune import keras_internals as internals
from tf_lossprune.training.backends.base import Backend


class Step(Backend):
    """One backward pass for weights and gates."""

    _describes_itself = False

    @staticmethod
    def as_program(function, model, often=False, channels_first=False):
        """As a graph for batches of any size; a trace pays from about ten calls on."""
        if channels_first and not tf.config.list_physical_devices("GPU"):
            return tf.function(function, jit_compile=True)  # a CPU cannot without
        return tf.function(function, reduce_retracing=True) if often else function

    @staticmethod
    def gains_by_xla(operations):
        """Not on CPUs with windows that overlap: XLA's convolutions are slow there."""
        if any(d.device_type != "CPU" for d in tf.config.list_physical_devices()):
            return True
        return not any(
            np.any(np.greater(operation.kernel_size, operation.strides))
            for operation in operations
            if hasattr(operation, "kernel_size") and hasattr(operation, "strides")
        )

    @staticmethod
    @contextlib.contextmanager
    def full_precision():
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)

    def replicas(self):
        if tf.distribute.in_cross_replica_context():
            return 1
        return tf.distribute.get_replica_context().num_replicas_in_sync

    def sum_over_replicas(self, value):
        value = tf.convert_to_tensor(value)
        if self.replicas() == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce("sum", value)

    def assign_all(self, variables, values):
        if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
            super().assign_all(variables, values)
            return

        # Of an optimizer's slots, TensorFlow does not know that all devices assign
        # the same value, and refuses unless they do it together.
        def assign(strategy, variables, values):
            for variable, value in zip(variables, values, strict=True):
                strategy.extended.update(
                    variable, lambda v, x: v.assign(x), args=(value,), group=False
                )

        variables = [variable.value for variable in variables]
        tf.distribute.get_replica_context().merge_call(assign, (variables, values))

    def widths_are_open(self):
        """Whether the widths are not fixed yet, also while a function is traced."""
        with tf.init_scope():
            return self.search.read("fixed") == 0

    def variable_scope(self):
        return self.distribute_strategy.scope()

    def make_variables(self, batch):
        """As the base class says: TensorFlow traces what makes variables twice."""
        if batch is None:
            return
        # Keras wants to see what an output looks like; that is known without a trace
        # of the network, which is as long as the step's own forward pass.
        self._describes_itself = True
        try:
            with self.variable_scope():
                internals.build_symbolically(self, batch)
        finally:
            self._describes_itself = False

    def __call__(self, inputs, *args, **kwargs):
        if not self._describes_itself:
            return super().__call__(inputs, *args, **kwargs)
        # As in the network's own inputs, the batch has any size: then it knows.
        inputs = tf.nest.map_structure(
            lambda x: keras.KerasTensor((None, *x.shape[1:]), x.dtype.name), inputs
        )
        return tf.nest.map_structure(
            lambda spec: tf.compat.v1.placeholder(spec.dtype, spec.shape),
            self.compute_output_spec(inputs),
        )

    def train_step(self, data):
        if self.is_compact:
            logs = keras.Model.train_step(self, data)
            self.search.step.assign_add(1)
            return {**logs, **self.delivered_logs()}
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        # Where data have no known length, Keras tries one step more, and counters and
        # random states must not move before it turns out that nothing is left. (The
        # step that makes the optimizer's variables cannot wait: XLA lifts them out.)
        waited = tf.nest.flatten(x, expand_composites=True)
        with tf.control_dependencies(waited if self.optimizer.built else []):
            return self._step(x, y, sample_weight)

    def _step(self, x, y, sample_weight):
        batch = tf.shape(tf.nest.flatten(x)[0])[0]
        step = self.begin_step(batch)
        with tf.GradientTape() as tape:
            tape.watch(step.gates)
            y_pred = self.run_network(x, step.gates, training=True)
            loss = step.loss(
                self.compute_loss(
                    x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
                )
            )
            scaled = self.optimizer.scale_loss(loss)
        # Now: after the update, the scale may be the next step's.
        factor = self.optimizer.scale_loss(1.0)
        weights = self.trainable_weights
        by_gates, *by_weights = tape.gradient(scaled, [step.gates, *weights])
        self.optimizer.apply(by_weights, weights)
        if by_gates is not None:  # a loss of the user's that reads the output
            by_gates = tf.convert_to_tensor(by_gates) / factor
        self.end_step(step, by_gates)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss * self.replicas(), sample_weight=batch)
        logs = self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        return {**logs, **self.search_logs(step)}
