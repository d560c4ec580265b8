"""The whole job in one call: search, strip, fine-tune the compact model."""

import dataclasses
import math
import numbers
import time

import keras

from tf_lossprune.allocation import Schedule
from tf_lossprune.graph import trace
from tf_lossprune.inspection import cost
from tf_lossprune.methods import find_method
from tf_lossprune.prune import prune_model, strip_pruning
from tf_lossprune.surgery import copy_graph
from tf_lossprune.training import reestimate_statistics
from tf_lossprune.training.data import batches, steps_per_epoch
from tf_lossprune.training.phases import PhaseCallback

#: Default length of the search, as a share of all epochs.
SEARCH_SHARE = 0.3


@dataclasses.dataclass
class CompressionResult:
    """What `compress` did.

    Attributes:
        dense, compact: dicts with `"macs"`, `"params"` and, if validation data
            was given, the loss and metrics on it.
        budget: dict, resource -> asked share.
        groups: list of dicts with `"name"`, `"kept"`, `"total"`, `"ratio"`.
        history: dict with `"search"` and `"fine_tune"`, as Keras' `history`.
        seconds: dict with `"search"`, `"strip"` and `"fine_tune"`.
    """

    dense: dict
    compact: dict
    budget: dict
    groups: list
    history: dict
    seconds: dict

    def to_dict(self):
        """All of it as plain Python values, for JSON."""
        return dataclasses.asdict(self)


def compress(
    model,
    budget,
    train,
    validation=None,
    *,
    epochs=5,
    batch_size=None,
    optimizer=None,
    loss=None,
    metrics=None,
    method="loss",
    search_epochs=None,
    distill=False,
    temperature=3.0,
    statistics_batches=32,
    callbacks=None,
    jit_compile="auto",
    verbose="auto",
    **prune_options,
):
    """Searches the widths, strips, and fine-tunes the compact model.

    Other than `prune_model` and one long `fit`, the fine-tuning runs on the small
    model already, at its speed.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        budget: as in `prune_model`.
        train: training data: `tf.data.Dataset`, `keras.utils.PyDataset` or a tuple
            `(x, y)` of arrays.
        validation: validation data or None, as `validation_data` in `fit`.
        epochs: int >= 1, passes over the data in all, search included.
        batch_size: int or None, for arrays.
        optimizer: Keras optimizer; its learning rate schedule runs once over all
            epochs. None: the model's own.
        loss, metrics: as in `compile`. None: the model's own.
        method: as in `prune_model`.
        search_epochs: float in (0, epochs] or None (0.3 of them); may be broken.
            One-shot methods have no search.
        distill: bool or float in (0, 1]: whether, or with which weight, the
            compact model also learns the dense model's outputs, which must be
            logits (`keras.distillation`; Hinton et al., 2015, arXiv 1503.02531).
            True means 0.5.
        temperature: float > 0, softens both outputs for the distillation.
        statistics_batches: int >= 0, training batches from which batch
            normalisation statistics are re-estimated after the cut.
        callbacks: list of callbacks for both parts.
        jit_compile: as in `compile`.
        verbose: as in `fit`.
        **prune_options: further arguments of `prune_model`. A `schedule`'s phases
            are scaled to the search.

    Returns:
        The compact functional `keras.Model` (compiled with loss and metrics), and
        a `CompressionResult`.

    Raises:
        TypeError, ValueError, InfeasibleBudgetError: as `prune_model`, before any
            training; ValueError if there is no loss.

    Example:

    ```python
    compact, result = tf_lossprune.compress(
        model, {"macs": 0.5}, train, val, epochs=5,
        optimizer=keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    ```
    """
    settings = _compile_settings(model, optimizer, loss, metrics, jit_compile)
    _check_numbers(epochs, search_epochs, distill, temperature)
    per_epoch = steps_per_epoch(train, batch_size)
    total = epochs * per_epoch
    searching = not find_method(method).one_shot
    wanted = SEARCH_SHARE * epochs if search_epochs is None else search_epochs
    search_steps = min(max(1, round(wanted * per_epoch)), total) if searching else 0
    if searching:
        schedule = prune_options.pop("schedule", None) or Schedule()
        prune_options["schedule"] = _within_search(schedule, search_steps)
    data = {"x": train, "batch_size": batch_size, "shuffle": False}
    if isinstance(train, (tuple, list)):
        if len(train) < 2:
            raise ValueError(
                f"Expected training data as (x, y). Received: {len(train)} entries"
            )
        data.update(x=train[0], y=train[1], shuffle=True)
    fit = {**data, "validation_data": validation, "verbose": verbose}
    dense, _ = copy_graph(trace(model))

    start = time.perf_counter()
    pruned = prune_model(model, budget, method=method, **prune_options)
    optimizer = settings["optimizer"]
    history = {"search": {}, "fine_tune": {}}
    if searching:
        pruned.compile(**settings)
        history["search"] = pruned.fit(
            **fit,
            epochs=math.ceil(search_steps / per_epoch),
            callbacks=[PhaseCallback(stop_at_end=True), *(callbacks or [])],
        ).history
    searched = time.perf_counter()
    compact = strip_pruning(pruned)
    if statistics_batches:
        reestimate_statistics(compact, batches(train, batch_size), statistics_batches)
    stripped = time.perf_counter()
    settings["optimizer"] = _continued(optimizer, compact, search_steps)
    compact.compile(**settings)
    left = total - search_steps
    if left:
        learner = compact
        if distill:
            learner = _distiller(dense, compact, distill, temperature, settings)
        first = search_steps // per_epoch
        history["fine_tune"] = learner.fit(
            **fit,
            initial_epoch=first,
            epochs=first + math.ceil(left / per_epoch),
            callbacks=[_StopAfter(left), *(callbacks or [])],
        ).history
    tuned = time.perf_counter()
    if validation is not None:
        dense.compile(loss=settings["loss"], metrics=_fresh(settings["metrics"]))
    result = CompressionResult(
        dense=_figures(dense, validation, batch_size),
        compact=_figures(compact, validation, batch_size),
        budget=dict(pruned.budget.limits),
        groups=[
            {"name": name, "kept": kept, "total": size, "ratio": kept / size}
            for name, (kept, size) in pruned.kept_channels().items()
        ],
        history=history,
        seconds={
            "search": searched - start,
            "strip": stripped - searched,
            "fine_tune": tuned - stripped,
        },
    )
    return compact, result


class _StopAfter(keras.callbacks.Callback):
    """Ends `fit` after a number of steps, also in the middle of an epoch."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps
        self._last = -1

    def on_epoch_begin(self, epoch, logs=None):
        self._last = -1

    def on_train_batch_end(self, batch, logs=None):
        self.left -= batch - self._last
        self._last = batch
        if self.left <= 0:
            self.model.stop_training = True


def _compile_settings(model, optimizer, loss, metrics, jit_compile):
    """What to compile with: the arguments, else what the model was compiled with."""
    given = {}
    if isinstance(model, keras.Model) and model.compiled:
        given = model.get_compile_config() or {}
        given = {
            key: keras.saving.deserialize_keras_object(given[key])
            for key in ("optimizer", "loss", "metrics")
            if given.get(key) is not None
        }
    loss = given.get("loss") if loss is None else loss
    if loss is None:
        raise ValueError(
            "Expected a loss: pass `loss=...` or compile the model. Received: "
            "loss=None and a model that is not compiled"
        )
    optimizer = given.get("optimizer", "adam") if optimizer is None else optimizer
    metrics = given.get("metrics") if metrics is None else metrics
    return {
        "optimizer": keras.optimizers.get(optimizer),
        "loss": loss,
        "metrics": _fresh(metrics),
        "jit_compile": jit_compile,
    }


def _fresh(metrics):
    """Copies metric objects, whose variables belong to one model each."""
    return keras.tree.map_structure(
        lambda m: (
            m.from_config(m.get_config()) if isinstance(m, keras.metrics.Metric) else m
        ),
        metrics,
    )


def _check_numbers(epochs, search_epochs, distill, temperature):
    if not isinstance(epochs, numbers.Integral) or epochs < 1:
        raise ValueError(
            f"Expected a whole number of epochs, at least 1. Received: {epochs!r}"
        )
    if search_epochs is not None and not 0 < search_epochs <= epochs:
        raise ValueError(
            f"Expected search_epochs above 0 and at most epochs={epochs}. "
            f"Received: {search_epochs!r}"
        )
    if not 0 <= float(distill) <= 1:
        raise ValueError(
            f"Expected distill as a bool or a weight in (0, 1]. Received: {distill!r}"
        )
    if not temperature > 0:
        raise ValueError(f"Expected a temperature above 0. Received: {temperature!r}")


def _within_search(schedule, search_steps):
    """The schedule with its warm-up and search scaled to `search_steps` in all."""
    phases = schedule.warmup + schedule.search
    warmup = schedule.warmup / phases
    config = {
        **schedule.get_config(),
        "warmup": warmup,
        "search": 1.0 - warmup,
        "total_steps": search_steps,
        "statistics_batches": 0,  # the compact model gets its own
    }
    return Schedule.from_config(config)


def _continued(optimizer, model, steps):
    """A fresh optimizer of the same kind whose schedule goes on at `steps`."""
    fresh = optimizer.from_config(optimizer.get_config())
    fresh.build(model.trainable_variables)
    fresh.iterations.assign(steps)
    return fresh


def _distiller(teacher, student, distill, temperature, settings):
    weight = 0.5 if distill is True else float(distill)
    distiller = keras.distillation.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=keras.distillation.LogitsDistillation(
            # The default, a string, makes Keras compare raw logits instead.
            temperature,
            loss=keras.losses.KLDivergence(),
        ),
        student_loss_weight=1.0 - weight,
    )
    distiller.compile(**settings)
    return distiller


def _figures(model, validation, batch_size):
    figures = cost(model)
    if validation is not None:
        data = {"x": validation, "batch_size": batch_size}
        if isinstance(validation, (tuple, list)):
            data.update(x=validation[0], y=validation[1])
        scores = model.evaluate(**data, verbose=0, return_dict=True)
        figures.update(scores)
    return figures
