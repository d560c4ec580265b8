"""What `compress` and `compress_frontier` may be told, listed once."""

import dataclasses
import functools
import numbers
from collections.abc import Mapping
from typing import Any

import keras

from tf_lossprune.budget import Budget
from tf_lossprune.config import check_count, check_number
from tf_lossprune.deploy.measurer import LitertMeasurer
from tf_lossprune.prune import check_options
from tf_lossprune.training.feed import HeldOut
from tf_lossprune.types import Data, Limits


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of one job, checked; `compress` says what each of them means."""

    epochs: int = 5
    search_epochs: float | None = None
    statistics_batches: int = 32
    check: bool = True
    calibration: Any = None
    # As in `compile`.
    optimizer: Any = None
    loss: Any = None
    metrics: Any = None
    loss_weights: Any = None
    weighted_metrics: Any = None
    jit_compile: bool | str = "auto"
    # As in `fit`.
    batch_size: int | None = None
    callbacks: Any = None
    verbose: int | str = "auto"
    shuffle: bool | None = None
    class_weight: dict | None = None
    steps_per_epoch: int | None = None
    validation_split: float = 0.0
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    validation_freq: int | list = 1

    def __post_init__(self) -> None:
        _check_epochs(self.epochs, self.search_epochs, self.calibration)
        check_count("statistics_batches", self.statistics_batches, 0)
        for name in (
            "batch_size",
            "steps_per_epoch",
            "validation_steps",
            "validation_batch_size",
        ):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 1)
        check_number("validation_split", self.validation_split)
        if not 0 <= self.validation_split < 1:
            raise ValueError(
                "Expected validation_split in [0, 1). "
                f"Received: {self.validation_split!r}"
            )
        frequency = self.validation_freq
        if not isinstance(frequency, (list, tuple)):
            check_count("validation_freq, if it is no list of epochs,", frequency, 1)
        _check_callbacks(self.callbacks)
        if self.class_weight is not None:
            _check_class_weight(self.class_weight)

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> tuple["Settings", dict[str, Any]]:
        """Sorts keyword arguments.

        Args:
            options: dict of the keyword arguments of `compress`.

        Returns:
            `Settings`, and a dict with the arguments of `prune_model`.

        Raises:
            TypeError: for a name that neither knows.
        """
        own = [field.name for field in dataclasses.fields(cls)]
        rest = {name: value for name, value in options.items() if name not in own}
        check_options(rest, own)
        return cls(**{n: v for n, v in options.items() if n in own}), rest

    def told(self, budget: Budget | Limits | float) -> Budget:
        """A budget whose measurements tell as much as `verbose` says.

        All budgets of a job ask one measurer, which converts a network once.

        Args:
            budget: as in `prune_model`.
        """
        return Budget(budget).with_measurer(self._measurer)

    @functools.cached_property
    def _measurer(self) -> LitertMeasurer:
        return LitertMeasurer(bool(self.verbose))

    def held_out(self, validation: Data) -> HeldOut | None:
        """Validation data as a `HeldOut`, or None where there are none."""
        if validation is None:
            return None
        size = self.validation_batch_size or self.batch_size
        return HeldOut(validation, size, self.validation_steps)


def _check_epochs(epochs: Any, search_epochs: Any, calibration: Any) -> None:
    least = 0 if calibration is not None else 1
    if not isinstance(epochs, numbers.Integral) or int(epochs) < least:
        raise ValueError(
            f"Expected a whole number of epochs, at least 1 (or 0, without training, "
            f"and `calibration`). Received: {epochs!r}"
        )
    if calibration is not None and epochs != 0:
        raise ValueError(
            "Expected `calibration` with epochs=0: with training, the training data "
            f"are used. Received: epochs={epochs}"
        )
    if search_epochs is None:
        return
    check_number("search_epochs", search_epochs)
    if not 0 < search_epochs <= epochs:
        raise ValueError(
            f"Expected search_epochs above 0 and at most epochs={epochs}. "
            f"Received: {search_epochs!r}"
        )


def _check_callbacks(callbacks: Any) -> None:
    for callback in callbacks or ():
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                "Expected callbacks as a list of keras.callbacks.Callback objects. "
                f"Received: {callback!r} (of type {type(callback).__name__})"
            )


def _check_class_weight(weights: Any) -> None:
    if not isinstance(weights, dict) or not weights:
        raise TypeError(
            "Expected class_weight as a dict such as {0: 1.0, 1: 2.5}. "
            f"Received: {weights!r} (of type {type(weights).__name__})"
        )
    for number, weight in weights.items():
        check_count("the classes in class_weight", number, 0)
        check_number("the weights in class_weight", weight)
