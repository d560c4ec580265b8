"""What to compile with: what was given, else what the model was compiled with."""

import keras

from tf_lossprune import keras_internals as internals

_TAKEN = ("optimizer", "loss", "metrics", "loss_weights", "weighted_metrics")


def compile_settings(model, settings):
    """The arguments of `compile`, for every model of a job.

    Loss weights and weighted metrics of a compiled model belong to its loss: with
    another loss they are not taken over.

    Args:
        model: the dense model.
        settings: `Settings`.

    Returns:
        A dict; its optimizer is not built.

    Raises:
        ValueError: if there is no loss, or for an unknown optimizer.
    """
    given = {name: getattr(settings, name) for name in _TAKEN}
    compiled = _compiled(model)
    if given["loss"] is not None:
        compiled.pop("loss_weights", None)
    for name in _TAKEN:
        if given[name] is None:
            given[name] = compiled.get(name)
    if given["loss"] is None:
        raise ValueError(
            "Expected a loss: pass `loss=...` or compile the model. Received: "
            "loss=None and a model that is not compiled"
        )
    for name in ("metrics", "weighted_metrics"):
        given[name] = fresh_metrics(given[name])
    given["optimizer"] = _optimizer(given["optimizer"])
    return {**given, "jit_compile": settings.jit_compile}


def _compiled(model):
    """What a model was compiled with: the objects themselves, not their configs."""
    if not isinstance(model, keras.Model) or not model.compiled:
        return {}
    return dict(internals.compile_settings(model) or {})


def _optimizer(optimizer):
    optimizer = "adam" if optimizer is None else optimizer
    try:
        optimizer = keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "Expected optimizer as a Keras optimizer or the name of one, such as "
            f"'adam'. Received: {optimizer!r}"
        ) from error
    if optimizer.built:  # for the variables of another model
        return optimizer.from_config(optimizer.get_config())
    return optimizer


def fresh_metrics(metrics):
    """Copies metric objects, since the variables in them belong to one model.

    What cannot be copied is shared: the models of a job are used one after the other.

    Args:
        metrics: as in `compile`.
    """
    return keras.tree.map_structure(_fresh, metrics)


def _fresh(metric):
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    if type(metric) is keras.metrics.MeanMetricWrapper:
        # Its function may be one of the user's, which no config can name.
        function, options = internals.wrapped_function(metric)
        return keras.metrics.MeanMetricWrapper(
            function, metric.name, metric.dtype, **options
        )
    try:
        return metric.from_config(metric.get_config())
    except Exception:  # whatever a metric of the user's raises
        return metric
