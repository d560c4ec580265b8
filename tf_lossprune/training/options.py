"""The settings of a pruned model, kept together and saved with it."""

import keras

from tf_lossprune.allocation import Constraint, Projection, Schedule
from tf_lossprune.config import check_count
from tf_lossprune.gates import Draw, Family, HardDraw, Importance, SigmoidLog
from tf_lossprune.methods import find_method

_OBJECTS = {
    "schedule": (Schedule, Schedule),
    "importance": (Importance, Importance),
    "family": (Family, SigmoidLog),
    "draw": (Draw, HardDraw),
    "constraint": (Constraint, Projection),
}


@keras.saving.register_keras_serializable(package="tf_lossprune")
class PruningOptions:
    """Everything that `prune_model` may be told besides model and budget.

    Args:
        method: string or `Method`.
        schedule, importance, family, draw, constraint: objects or None.
        ratio_optimizer: Keras optimizer or None (Adam).
        excluded: list of names of the template's layers.
        channel_multiple: int or `"auto"`.
        min_channels: int.
        remove_blocks: bool.
        seed: int.
        input_shape: shape of one sample to count for, or None.
    """

    def __init__(
        self,
        method="loss",
        schedule=None,
        importance=None,
        family=None,
        draw=None,
        constraint=None,
        ratio_optimizer=None,
        excluded=(),
        channel_multiple="auto",
        min_channels=1,
        remove_blocks=False,
        seed=0,
        input_shape=None,
    ):
        self.method = find_method(method)
        given = {
            "schedule": schedule,
            "importance": importance,
            "family": family,
            "draw": draw,
            "constraint": constraint,
        }
        for name, value in given.items():
            base, default = _OBJECTS[name]
            if value is None:
                value = default()
            if isinstance(value, str) and name == "importance":
                value = Importance(value)
            if not isinstance(value, base):
                raise TypeError(
                    f"Expected {name} as a tf_lossprune {base.__name__}. "
                    f"Received: {value!r} (of type {type(value).__name__})"
                )
            setattr(self, name, value)
        if ratio_optimizer is not None and not isinstance(
            ratio_optimizer, keras.optimizers.Optimizer
        ):
            raise TypeError(
                "Expected ratio_optimizer as a keras optimizer. Received: "
                f"{ratio_optimizer!r} (of type {type(ratio_optimizer).__name__})"
            )
        self._ratio_optimizer = (
            None
            if ratio_optimizer is None
            else keras.optimizers.serialize(ratio_optimizer)
        )
        check_count("seed", seed, 0)
        self.excluded = list(excluded)
        self.channel_multiple = channel_multiple
        self.min_channels = min_channels
        self.remove_blocks = bool(remove_blocks)
        self.seed = seed
        self.input_shape = input_shape

    def make_ratio_optimizer(self):
        """Returns a fresh optimizer for the ratios."""
        if self._ratio_optimizer is None:
            return keras.optimizers.Adam(self.method.learning_rate)
        return keras.optimizers.deserialize(self._ratio_optimizer)

    def get_config(self):
        optimizer = None
        if self._ratio_optimizer is not None:
            optimizer = self._ratio_optimizer
        return {
            "method": keras.saving.serialize_keras_object(self.method),
            **{
                name: keras.saving.serialize_keras_object(getattr(self, name))
                for name in _OBJECTS
            },
            "ratio_optimizer": optimizer,
            "excluded": self.excluded,
            "channel_multiple": self.channel_multiple,
            "min_channels": self.min_channels,
            "remove_blocks": self.remove_blocks,
            "seed": self.seed,
            "input_shape": self.input_shape,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name in ("method", *_OBJECTS):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        if config["ratio_optimizer"] is not None:
            config["ratio_optimizer"] = keras.optimizers.deserialize(
                config["ratio_optimizer"]
            )
        return cls(**config)
