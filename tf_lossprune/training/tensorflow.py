"""The training step on TensorFlow."""

import contextlib

import keras
import tensorflow as tf


def forward_with_xla(model, x):
    """A model's inference on `x`, compiled by XLA."""
    return tf.function(model, jit_compile=True)(x, training=False)


def traced(function):
    """A function of tensors as a graph, for batches of any size."""
    return tf.function(function, reduce_retracing=True)


@contextlib.contextmanager
def full_precision():
    """A context in which float32 keeps all its digits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _replicas():
    """How many replicas share this step."""
    if tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_replica_context().num_replicas_in_sync


class TensorFlowStep:
    """Mix-in for `PrunedModel`: one backward pass for weights and gates."""

    _describes_itself = False

    def sync_state(self):
        """Nothing to do: variables always hold what the last step left."""

    def commit_state(self):
        """Nothing to do: the next step reads the variables."""

    def widths_are_open(self):
        """Whether the widths are not fixed yet, also while a function is traced."""
        with tf.init_scope():
            return self.gates.read("fixed") == 0

    def make_variables(self, batch):
        """Makes the variables of optimizer and metrics before a step is traced.

        TensorFlow traces a function that makes variables twice.

        Args:
            batch: symbolic batch, as `batch_spec` returns it; None: the step makes
                them.
        """
        if batch is None:
            return
        # Keras wants to see what an output looks like; that is known without a trace
        # of the network, which is as long as the step's own forward pass.
        self._describes_itself = True
        try:
            with self.distribute_strategy.scope():
                self._symbolic_build(data_batch=batch)
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
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        # Where data have no known length, Keras tries one step more, and counters and
        # random states must not move before it turns out that nothing is left. (The
        # step that makes the optimizer's variables cannot wait: XLA lifts them out.)
        waited = tf.nest.flatten(x, expand_composites=True)
        with tf.control_dependencies(waited if self.optimizer.built else []):
            return self._step(x, y, sample_weight)

    def _step(self, x, y, sample_weight):
        replicas = _replicas()
        draw = self.gates.begin_step()
        with tf.GradientTape() as tape:
            tape.watch(draw.gates)
            y_pred = self.run_network(x, draw.gates, training=True)
            loss = self.compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
            )
            loss = self.loss_with_penalty(loss * replicas) / replicas
            scaled = self.optimizer.scale_loss(loss)
        # Now: after the update, the scale may be the next step's.
        factor = self.optimizer.scale_loss(1.0)
        weights = self.trainable_weights
        by_gates, *by_weights = tape.gradient(scaled, [draw.gates, *weights])
        self.optimizer.apply(by_weights, weights)
        if by_gates is None:  # a loss of the user's that does not read the output
            by_gates = tf.zeros_like(draw.gates)
        by_gates = tf.convert_to_tensor(by_gates) / factor
        if replicas > 1:
            by_gates = tf.distribute.get_replica_context().all_reduce("sum", by_gates)
        batch = tf.shape(tf.nest.flatten(x)[0])[0]
        self.gates.end_step(draw, by_gates, self.ratio_optimizer, batch * replicas)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss * replicas, sample_weight=batch)
        logs = self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        return {**logs, **self.search_logs(draw)}
