"""A new optimizer like another one, for other variables."""

from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_lossprune")
class ShiftedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that has some steps behind it, for an optimizer that counts anew.

    Args:
        schedule: `LearningRateSchedule`.
        steps: int.
    """

    def __init__(self, schedule, steps):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        return self.schedule(ops.cast(step, "int32") + self.steps)

    def get_config(self):
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["steps"])


def fresh_optimizer(
    optimizer: keras.optimizers.Optimizer,
    heirs: Sequence[tuple] = (),
    shift: int = 0,
) -> keras.optimizers.Optimizer:
    """Makes an optimizer with the settings of another one, for other variables.

    What a config cannot hold is handed on as it is: schedules and functions for the
    learning rate, which weights do not decay, which optimizer a weight has.

    Args:
        optimizer: Keras optimizer; not changed.
        heirs: list of an optimizer of that kind (such as itself), one of its variables
            and the variable that takes its place.
        shift: int, steps that the learning rate's schedule has behind it.

    Returns:
        A Keras optimizer, not built.
    """
    kind, config = type(optimizer), optimizer.get_config()
    if hasattr(optimizer, "inner_optimizer"):
        del config["inner_optimizer"]
        inside = [(old.inner_optimizer, *pair) for old, *pair in heirs]
        return kind(fresh_optimizer(optimizer.inner_optimizer, inside, shift), **config)
    if hasattr(optimizer, "optimizers") and optimizer.built:
        return _fresh_parts(optimizer, heirs, shift)
    rate = optimizer._learning_rate
    if not isinstance(rate, keras.Variable):
        is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        shifts = is_schedule and shift
        config["learning_rate"] = ShiftedSchedule(rate, shift) if shifts else rate
    new = kind.from_config(config)
    if hasattr(optimizer, "_exclude_from_weight_decay"):
        pattern = optimizer._exclude_from_weight_decay_pattern
        new.exclude_from_weight_decay(
            var_list=[
                target
                for old, source, target in heirs
                if old._var_key(source) in old._exclude_from_weight_decay
            ],
            var_names=None if pattern is None else [pattern.pattern],
        )
    return new


def _fresh_parts(optimizer, heirs, shift):
    """A fresh `MultiOptimizer`: each weight has the optimizer that it had."""
    from keras.src.optimizers.multi_optimizer import OptimizerMap

    placed = [
        (old._var_to_optimizer_idx[old._var_key(source)], old, source, target)
        for old, source, target in heirs
        if old._var_key(source) in old._var_to_optimizer_idx
    ]
    parts = []
    for place, part in enumerate(optimizer.optimizers):
        inside = [
            (old.optimizers[place], *pair) for p, old, *pair in placed if p == place
        ]
        parts.append(fresh_optimizer(part, inside, shift))
    chosen = {target.path: parts[place] for place, _, _, target in placed}
    table = OptimizerMap(default_optimizer=parts[0], optimizer_map=chosen)
    return type(optimizer)(table, loss_scale_factor=optimizer.loss_scale_factor)
