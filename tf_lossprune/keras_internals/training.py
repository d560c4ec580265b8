"""Training: losses, metrics, and the state of `fit` on JAX."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras


class OwnCompilation:
    """Mix-in for a `keras.Model` that has a say in what `jit_compile="auto"` means."""

    def wants_xla(self) -> bool:
        """Whether it is to be compiled by XLA, where Keras would do so."""
        return True

    def _resolve_auto_jit_compile(self) -> bool:
        resolved: bool = super()._resolve_auto_jit_compile()  # type: ignore[misc]
        return resolved and self.wants_xla()


def build_symbolically(model: keras.Model, batch: tuple) -> None:
    """Makes the variables of metrics, loss and optimizer from a batch's shapes."""
    model._symbolic_build(data_batch=batch)


def compile_settings(model: keras.Model) -> dict | None:
    """The arguments of `compile`; None: it was not compiled."""
    return getattr(getattr(model, "_compile_config", None), "config", None)


def loss_parts(model: keras.Model) -> tuple[Any, list]:
    """What a built loss consists of.

    Returns:
        The structure of the outputs, and a list of `(path in it, loss, weight, name)`.
    """
    compiled: Any = model._compile_loss
    return compiled._y_pred_build_structure, compiled._flat_losses


def is_loss_built(model: keras.Model) -> bool:
    """Whether a compiled model has seen which output has which loss."""
    return bool(getattr(getattr(model, "_compile_loss", None), "built", False))


def build_loss(model: keras.Model, y: Any, y_pred: Any) -> None:
    """Shows a compiled model's loss the structure of targets and outputs.

    The loss is called, not built alone: that brings targets into the structure of the
    outputs, without which a batch might be taken apart into samples. What cannot be
    called is left for the training to complain about.

    Args:
        model: compiled `keras.Model`.
        y, y_pred: structures of `KerasTensor`s.
    """
    compiled: Any = model._compile_loss
    if compiled is not None and not compiled.built:
        from keras.src import backend

        with contextlib.suppress(Exception):
            backend.compute_output_spec(compiled, y, y_pred)


def loss_function_options(loss: Any) -> dict[str, Any]:
    """What a loss object passes on to its function."""
    return dict(getattr(loss, "_fn_kwargs", {}))


def wrapped_function(metric: Any) -> tuple[Callable, dict[str, Any]]:
    """The function that a `MeanMetricWrapper` takes the mean of, and its options."""
    return metric._fn, dict(metric._fn_kwargs)


def loss_tracker(model: keras.Model) -> Any:
    """The metric that shows the loss."""
    return model._loss_tracker


def updated_jax_metrics(model: Any, values: list, loss: Any, *batch: Any) -> tuple:
    """The logs of a step on JAX, and the values of the metrics' variables after it.

    Args:
        model: compiled `keras.Model`.
        values: list of tensors, those of the metrics' variables before.
        loss: scalar tensor.
        *batch: inputs, targets, outputs and sample weights.
    """
    return model._update_metrics_variables(values, loss, *batch)


def start_at(model: keras.Model, epoch: int) -> None:
    """Lets the `fit` that is beginning start at a later epoch."""
    model._initial_epoch = epoch


def refresh_jax_state(model: Any) -> None:
    """Makes the values of the variables those that `fit` goes on with, if it runs.

    Keras takes them before the next step. Should the data end there instead, it puts
    back what it keeps, and what it keeps is renewed too.
    """
    state = getattr(model, "_jax_state", None)
    if state:
        model._jax_state_synced = True
        values = model._get_jax_state(**dict.fromkeys(state, True))
        model._jax_state = dict(zip(state, values, strict=True))
