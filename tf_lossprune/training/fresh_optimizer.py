"""A new optimizer like another one, for other variables."""

from collections.abc import Sequence

import keras
from keras import ops

from tf_lossprune import keras_internals as internals


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
    rate = internals.rate_or_schedule(optimizer)
    if not isinstance(rate, keras.Variable):
        is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        shifts = is_schedule and shift
        config["learning_rate"] = ShiftedSchedule(rate, shift) if shifts else rate
    new = kind.from_config(config)
    keys, pattern = internals.undecayed(optimizer)
    if keys or pattern:
        new.exclude_from_weight_decay(
            var_list=[
                target
                for old, source, target in heirs
                if internals.key_of(old, source) in internals.undecayed(old)[0]
            ],
            var_names=[pattern.pattern] if pattern else None,
        )
    return new


def _fresh_parts(optimizer, heirs, shift):
    """A fresh `MultiOptimizer`: each weight has the optimizer that it had."""
    placed = [
        (place, old, source, target)
        for old, source, target in heirs
        if (place := internals.part_of(old, source)) is not None
    ]
    parts = []
    for place, part in enumerate(optimizer.optimizers):
        inside = [
            (old.optimizers[place], *pair) for p, old, *pair in placed if p == place
        ]
        parts.append(fresh_optimizer(part, inside, shift))
    chosen = {target.path: parts[place] for place, _, _, target in placed}
    table = internals.optimizer_map(parts[0], chosen)
    return type(optimizer)(table, loss_scale_factor=optimizer.loss_scale_factor)
