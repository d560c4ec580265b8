"""What a backend has to provide for a `PrunedModel` to train on it."""

import abc
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import keras


class Backend(abc.ABC):
    """Mix-in for `PrunedModel`: the training step, and what it needs of a backend.

    A new backend is a file of its name in this folder with a class `Step` that derives
    from this one. Its `train_step` knows nothing of the search but the contract of
    every training step (`StepContract`): `begin_step`, the step's `gates` and `loss`,
    `end_step`.
    """

    # Programs.

    @staticmethod
    def as_program(
        function: Callable,
        model: keras.Model,
        often: bool = False,
        channels_first: bool = False,
    ) -> Callable:
        """A function that runs a model, compiled where that pays; see `as_program`."""
        return function

    @staticmethod
    def full_precision() -> contextlib.AbstractContextManager:
        """A context in which float32 keeps all its digits."""
        return contextlib.nullcontext()

    @staticmethod
    def double_precision() -> contextlib.AbstractContextManager:
        """A context in which tensors may be float64."""
        return contextlib.nullcontext()

    @staticmethod
    def gains_by_xla(operations: Iterable[Any]) -> bool:
        """Whether XLA makes steps of a network faster, where Keras would use it.

        Args:
            operations: iterable of the network's layers and operations.
        """
        return True

    # The training step.

    @abc.abstractmethod
    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """One training step, as Keras calls it on this backend."""

    def replicas(self) -> int:
        """Int: how many devices run this step, each on a batch of its own."""
        return 1

    def sum_over_replicas(self, value: Any) -> Any:
        """A tensor, summed over the devices that run this step."""
        return value

    def assign_all(self, variables: list, values: list) -> None:
        """Assigns variables in a training step, on every device that holds them.

        Args:
            variables: list of `keras.Variable`s.
            values: list of tensors, the same on all devices.
        """
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def variable_scope(self) -> contextlib.AbstractContextManager:
        """A context in which variables are made as the model's own were."""
        return contextlib.nullcontext()

    # The host's view.

    def forget_programs(self) -> None:
        """Makes the compiled functions again, for a network that has changed."""
        trains = self.train_function is not None
        self.train_function = self.test_function = self.predict_function = None
        if trains:  # `fit` may be running
            self.make_train_function()

    def sync_state(self) -> None:  # noqa: B027
        """Hands what the last step left to the variables, for the host to read.

        Nothing to do where steps leave it in the variables.
        """

    def commit_state(self) -> None:  # noqa: B027
        """Makes what the host has assigned within an epoch the next step's state.

        Nothing to do where steps read the variables.
        """

    def make_variables(self, batch: Any) -> None:  # noqa: B027
        """Makes the variables of optimizer and metrics before a step is traced.

        Args:
            batch: symbolic batch, as `batch_spec` returns it; None: the step makes
                them.
        """

    def widths_are_open(self) -> bool:
        """Whether the widths are not fixed yet, also while a function is traced."""
        return self.search.read("fixed") == 0
