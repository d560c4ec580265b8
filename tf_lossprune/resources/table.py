"""A resource of the user's own: coefficients for each layer."""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.graph import Call, ChannelGraph, Tensor
from tf_lossprune.resources.base import Term
from tf_lossprune.resources.model import BilinearResource
from tf_lossprune.resources.probes import channel_entries


@keras.saving.register_keras_serializable(package="tf_lossprune")
class LayerTable(BilinearResource):
    """A cost that is bilinear in each layer's input and output channels.

    `cost = sum over layers of a * in * out + b * in + c * out + d`, which is how ECC
    models energy from measurements (Yang et al., CVPR 2019, arXiv 1812.01803).

    Args:
        name: string, the key in a budget, such as `"energy_uj"`.
        coefficients: dict, layer name -> `(a, b, c, d)`; or a function from a
            layer to those four numbers (to be saved with a model, it must be
            registered with `keras.saving`). Layers without an entry, or for which
            the function returns None, cost nothing.
        unit: string, for tables.

    Raises:
        TypeError: if `coefficients` is neither a dict nor a function.
        ValueError: for anything but four numbers that are at least 0.

    Example:

    ```python
    energy = LayerTable("energy_uj", {"conv1": (0.02, 0.1, 0.3, 5.0)}, unit="uJ")
    prune_model(model, Budget({"energy_uj": 0.5}, resources=[energy]))
    ```
    """

    def __init__(
        self,
        name: str,
        coefficients: Mapping[str, Sequence[float]]
        | Callable[[Any], Sequence[float] | None],
        unit: str = "",
    ) -> None:
        if not callable(coefficients) and not isinstance(coefficients, dict):
            raise TypeError(
                "Expected coefficients as a dict from layer names or a function of "
                f"a layer. Received: {coefficients!r}"
            )
        self.name = name
        self.unit = unit
        self.coefficients = coefficients
        if isinstance(coefficients, dict):
            for layer, entry in coefficients.items():
                _check(layer, entry)

    def get_config(self) -> dict[str, Any]:
        coefficients = self.coefficients
        if callable(coefficients):
            coefficients = keras.saving.serialize_keras_object(coefficients)
        else:
            coefficients = {k: list(v) for k, v in coefficients.items()}
        return {"name": self.name, "coefficients": coefficients, "unit": self.unit}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LayerTable":
        config = dict(config)
        if "class_name" in config["coefficients"]:
            config["coefficients"] = keras.saving.deserialize_keras_object(
                config["coefficients"]
            )
        return cls(**config)

    def terms(self, channels: ChannelGraph) -> list[Term]:
        found = []
        for call in channels.graph.calls:
            entry = self._entry(call) if call.is_layer else None
            if entry is None:
                continue
            name = call.operation.name
            given = channel_units(channels, call.inputs[0])
            made = channel_units(channels, call.outputs[0])
            for factor, units in zip(entry, ((given, made), (given,), (made,), ())):
                if factor:
                    found.append(Term(name, factor, units))
        if not found:
            raise ValueError(
                f"Expected coefficients for at least one layer of the model. "
                f"Received: {self.coefficients!r}"
            )
        return found

    def _entry(self, call: Call) -> Sequence[float] | None:
        if isinstance(self.coefficients, dict):
            return self.coefficients.get(call.operation.name)
        entry = self.coefficients(call.operation)
        if entry is not None:
            _check(call.operation.name, entry)
        return entry


def _check(layer: str, entry: Any) -> None:
    good = isinstance(entry, (tuple, list)) and len(entry) == 4
    if not good or not all(
        isinstance(v, numbers.Real) and float(v) >= 0 for v in entry
    ):
        raise ValueError(
            "Expected four numbers (a, b, c, d), each at least 0, for layer "
            f"{layer!r}. "
            f"Received: {entry!r}"
        )


def channel_units(channels: ChannelGraph, tensor: Tensor) -> np.ndarray:
    """The units `[size]` along a tensor's channel axis: where they vary, or the last.

    Args:
        channels: `ChannelGraph`.
        tensor: `Tensor` of its graph.
    """
    labels = channels.labels[id(tensor)]
    varying = [axis for axis, size in enumerate(labels.shape) if size > 1]
    if len(varying) > 1:
        raise ValueError(
            "Expected channels along one axis. Received: a tensor of shape "
            f"{tensor.shape} with channels along {len(varying)} axes"
        )
    return channel_entries(channels, [tensor])
