"""The settings of a pruned model, kept together and saved with it."""

from typing import Any

import keras

from tf_lossprune.allocation import CONSTRAINTS, SCHEDULES, Constraint, Schedule
from tf_lossprune.config import check_count, check_number
from tf_lossprune.gates import (
    IMPORTANCES,
    SAMPLERS,
    THRESHOLDS,
    GateSampler,
    Importance,
    SoftThreshold,
)
from tf_lossprune.methods import METHODS, Method
from tf_lossprune.methods.search import Search
from tf_lossprune.training.lesson import TEACHER_WEIGHT

#: What is given as a name, a config or an object.
_REGISTRIES = (METHODS, SCHEDULES, IMPORTANCES, THRESHOLDS, SAMPLERS, CONSTRAINTS)

#: A search on frozen weights is short: so many times faster the ratios move.
FROZEN_RATE = 3.0

#: What `prune_model(repair=...)` takes.
REPAIRS = ("auto", "least_squares", None)


@keras.saving.register_keras_serializable(package="tf_lossprune")
class PruningOptions:
    """How `prune_model` is to search, and to choose channels.

    Args:
        method, schedule, importance, threshold, sampler, constraint: names, configs or
            objects; None: the default.
        ratio_optimizer: what `keras.optimizers.get` takes, or None (Adam).
        seed: int.
        repair: `"auto"`, `"least_squares"` or None.
        distill: `"auto"`, bool or float in [0, 1]; True is the teacher's usual weight.
        temperature: float > 0.
    """

    method: Method
    schedule: Schedule
    importance: Importance
    threshold: SoftThreshold
    sampler: GateSampler
    constraint: Constraint

    def __init__(
        self,
        method: Any = "loss",
        schedule: Any = None,
        importance: Any = None,
        threshold: Any = None,
        sampler: Any = None,
        constraint: Any = None,
        ratio_optimizer: Any = None,
        seed: int = 0,
        repair: str | None = "auto",
        distill: str | bool | float = "auto",
        temperature: float = 3.0,
    ) -> None:
        given = {
            "method": method,
            "schedule": schedule,
            "importance": importance,
            "threshold": threshold,
            "sampler": sampler,
            "constraint": constraint,
        }
        for registry in _REGISTRIES:
            setattr(self, registry.option, registry.find(given[registry.option]))
        self._ratio_optimizer = _optimizer_config(ratio_optimizer)
        check_count("seed", seed, 0)
        self.seed = seed
        if repair not in REPAIRS:
            raise ValueError(f"Expected repair among {REPAIRS}. Received: {repair!r}")
        self.repair = repair
        _check_distillation(distill, temperature)
        #: `"auto"`, or the teacher's weight: 0.0 without one.
        self.distill = distill
        if distill != "auto":
            self.distill = TEACHER_WEIGHT if distill is True else float(distill)
        self.temperature = temperature
        search = self.method.search_class
        frozen = self.method.trains and self.schedule.frozen_search is True
        if frozen and search.penalty is not Search.penalty:
            raise ValueError(
                "Expected a method that searches by the gates' gradient, such as "
                "'loss' or 'taylor', for a search on frozen weights: this one trains "
                "the weights to tell the channels apart. Received: "
                f"method={self.method.name!r} with Schedule(frozen_search=True)"
            )

    def freezes(self, total: int, network: keras.Model, compiled: bool) -> bool:
        """Whether the weights wait while the widths are searched.

        Args:
            total: int, steps of the training.
            network: as in `Method.freezes`.
            compiled: bool, whether the model is: only if it is asked to, a loop of
                one's own hands its optimizer over.
        """
        frozen = self.method.freezes(self.schedule, int(total), network)
        return frozen and (compiled or self.schedule.frozen_search is True)

    def make_ratio_optimizer(self) -> keras.optimizers.Optimizer:
        """Returns a fresh optimizer for the ratios."""
        if self._ratio_optimizer is None:
            return keras.optimizers.Adam(self.method.learning_rate)
        return keras.optimizers.deserialize(self._ratio_optimizer)

    def set_ratio_rate(
        self, optimizer: keras.optimizers.Optimizer, frozen: bool
    ) -> None:
        """Sets the default rate of the ratios, unless there is one of the user's.

        Args:
            optimizer: what `make_ratio_optimizer` returned.
            frozen: bool, whether the weights wait during the search.
        """
        if self._ratio_optimizer is None:
            rate = self.method.learning_rate
            optimizer.learning_rate = rate * FROZEN_RATE if frozen else rate

    def get_config(self) -> dict[str, Any]:
        return {
            **{
                registry.option: keras.saving.serialize_keras_object(
                    getattr(self, registry.option)
                )
                for registry in _REGISTRIES
            },
            "ratio_optimizer": self._ratio_optimizer,
            "seed": self.seed,
            "repair": self.repair,
            "distill": self.distill,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruningOptions":
        return cls(**config)


def _check_distillation(distill: Any, temperature: Any) -> None:
    if distill != "auto":
        if not isinstance(distill, bool):
            name = 'distill, if it is neither "auto" nor a bool, as a weight in (0, 1]'
            check_number(f"{name} and", distill)
        if not 0 <= float(distill) <= 1:
            raise ValueError(
                'Expected distill as "auto", a bool or a weight in (0, 1]. '
                f"Received: {distill!r}"
            )
    check_number("temperature", temperature)
    if not temperature > 0:
        raise ValueError(f"Expected a temperature above 0. Received: {temperature!r}")


def _optimizer_config(optimizer: Any) -> dict[str, Any] | None:
    """The config of what `keras.optimizers.get` takes; of None it is None."""
    if optimizer is None:
        return None
    if not isinstance(optimizer, (str, dict, keras.optimizers.Optimizer)):
        raise TypeError(
            "Expected ratio_optimizer as a name, a config or a keras optimizer. "
            f"Received: {optimizer!r} (of type {type(optimizer).__name__})"
        )
    if isinstance(optimizer, dict):
        optimizer = {"config": {}, **optimizer}
    try:
        optimizer = keras.optimizers.get(optimizer)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "Expected ratio_optimizer as a name, a config or a keras optimizer "
            f"({error}). Received: {optimizer!r}"
        ) from error
    return keras.optimizers.serialize(optimizer)
