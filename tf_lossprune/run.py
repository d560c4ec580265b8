"""What `compress` and `compress_frontier` share: one job from data to figures."""

import math
import numbers
import time

import keras

from tf_lossprune.allocation import Schedule
from tf_lossprune.backup import Backup
from tf_lossprune.config import check_count, check_number
from tf_lossprune.graph import trace
from tf_lossprune.inspection import cost
from tf_lossprune.methods import find_method
from tf_lossprune.surgery import copy_graph
from tf_lossprune.team import Team
from tf_lossprune.training import reestimate_statistics
from tf_lossprune.training.data import batches, steps_per_epoch
from tf_lossprune.training.phases import PhaseCallback, StepCallback

#: Default length of the search: the first share of all steps; of a short training up
#: to the second, until it has enough steps; of a long one no more than are of use.
SEARCH_SHARE, LARGEST_SEARCH_SHARE = 0.15, 0.3
ENOUGH_STEPS, MOST_STEPS = 200, 1000


def default_search_steps(total, share=SEARCH_SHARE):
    """How many of `total` steps search, if nobody says.

    The search's steps are dear, and train what is cut off: longer ones were no better
    (docs/methods.md).

    Args:
        total: int, steps in all.
        share: float in (0, 1], share of a training of some thousand steps.
    """
    least = min(LARGEST_SEARCH_SHARE * total, ENOUGH_STEPS)
    most = MOST_STEPS * share / SEARCH_SHARE
    return max(1, round(min(max(share * total, least), most)))


class Run:
    """Data, settings, and how many steps search and fine-tuning get.

    Args:
        model: the dense model; a copy of it is kept.
        train, validation, epochs, batch_size, optimizer, loss, metrics,
            search_epochs, distill, temperature, statistics_batches, callbacks,
            jit_compile, verbose: as in `compress`.
        method: string or `Method`, which may need steps for a search.
        search_share: float in (0, 1], default share of the search in all steps.
        backup: `Backup`, a path or None, where the state is kept.
    """

    def __init__(
        self,
        model,
        train,
        validation,
        *,
        epochs,
        batch_size,
        optimizer,
        loss,
        metrics,
        method,
        search_epochs,
        distill,
        temperature,
        statistics_batches,
        callbacks,
        jit_compile,
        verbose,
        search_share=SEARCH_SHARE,
        backup=None,
    ):
        self._settings = _compile_settings(model, optimizer, loss, metrics, jit_compile)
        _check_numbers(epochs, search_epochs, distill, temperature)
        check_count("statistics_batches", statistics_batches, 0)
        if batch_size is not None:
            check_count("batch_size", batch_size, 1)
        _check_train(train)
        self._per_epoch = steps_per_epoch(train, batch_size)
        total = epochs * self._per_epoch
        self._method = find_method(method)
        if search_epochs is None:
            steps = default_search_steps(total, search_share)
        else:
            steps = max(1, round(search_epochs * self._per_epoch))
        if not self._method.trains:
            steps = self._method.plan_steps()
        self.search_steps = min(steps, total)
        self._left = total - self.search_steps
        data = {"x": train, "batch_size": batch_size, "shuffle": False}
        if isinstance(train, (tuple, list)):
            data.update(x=train[0], y=train[1], shuffle=True)
        self._fit = {**data, "validation_data": validation, "verbose": verbose}
        self._train, self._validation = train, validation
        self._batch_size = batch_size
        self._callbacks = list(callbacks or [])
        self._distill, self._temperature = distill, temperature
        self._statistics_batches = statistics_batches
        self._backup = Backup.of(backup)
        self.dense, _ = copy_graph(trace(model))
        self._began = time.perf_counter()

    def prune_options(self, options):
        """Options of `prune_model`, with the schedule's phases scaled to the search."""
        if not self._method.trains:
            return options
        schedule = options.get("schedule") or Schedule()
        return {**options, "schedule": _within_search(schedule, self.search_steps)}

    def execute(self, pruned, cut, callbacks=()):
        """Searches, cuts and fine-tunes.

        Args:
            pruned: `PrunedModel`.
            cut: function without arguments that returns the compact models, called
                after the search.
            callbacks: further callbacks for the search.

        Returns:
            The compact models, and the histories and seconds of the parts as they
            stand in a `CompressionResult`.
        """
        self._backup.open(self._identity(pruned))
        search = self.search(pruned, callbacks)
        searched = time.perf_counter()
        compacts = cut()
        for compact in compacts:
            self.refresh_statistics(compact)
        stripped = time.perf_counter()
        fine_tune = self.fine_tune(compacts)
        seconds = {
            "search": searched - self._began + self._backup.earlier("search"),
            "strip": stripped - searched,
            "fine_tune": time.perf_counter()
            - stripped
            + self._backup.earlier("fine_tune"),
        }
        self._backup.close()
        return compacts, {"search": search, "fine_tune": fine_tune}, seconds

    def search(self, pruned, callbacks=()):
        """Trains the pruned model until its widths are fixed; returns the history."""
        if self._method.one_shot:
            return {}
        pruned.compile(**self._settings)
        if self._method.plans:
            pruned.plan(self._train, self._batch_size)
            return {}
        phases = [PhaseCallback(stop_at_end=True), *callbacks]
        return self._fit_part("search", pruned, 0, self.search_steps, phases)

    def refresh_statistics(self, compact):
        """Re-estimates the batch normalisations' statistics."""
        if self._statistics_batches:
            data = batches(self._train, self._batch_size)
            reestimate_statistics(compact, data, self._statistics_batches)

    def fine_tune(self, models):
        """Trains compact models, all at once, for what is left; returns the history.

        Args:
            models: list of compact models; they get compiled.
        """
        for model in models:
            model.compile(**self._settings_for(model))
        if not self._left:
            return {}
        start, stop = self.search_steps, self.search_steps + self._left
        return self._fit_part("fine_tune", self._learner(models), start, stop, [])

    def _fit_part(self, part, model, start, stop, callbacks):
        """One `fit` from step `start` to `stop`, or what an earlier run left of it.

        Args:
            part: string, the name of the part.
            model: compiled `keras.Model`.
            start, stop: ints, steps since the beginning of the search.
            callbacks: callbacks besides the user's.

        Returns:
            The history as a dict.
        """
        steps = stop - start
        with self._backup.part(part, model) as kept:
            start += kept.done
            if start < stop:
                first = start // self._per_epoch
                model.fit(
                    **self._fit,
                    initial_epoch=first,
                    epochs=first + math.ceil((stop - start) / self._per_epoch),
                    callbacks=[
                        *callbacks,
                        _StopAfter(stop - start),
                        *self._callbacks,
                        kept,
                    ],
                )
                kept.finish(steps)
            return kept.history

    def _identity(self, pruned):
        """What must be the same for a run to go on where another stopped."""
        options = pruned.options.get_config()
        return {
            "budget": dict(pruned.budget.limits),
            "search_steps": self.search_steps,
            "fine_tune_steps": self._left,
            "distill": float(self._distill),
            # Names made up by Keras differ from process to process.
            "options": {k: v for k, v in options.items() if k != "excluded"},
            "weights": [list(w.shape) for w in pruned.network.weights],
        }

    def _settings_for(self, model):
        """Settings with an optimizer that goes on where the search's stopped."""
        optimizer = _continued(self._settings["optimizer"], model, self.search_steps)
        metrics = _fresh(self._settings["metrics"])
        return {**self._settings, "optimizer": optimizer, "metrics": metrics}

    def _learner(self, models):
        distillation, weight = None, 0.0
        if self._distill:
            weight = 0.5 if self._distill is True else float(self._distill)
            distillation = keras.distillation.LogitsDistillation(
                # The default, a string, makes Keras compare raw logits instead.
                self._temperature,
                loss=keras.losses.KLDivergence(),
            )
        if len(models) > 1:
            learner = Team(models, self.dense, distillation, weight)
        elif self._distill:
            learner = keras.distillation.Distiller(
                teacher=self.dense,
                student=models[0],
                distillation_losses=distillation,
                student_loss_weight=1.0 - weight,
            )
            learner.built = True  # as both networks are: its weights can be loaded
        else:
            return models[0]
        learner.compile(**self._settings_for(learner))
        return learner

    def figures(self, model):
        """Dict of costs, and of loss and metrics on the validation data."""
        figures = cost(model)
        if self._validation is None:
            return figures
        if not model.compiled:
            metrics = _fresh(self._settings["metrics"])
            model.compile(loss=self._settings["loss"], metrics=metrics)
        data = {"x": self._validation, "batch_size": self._batch_size}
        if isinstance(self._validation, (tuple, list)):
            data.update(x=self._validation[0], y=self._validation[1])
        return {**figures, **model.evaluate(**data, verbose=0, return_dict=True)}


class _StopAfter(StepCallback):
    """Ends `fit` after a number of steps, also in the middle of an epoch."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_steps(self, done):
        self.left -= done
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
    try:
        optimizer = keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "Expected optimizer as a Keras optimizer or the name of one, such as "
            f"'adam'. Received: {optimizer!r}"
        ) from error
    return {
        "optimizer": optimizer,
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


def _check_train(train):
    """Raises `TypeError` or `ValueError` for what is no training data with labels."""
    if isinstance(train, (tuple, list)):
        if len(train) < 2:
            raise ValueError(
                f"Expected training data as (x, y). Received: {len(train)} entries"
            )
        leaves = keras.tree.flatten(tuple(train[:2]))
        counts = {len(leaf) for leaf in leaves if hasattr(leaf, "shape")}
        if len(counts) > 1:
            raise ValueError(
                "Expected training data (x, y) with the same number of samples in all "
                f"arrays. Received: {sorted(counts)}"
            )
    elif train is None or hasattr(train, "shape") or not hasattr(train, "__iter__"):
        if not isinstance(train, keras.utils.PyDataset):
            raise TypeError(
                "Expected training data as (x, y), a tf.data.Dataset or a PyDataset. "
                f"Received: {type(train).__name__}"
            )


def _check_numbers(epochs, search_epochs, distill, temperature):
    if not isinstance(epochs, numbers.Integral) or epochs < 1:
        raise ValueError(
            f"Expected a whole number of epochs, at least 1. Received: {epochs!r}"
        )
    if search_epochs is not None:
        check_number("search_epochs", search_epochs)
    if not isinstance(distill, bool):
        check_number("distill, if it is no bool, as a weight in (0, 1] and", distill)
    check_number("temperature", temperature)
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
