"""The state of a search for the widths, and its pure updates in `keras.ops`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune.gates import GroupLayout
from tf_lossprune.gates.importance import check_scores
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.methods.step import Step
from tf_lossprune.types import BackendTensor, Cost
from tf_lossprune.values import numpy_of

#: A gradient beyond this says nothing, and its square would overflow in an optimizer.
LARGEST_GRADIENT = 1e15


class HostFlag(keras.Variable):
    """An int whose value the host can read while JAX traces a step.

    There a variable holds a placeholder, and Keras empties it before the first
    step. Only the host assigns a flag.

    Attributes:
        on_host: int, what was assigned last.
    """

    def __init__(self, value: int, name: str) -> None:
        super().__init__(
            value,
            dtype="int32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )
        self.on_host = int(value)

    def assign(self, value: Any) -> Any:
        self.on_host = int(ops.convert_to_numpy(value))
        return super().assign(value)


class Search(keras.layers.Layer):
    """All that training changes besides weights, as variables.

    This base class trains the dense network until the widths are fixed; a method
    with a search derives from it and overrides `draw`, `learn`, `penalty` and what
    is told of them. Everything here and there is a function of variables, so that
    a training step can be compiled, saved and resumed on every backend.

    Args:
        channels: `ChannelGraph` of the template.
        costs: list of `CostFunction`s, one for each budget.
        limits: list of floats, the budgets' shares.
        min_widths: int `[groups]`, the fewest channels.
        options: object with `threshold`, `sampler`, `importance`,
            `constraint`, `schedule` and `seed`.
        method: the `Method` with its settings.
    """

    #: Whether channels go in the order of the `importance` option.
    follows_importance = True

    def __init__(
        self,
        channels: ChannelGraph,
        costs: Sequence[Cost],
        limits: Sequence[float],
        min_widths: np.ndarray,
        options: Any,
        method: Any,
    ) -> None:
        super().__init__(name="channel_gates", dtype="float32")
        self.channel_graph = channels
        self.costs = tuple(costs)
        self.method = method
        self._options = options
        self.targets = np.array(limits, "float32")
        units = [g.units for g in channels.groups]
        self.layout = GroupLayout(units, channels.num_units)
        self.min_widths = np.asarray(min_widths)
        self.min_ratios = (self.min_widths / self.layout.sizes).astype("float32")
        check_scores(options.importance, channels)
        groups, total = len(units), channels.num_units + 1
        self.importance = self.variable((total,), 1.0, "importance")
        self.multipliers = self.variable((len(limits),), 0.0, "multipliers")
        self.kept = self.variable((total,), 1.0, "kept")
        self.step = self.variable((), 0, "step", "int32")
        self.warmup_steps = self.variable((), 0, "warmup_steps", "int32")
        self.search_steps = self.variable((), 0, "search_steps", "int32")
        self.fixed = HostFlag(0, "fixed")
        frozen = method.trains and options.schedule.frozen_search is True
        self.frozen = HostFlag(int(frozen), "frozen")
        self.make_variables(groups, total)
        self.seed_generator = keras.random.SeedGenerator(options.seed)
        self.built = True

    def variable(
        self, shape: tuple[int, ...], value: float, name: str, dtype: str = "float32"
    ) -> keras.Variable:
        """Adds a variable that every element starts from `value` in."""
        return self.add_weight(
            shape=shape,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            name=name,
            dtype=dtype,
            # Inside a mixed-precision model, too, ratios need all their digits.
            autocast=False,
            # Replicas compute the same updates from reduced gradients.
            aggregation="only_first_replica",
        )

    # Saving: by name, and with the random state, so that a resumed search draws
    # what the uninterrupted one would have drawn.

    def _saved(self) -> list:
        return [*self.weights, self.seed_generator.state]

    def save_own_variables(self, store: Any) -> None:
        for variable in self._saved():
            store[variable.name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        found = {name: store[name] for name in store.keys()}
        for variable in self._saved():
            value = found.get(variable.name)
            if value is None or tuple(value.shape) != tuple(variable.shape):
                shape = "nothing" if value is None else f"shape {tuple(value.shape)}"
                raise ValueError(
                    "Expected the weights of a PrunedModel with the same groups, "
                    "budgets and method; build it as the saved one was. Received: "
                    f"{shape} for {variable.name!r} of shape {tuple(variable.shape)}"
                )
        for variable in self._saved():
            variable.assign(found[variable.name])

    # What holds at this step.

    def read(self, name: str) -> int:
        """The value of a counter as an int, also where several devices hold it."""
        return int(numpy_of(getattr(self, name)))

    def searching(self) -> BackendTensor:
        """Bool tensor: whether widths are searched at this step."""
        started = ops.logical_and(self.search_steps > 0, self.fixed < 1)
        return ops.logical_and(started, self.step >= self.warmup_steps)

    def progress(self) -> BackendTensor:
        """Float tensor in [0, 1]: how much of the search has passed."""
        done = ops.cast(self.step - self.warmup_steps + 1, "float32")
        length = ops.cast(ops.maximum(self.search_steps, 1), "float32")
        return ops.clip(done / length, 0.0, 1.0)

    def refreshing(self, interval: int) -> BackendTensor:
        """Bool tensor: whether this is one of every `interval` steps of the search."""
        age = self.step - self.warmup_steps
        return ops.logical_and(self.searching(), age % interval == 0)

    def limits(self) -> BackendTensor:
        """Tensor `[budgets]`: the shares allowed at this step."""
        return self._options.schedule.budget(self.progress(), self.targets)

    def kept_ratios(self) -> BackendTensor:
        """Tensor `[groups]`: the shares of the channels that are kept."""
        return self.layout.mean(self.layout.rows(self.kept.value))

    def fractions(self, ratios: BackendTensor) -> BackendTensor:
        """Tensor `[budgets]`: the expected shares of the dense costs."""
        return ops.stack([cost.fraction(ratios) for cost in self.costs])

    def variance(self) -> BackendTensor:
        """Scalar tensor: the gates' mean `p (1 - p)`; 0 where nothing is drawn."""
        return ops.zeros((), "float32")

    # What a method overrides.

    def make_variables(self, groups: int, total: int) -> None:
        """Adds the method's own variables.

        Args:
            groups: int, number of groups.
            total: int, number of units and one.
        """

    def learned(self) -> list[keras.Variable]:
        """The variables that the ratio optimizer moves."""
        return []

    def ratios(self, limits: BackendTensor | None = None) -> BackendTensor:
        """Tensor `[groups]`: the keep ratios under these limits (None: now's)."""
        return ops.ones((self.layout.num_groups,), "float32")

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        """Draws one step of the search.

        Args:
            searching: bool tensor; where it is false, the result is not used.
            limits: tensor `[budgets]`.

        Returns:
            Gates `[num_units + 1]`, the factors `weight` of a `Step` or None, and
            ratios `[groups]`.
        """
        gates = ops.ones((self.layout.num_units + 1,), "float32")
        return gates, None, self.ratios(limits)

    def penalty(self) -> BackendTensor | None:
        """Scalar tensor, added to the loss during the search; None: nothing is."""
        return None

    def learn(self, step: Step, gate_gradient: BackendTensor) -> list[BackendTensor]:
        """Learns from a training step; what it assigns holds if the search runs.

        Args:
            step: the `Step`.
            gate_gradient: finite tensor `[num_units + 1]`, the task loss's gradient
                with respect to the gates.

        Returns:
            List of tensors, the gradients with which the optimizer moves `learned`.
        """
        return []

    def current_importance(self) -> BackendTensor:
        """Tensor `[num_units + 1]`: scores of the weights as they are now.

        The channels of a group go in this order.
        """
        return self._options.importance(self.channel_graph)

    # One training step.

    def begin_step(self, images: BackendTensor, replicas: int = 1) -> Step:
        """Draws the gates of one training step; returns a `Step`.

        Args:
            images: float tensor, samples of all devices together. Of the project's own
                method's constraints, only `AugmentedLagrangian` takes notice of it.
            replicas: int, how many devices share the step.
        """
        searching = self.searching()
        limits = self.limits()
        gates, weight, ratios = self.draw(searching, limits)
        gates = ops.stop_gradient(ops.where(searching, gates, self.kept.value))
        return Step(
            gates, weight, ratios, limits, searching, images, replicas, self.penalty
        )

    def finished_step(self, images: BackendTensor, replicas: int = 1) -> Step:
        """A `Step` of the compact network, which draws and learns nothing."""
        over = ops.convert_to_tensor(False)
        return Step(
            gates=self.kept.value,
            weight=None,
            ratios=self.kept_ratios(),
            limits=self.limits(),
            searching=over,
            images=images,
            replicas=replicas,
            penalty=lambda: None,
        )

    def end_step(
        self,
        step: Step,
        gate_gradient: BackendTensor,
        optimizer: keras.optimizers.Optimizer,
        assign: Callable[[list, list], None],
    ) -> None:
        """Moves the search's state and counters after a training step.

        Outside of the search, and by a step whose gradient overflowed, nothing is
        learned: neither the state nor the optimizer's moments and counter move.

        Args:
            step: the `Step`.
            gate_gradient: tensor `[num_units + 1]`, the loss's gradient with respect to
                the gates.
            optimizer: built Keras optimizer for `learned`.
            assign: function that assigns a list of variables a list of values.
        """
        if type(self).learn is not Search.learn:
            state = [*self._learning_state(), *optimizer.variables]
            before = [ops.copy(variable.value) for variable in state]
            holds = ops.logical_and(step.searching, _sound([gate_gradient]))
            gradients = self.learn(step, ops.where(holds, gate_gradient, 0.0))
            if gradients:
                holds = ops.logical_and(holds, _sound(gradients))
                gradients = [ops.where(holds, g, 0.0) for g in gradients]
                self.move(optimizer, gradients)
                holds = ops.logical_and(holds, _sound(v.value for v in self.learned()))
            after = [ops.where(holds, v.value, old) for v, old in zip(state, before)]
            assign(state, after)
        self.step.assign_add(1)

    def move(
        self, optimizer: keras.optimizers.Optimizer, gradients: list[BackendTensor]
    ) -> None:
        """Applies the gradients of `learn` to `learned`."""
        optimizer.apply(gradients, self.learned())

    def _learning_state(self) -> list[keras.Variable]:
        """The variables that `learn` and `move` may change."""
        counters = (self.step, self.warmup_steps, self.search_steps)
        flags = (self.fixed, self.frozen)
        others = {id(variable) for variable in (*counters, self.kept, *flags)}
        return [v for v in self.weights if id(v) not in others]

    def evaluation_gates(self) -> BackendTensor:
        """The gates to evaluate with: what would be kept if it ended now."""
        count = ops.round(self.ratios() * self.layout.sizes.astype("float32"))
        keep = ops.cast(
            ops.cast(self.ranks(self.importance.value), "float32") < count[:, None],
            "float32",
        )
        begun = ops.logical_and(self.searching(), self.step > self.warmup_steps)
        return ops.where(begun, self.layout.flat(keep), self.kept.value)

    def ranks(self, scores: BackendTensor) -> BackendTensor:
        """Int tensor `[groups, widest]`: each unit's place in its group, from 0.

        Args:
            scores: tensor `[num_units + 1]`, at least 0.
        """
        rows = self.layout.rows(scores)
        rows = ops.where(self.layout.valid > 0, rows, -1.0)
        return ops.argsort(ops.argsort(-rows, axis=1), axis=1)


def _sound(values: Iterable[BackendTensor]) -> BackendTensor:
    """Bool tensor: whether no entry is too large to say anything (or NaN)."""
    found = [ops.all(ops.abs(value) < LARGEST_GRADIENT) for value in values]
    return ops.all(ops.stack(found))
