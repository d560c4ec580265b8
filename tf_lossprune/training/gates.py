"""The state of the search, and its pure updates in `keras.ops`."""

import collections

import keras
import numpy as np
from keras import ops

from tf_lossprune.gates import GroupLayout, solve_steepness, solve_threshold
from tf_lossprune.gates.importance import normalize

#: What one step draws: the gates `[num_units + 1]`; for each unit the factor
#: which carries a gradient by its gate to its group's ratio; and the ratios,
#: limits (tensors) and whether the search runs (bool tensor).
StepDraw = collections.namedtuple(
    "StepDraw", ["gates", "weight", "ratios", "limits", "searching"]
)

#: A ratio of exactly 1 has no gradient; this close, it has one.
LARGEST_SOFT_RATIO = 1.0 - 1e-3
TAYLOR_DECAY = 0.98
#: A gradient beyond this says nothing, and its square would overflow in an optimizer.
LARGEST_GRADIENT = 1e15


class ChannelGates(keras.layers.Layer):
    """All that the search changes besides weights, as variables.

    Args:
        channels: `ChannelGraph` of the template.
        costs: list of `CostModel`s, one for each budget.
        limits: list of floats, the budgets' shares.
        smallest: int `[groups]`, the fewest channels.
        options: object with `family`, `draw`, `importance`, `constraint`,
            `schedule` and `seed`.
    """

    def __init__(self, channels, costs, limits, smallest, options):
        super().__init__(name="channel_gates", dtype="float32")
        self._channels = channels
        self._options = options
        self._costs = tuple(costs)
        self._targets = np.array(limits, "float32")
        units = [g.units for g in channels.groups]
        self._layout = GroupLayout(units, channels.num_units)
        self._smallest = (smallest / self._layout.sizes).astype("float32")
        # A soft ratio of 0 has no gradient; half a channel has, and rounds to none.
        half = (0.5 / self._layout.sizes).astype("float32")
        self._smallest_soft = np.maximum(self._smallest, half)
        self._score = options.importance.bind(channels)
        groups, total = len(units), channels.num_units + 1

        def variable(shape, value, name, dtype="float32"):
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

        self.log_ratio = variable((groups,), 0.0, "log_ratio")
        self.steepness = variable((groups,), 1.0, "steepness")
        self.importance = variable((total,), 1.0, "importance")
        self.taylor = variable((total,), 0.0, "taylor")
        self.multipliers = variable((len(limits),), 0.0, "multipliers")
        self.kept = variable((total,), 1.0, "kept")
        self.step = variable((), 0, "step", "int32")
        self.warmup_steps = variable((), 0, "warmup_steps", "int32")
        self.search_steps = variable((), 0, "search_steps", "int32")
        self.fixed = variable((), 0, "fixed", "int32")
        self.seed_generator = keras.random.SeedGenerator(options.seed)
        self.built = True

    # Saving: by name, and with the random state, so that a resumed search draws
    # what the uninterrupted one would have drawn.

    def _saved(self):
        return [*self.weights, self.seed_generator.state]

    def save_own_variables(self, store):
        for variable in self._saved():
            store[variable.name] = variable.numpy()

    def load_own_variables(self, store):
        found = {name: store[name] for name in store.keys()}
        for variable in self._saved():
            value = found.get(variable.name)
            if value is None or tuple(value.shape) != tuple(variable.shape):
                shape = "nothing" if value is None else f"shape {tuple(value.shape)}"
                raise ValueError(
                    "Expected the weights of a PrunedModel with the same groups and "
                    "budgets; build it as the saved one was. Received: "
                    f"{shape} for {variable.name!r} of shape {tuple(variable.shape)}"
                )
        for variable in self._saved():
            variable.assign(found[variable.name])

    # What holds at this step.

    def read(self, name):
        """The value of a counter as an int, also where several devices hold it."""
        return int(ops.convert_to_numpy(getattr(self, name).value))

    def searching(self):
        """Bool tensor: whether ratios are learned at this step."""
        started = ops.logical_and(self.search_steps > 0, self.fixed < 1)
        return ops.logical_and(started, self.step >= self.warmup_steps)

    def progress(self):
        """Float tensor in [0, 1]: how much of the search has passed."""
        done = ops.cast(self.step - self.warmup_steps + 1, "float32")
        length = ops.cast(ops.maximum(self.search_steps, 1), "float32")
        return ops.clip(done / length, 0.0, 1.0)

    def limits(self):
        """Tensor `[budgets]`: the shares allowed at this step."""
        return self._options.schedule.budget(self.progress(), self._targets)

    def ratios(self, limits=None):
        """Tensor `[groups]`: the keep ratios under these limits."""
        return self._options.constraint.ratios(
            self.log_ratio.value,
            self._costs,
            self.limits() if limits is None else limits,
            self._smallest,
        )

    def target_ratios(self):
        """Numpy `[groups]`: the keep ratios under the final budget."""
        return ops.convert_to_numpy(self.ratios(self._targets))

    def kept_ratios(self):
        """Tensor `[groups]`: the shares of the channels that are kept."""
        return self._layout.mean(self._layout.rows(self.kept.value))

    def fractions(self, ratios):
        """Tensor `[budgets]`: the expected shares of the dense costs."""
        return ops.stack([cost.fraction(ratios) for cost in self._costs])

    def variance(self):
        """Scalar tensor: the gates' mean `p (1 - p)`, which nears 0 in the search."""
        importance, steepness = self._last_refresh()
        x = self._log_rows(importance)
        p, _ = self._probabilities(x, self._soft(self.ratios()), steepness)
        searching = ops.cast(self.searching(), "float32")
        return searching * ops.mean(self._layout.mean(p * (1.0 - p)))

    def _last_refresh(self):
        return self.importance.value, self.steepness.value

    def _soft(self, ratios):
        return ops.clip(ratios, self._smallest_soft, LARGEST_SOFT_RATIO)

    def _probabilities(self, x, soft, steepness):
        """Keep probabilities and thresholds of all groups, padded."""
        return solve_threshold(self._options.family, self._layout, x, soft, steepness)

    # One training step.

    def begin_step(self):
        """Draws the gates of one training step; returns a `StepDraw`."""
        searching = self.searching()
        limits = self.limits()
        ratios = self.ratios(limits)
        soft = self._soft(ratios)
        interval = self._options.importance.interval
        age = self.step - self.warmup_steps
        refresh = ops.logical_and(searching, age % interval == 0)
        importance, steepness = ops.cond(
            refresh,
            lambda: self._refreshed(soft),
            self._last_refresh,
        )
        self.importance.assign(importance)
        self.steepness.assign(steepness)
        x = self._log_rows(importance)
        family, layout = self._options.family, self._layout
        p, threshold = self._probabilities(x, soft, steepness)
        noise = keras.random.uniform((layout.num_units + 1,), seed=self.seed_generator)
        gates, slope = self._options.draw(layout.flat(p), noise)
        # dp_i/dalpha = C f'_i / sum_j f'_j
        density = family.pdf(steepness[:, None] * (x - threshold[:, None]))
        density = density * layout.valid
        share = density / (layout.mean(density)[:, None] + 1e-12)
        weight = layout.flat(share, first=0.0) * slope
        gates = ops.where(searching, gates, self.kept.value)
        return StepDraw(ops.stop_gradient(gates), weight, ratios, limits, searching)

    def end_step(self, draw, gate_gradient, optimizer):
        """Moves ratios, multipliers and counters after a training step.

        Args:
            draw: the `StepDraw` of this step.
            gate_gradient: tensor `[num_units + 1]`, the task loss's gradient by
                the gates.
            optimizer: Keras optimizer of the ratios.
        """
        layout, constraint = self._layout, self._options.constraint
        running = ops.cast(draw.searching, "float32")
        by_ratio = ops.sum(
            layout.rows(gate_gradient * draw.weight) * layout.valid, axis=1
        )
        # A step whose gradient overflowed says nothing about the channels. (No
        # comparison holds for NaN.)
        sound = ops.logical_and(
            ops.all(ops.abs(gate_gradient) < LARGEST_GRADIENT),
            ops.all(ops.abs(by_ratio) < LARGEST_GRADIENT),
        )
        by_ratio = ops.where(sound, by_ratio, 0.0)
        gradient = constraint.gradient(
            draw.ratios, by_ratio, self._costs, draw.limits, self.multipliers.value
        )
        before = self.log_ratio.value + 0.0
        optimizer.apply([gradient * running], [self.log_ratio])
        moved = ops.where(draw.searching, self.log_ratio.value, before)
        self.log_ratio.assign(ops.where(ops.all(ops.isfinite(moved)), moved, before))
        pushed = constraint.next_multipliers(
            self.multipliers.value, self.fractions(draw.ratios), draw.limits
        )
        self.multipliers.assign(
            ops.where(draw.searching, pushed, self.multipliers.value)
        )
        if self._options.importance.kind == "taylor":
            rate = (1.0 - TAYLOR_DECAY) * running * draw.gates
            change = rate * (ops.abs(gate_gradient) - self.taylor.value)
            self.taylor.assign_add(ops.where(sound, change, 0.0))
        self.step.assign_add(1)

    def evaluation_gates(self):
        """The gates to evaluate with: what would be kept if it ended now."""
        rows = self._layout.rows(self.importance.value)
        rows = ops.where(self._layout.valid > 0, rows, -1.0)
        rank = ops.argsort(ops.argsort(-rows, axis=1), axis=1)
        count = ops.round(self.ratios() * self._layout.sizes.astype("float32"))
        keep = ops.cast(ops.cast(rank, "float32") < count[:, None], "float32")
        begun = ops.logical_and(self.searching(), self.step > self.warmup_steps)
        return ops.where(begun, self._layout.flat(keep), self.kept.value)

    def current_importance(self):
        """Tensor `[num_units + 1]`: scores of the weights as they are now."""
        scores = self._score()
        if self._options.importance.kind != "taylor":
            return scores
        seen = ops.sum(self.taylor.value) > 0
        return ops.where(seen, normalize(self.taylor.value, self._channels), scores)

    def _refreshed(self, soft):
        importance = self.current_importance()
        # Weights that broke have no order; the last one stays.
        sound = ops.all(ops.isfinite(importance))
        importance = ops.where(sound, importance, self.importance.value)
        steepness = solve_steepness(
            self._options.family,
            self._layout,
            self._log_rows(importance),
            soft,
            self._options.schedule.variance(self.progress()),
        )
        return importance, steepness

    def _log_rows(self, importance):
        return self._layout.rows(ops.log(importance + 1e-6))
