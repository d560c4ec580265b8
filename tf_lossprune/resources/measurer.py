"""What measures networks that resources cannot count."""

import copy
import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from tf_lossprune.config import Configurable
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.progress import Progress
from tf_lossprune.surgery import copy_graph
from tf_lossprune.types import Path


class Measurer(Configurable):
    """Makes and times the file that a device would run.

    `tf_lossprune.deploy.LitertMeasurer` is the one that `prune_model` and
    `inspect_model` hand to the resources of a budget. One of your own, for another
    format or a device on a cable, is registered for `keras.saving`, since it is saved
    with the pruned model.

    Attributes:
        verbose: bool, whether to print what takes a while.
    """

    verbose = True

    def convert(self, model: keras.Model, path: Path, precision: str) -> None:
        """Writes a model's file.

        Args:
            model: Functional `keras.Model`.
            path: Path of the file.
            precision: string, one of `PRECISIONS`.
        """
        raise NotImplementedError

    def convert_operation(self, model: keras.Model, path: Path, precision: str) -> None:
        """As `convert`, of a network that is only timed, as of one operation."""
        self.convert(model, path, precision)

    def times(self, paths: Sequence[Path], threads: int, turns: int) -> np.ndarray:
        """Milliseconds of one inference, of several files in turns.

        Args:
            paths: List of paths of files that `convert` wrote.
            threads: int, threads of the runtime.
            turns: int, how often each file is timed.

        Returns:
            float array `[turns, files]`.
        """
        raise NotImplementedError

    def arena(self, path: Path) -> int:
        """Bytes of the memory in which a runtime plans a file's activations.

        Args:
            path: Path of a file that `convert` wrote.
        """
        raise NotImplementedError

    def micro_arena(self, path: Path) -> tuple[int, int]:
        """Bytes of the arena on a microcontroller: of activations, and what lasts.

        Args:
            path: Path of a file that `convert` wrote.
        """
        raise NotImplementedError

    def npu_cycles(self, path: Path, any_weights: bool = False, **options: Any) -> int:
        """Cycles of one inference on a neural accelerator.

        Args:
            path: Path of a file that `convert` wrote.
            any_weights: bool, whether to take the most that the file takes with any
                weights of these shapes.
            options: What is to be known of the accelerator, as `NpuCycles` has it.
        """
        raise NotImplementedError

    def npu_operation(
        self, operation: Any, given: int, made: int, **options: Any
    ) -> int:
        """Cycles of a single operation on a neural accelerator.

        Args:
            operation: `NpuOperation`.
            given, made: ints, channels of its input and of its output.
            options: as in `npu_cycles`.
        """
        raise NotImplementedError

    def works_here(self) -> bool:
        """Whether files can be made and run in this process: a bool."""
        return not self.missing()

    def missing(self) -> str:
        """What this process lacks to make and run files, and the cure; else empty."""
        return ""

    def device(self) -> dict[str, str] | None:
        """What tells the device of `times` from others, its software included.

        Calibrations are kept by it; None: they are not kept.
        """
        return None

    def file(self, model: keras.Model, precision: str) -> str:
        """The path of a network's file, made when it is first asked for.

        It is there as long as the network, so that size, memory and time are read off
        one file.

        Args:
            model, precision: as in `convert`.
        """
        files = self._files.setdefault(model, {})
        if precision not in files:
            folder = tempfile.mkdtemp(prefix="lossprune_")
            weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
            path = os.path.join(folder, "model.tflite")
            with Progress(
                f"Converting {model.name} to {precision}", None, self.verbose
            ):
                self.convert(model, path, precision)
            files[precision] = path
        return files[precision]

    def dense(self, channels: ChannelGraph) -> keras.Model:
        """The network of a channel graph with all its channels, always the same one.

        Args:
            channels: `ChannelGraph`.
        """
        if channels not in self._dense:
            self._dense[channels] = copy_graph(channels.graph)[0]
        return self._dense[channels]

    @functools.cached_property
    def _files(self) -> weakref.WeakKeyDictionary:
        return weakref.WeakKeyDictionary()

    @functools.cached_property
    def _dense(self) -> weakref.WeakKeyDictionary:
        return weakref.WeakKeyDictionary()


Asks = TypeVar("Asks", bound="AsksMeasurer")


class AsksMeasurer(Configurable):
    """The part of a resource that asks a `Measurer`.

    Args:
        measurer: `Measurer` or None.

    Raises:
        TypeError: for another object.
    """

    def __init__(self, measurer: Measurer | None = None) -> None:
        if measurer is not None and not isinstance(measurer, Measurer):
            raise TypeError(
                "Expected a Measurer. "
                f"Received: {measurer!r} (of type {type(measurer).__name__})"
            )
        self.measurer = measurer

    def get_config(self) -> dict[str, Any]:
        measurer = self.measurer and keras.saving.serialize_keras_object(self.measurer)
        return {"measurer": measurer}

    @classmethod
    def from_config(cls: type[Asks], config: dict[str, Any]) -> Asks:
        measurer = config.get("measurer")
        measurer = measurer and keras.saving.deserialize_keras_object(measurer)
        return cls(**{**config, "measurer": measurer})

    def with_measurer(self: Asks, measurer: Measurer) -> Asks:
        """This resource, with a measurer unless it has one."""
        if self.measurer is not None:
            return self
        new = copy.copy(self)
        new.measurer = measurer
        return new

    def ask(self) -> Measurer:
        """Returns the measurer; raises `ValueError` where there is none."""
        if self.measurer is None:
            name = type(self).__name__
            raise ValueError(
                f"Expected {name} with a measurer. `prune_model` and `inspect_model` "
                "bring one; elsewhere use `resource.with_measurer("
                f"tf_lossprune.deploy.LitertMeasurer())`. Received: {name} without one"
            )
        return self.measurer


def share_measurers(resources: Iterable[Any]) -> None:
    """Lets resources that were saved together ask one measurer again, if it is equal.

    Args:
        resources: list of `Resource`s.
    """
    found: dict = {}
    for resource in resources:
        if isinstance(resource, AsksMeasurer) and resource.measurer is not None:
            measurer = resource.measurer
            key = type(measurer), repr(measurer.get_config())
            resource.measurer = found.setdefault(key, measurer)


class MeasuresFile(AsksMeasurer):
    """The part of a resource that reads its figure off a file.

    Attributes:
        precision: string, the file's.
    """

    precision: str

    def read(self, path: Path) -> float:
        """The figure of a file at `precision`, in the resource's unit."""
        raise NotImplementedError

    def measure(self, model: keras.Model, channels: ChannelGraph) -> float:
        """The figure of the file that `model` is converted to."""
        return self.read(self.ask().file(model, self.precision))
