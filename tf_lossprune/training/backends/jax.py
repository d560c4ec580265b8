"""The training step on JAX: a pure function of all variables."""

import jax
import jax.experimental
import keras
from keras import ops, tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.training.backends.base import Backend


class Step(Backend):
    """One backward pass for weights and gates."""

    @staticmethod
    def as_program(function, model, often=False, channels_first=False):
        # What trains a `PrunedModel` is no variable of a layer.
        others = model.non_trainable_variables
        variables = {id(v): v for v in (*model.variables, *others)}
        return _compiled(function, [*variables.values()])

    @staticmethod
    def full_precision():
        return jax.default_matmul_precision("float32")

    @staticmethod
    def double_precision():
        if hasattr(jax, "enable_x64"):
            return jax.enable_x64(True)
        return jax.experimental.enable_x64()

    @property
    def non_trainable_variables(self):
        # What a step changes has to be among its arguments.
        ratio_optimizer = getattr(self, "ratio_optimizer", None)
        own = ratio_optimizer.variables if ratio_optimizer is not None else []
        return super().non_trainable_variables + own

    def sync_state(self):
        """Hands the step's state back to the variables, for the host to read."""
        self.jax_state_sync()

    def forget_programs(self):
        super().forget_programs()
        self.commit_state()

    def commit_state(self):
        """Makes what the host has assigned within an epoch the step's state."""
        internals.refresh_jax_state(self)

    def widths_are_open(self):
        """Whether the widths are not fixed yet, also while a step is traced."""
        return self.search.fixed.on_host == 0

    def train_step(self, state, data):
        if self.is_compact:
            logs, state = keras.Model.train_step(self, state, data)
            trainable, non_trainable, *others = state
            with self._scope(trainable, non_trainable) as scope:
                self.search.step.assign_add(1)
            variables = self.non_trainable_variables
            state = trainable, _current(scope, variables, non_trainable), *others
            return {**logs, **self.delivered_logs()}, state
        trainable, non_trainable, optimizer, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with self._scope(trainable, non_trainable, optimizer) as scope:
            step = self.begin_step(tree.flatten(x)[0].shape[0])
        non_trainable = _current(scope, self.non_trainable_variables, non_trainable)

        def loss_of(trainable, gates):
            scope = self._scope(trainable, non_trainable, optimizer, metrics)
            with scope:
                internals.clear_losses(self)
                y_pred = self.run_network(x, gates, training=True)
                loss = self.compute_loss(
                    x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
                )
                loss = step.loss(loss)  # the losses of layers are in it
                scaled = self.optimizer.scale_loss(loss)
                factor = self.optimizer.scale_loss(1.0)
            updates = (
                _current(scope, self.non_trainable_variables, non_trainable),
                _current(scope, self.metrics_variables, metrics),
            )
            return scaled, (loss, factor, y_pred, updates)

        gradients = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
        (_, aux), (by_weights, by_gates) = gradients(trainable, step.gates)
        loss, factor, y_pred, (non_trainable, metrics) = aux
        trainable, optimizer = self.optimizer.stateless_apply(
            optimizer, by_weights, trainable
        )
        with self._scope(trainable, non_trainable, optimizer) as scope:
            self.end_step(step, by_gates / factor)
            shown = self.search_logs(step)
        trainable = _current(scope, self.trainable_variables, trainable)
        optimizer = _current(scope, self.optimizer.variables, optimizer)
        non_trainable = _current(scope, self.non_trainable_variables, non_trainable)
        logs, metrics = internals.updated_jax_metrics(
            self, metrics, loss, x, y, y_pred, sample_weight
        )
        return {**logs, **shown}, (trainable, non_trainable, optimizer, metrics)

    def _scope(self, trainable, non_trainable, optimizer=(), metrics=()):
        """A scope in which the model's variables have these values."""
        pairs = [
            *zip(self.trainable_variables, trainable),
            *zip(self.non_trainable_variables, non_trainable),
        ]
        if optimizer:
            pairs += zip(self.optimizer.variables, optimizer)
        if metrics:
            pairs += zip(self.metrics_variables, metrics)
        return keras.StatelessScope(pairs, collect_losses=True)


def _compiled(function, variables):
    """A function that reads and assigns variables, as one program.

    Args:
        function: function of tensors.
        variables: list of the `keras.Variable`s that it reads or assigns.
    """
    assigned = []

    @jax.jit
    def program(values, args):
        with keras.StatelessScope(zip(variables, values)) as scope:
            result = function(*args)
        after = _current(scope, variables, values)
        # Weights that only pass through would be copied.
        assigned[:] = [i for i, v in enumerate(after) if v is not values[i]]
        return result, [after[i] for i in assigned]

    def call(*args):
        args = tree.map_structure(ops.convert_to_tensor, args)
        result, values = program([v.value for v in variables], args)
        for i, value in zip(assigned, values):
            variables[i].assign(value)
        return result

    return call


def _current(scope, variables, values):
    """The variables' values at the end of a scope that started with `values`."""
    found = [scope.get_current_value(variable) for variable in variables]
    return [old if new is None else new for old, new in zip(values, found)]
