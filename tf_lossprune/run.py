"""What `compress` and `compress_frontier` share: one job from data to figures."""

import time

from tf_lossprune.allocation import SCHEDULES, Schedule
from tf_lossprune.allocation.schedule import SEARCH_SHARE, default_search_steps
from tf_lossprune.backup import Backup
from tf_lossprune.compiling import compile_settings, fresh_metrics
from tf_lossprune.cut_variables import cut_variables
from tf_lossprune.graph import trace
from tf_lossprune.methods import find_method
from tf_lossprune.resources import known_costs
from tf_lossprune.surgery import copy_graph
from tf_lossprune.team import Team
from tf_lossprune.training import reestimate_statistics
from tf_lossprune.training.distillation import Distillation
from tf_lossprune.training.feed import Feed, HeldOut, split
from tf_lossprune.training.fresh_optimizer import fresh_optimizer
from tf_lossprune.training.optimizer_state import cut_optimizer, join_optimizers
from tf_lossprune.training.phases import PhaseCallback, StepCallback
from tf_lossprune.training.trial import (
    as_in_fit,
    check_class_weight,
    complete_class_weight,
    try_batch,
)


class Run:
    """One job's data and settings, and how many steps search and fine-tuning get.

    Args:
        model: the dense model; a copy of it is kept.
        train: as in `compress`, or a `Feed`.
        validation: as in `compress`.
        settings: `Settings`.
        method: string or `Method`, which may need steps for a search.
        search_share: float in (0, 1], default share of the search in all steps.
        backup: `Backup`, a path or None, where the state is kept.

    Attributes:
        dense: the copy of the dense model.
        search_steps: int.
        distillation: `Distillation` or None; known when the run has been tried.
    """

    def __init__(
        self,
        model,
        train,
        validation,
        settings,
        method="loss",
        search_share=SEARCH_SHARE,
        backup=None,
    ):
        self._settings = compile_settings(model, settings)
        self._options = settings
        self._method = find_method(method)
        if settings.validation_split and validation is None:
            train, validation = split(train, settings.validation_split)
        if not isinstance(train, Feed):
            train = Feed(
                train,
                settings.batch_size,
                settings.steps_per_epoch,
                kept=settings.statistics_batches,
            )
        self._train = train
        self._validation = None
        if validation is not None:
            size = settings.validation_batch_size or settings.batch_size
            self._validation = HeldOut(validation, size, settings.validation_steps)
        self._per_epoch = self._train.steps
        total = settings.epochs * self._per_epoch
        if settings.search_epochs is None:
            steps = default_search_steps(total, search_share)
        else:
            steps = max(1, round(settings.search_epochs * self._per_epoch))
        if not self._method.trains:
            steps = self._method.plan_steps()
        self.search_steps = min(steps, total)
        self._left = total - self.search_steps
        self._callbacks = list(settings.callbacks or [])
        self._backup = Backup.of(backup)
        self._optimizers = {}  # compact model -> the search's optimizer, cut
        self.dense, _ = copy_graph(trace(model))
        self.distillation = None
        self.dense_figures = {}
        self._input_shape = None

    def prune_options(self, options):
        """Options of `prune_model`, with the schedule's phases scaled to the search."""
        if not self._method.trains:
            return options
        schedule = SCHEDULES.find(options.get("schedule"))
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
        self._input_shape = pruned.options.input_shape
        self._backup.open(self._identity(pruned))
        self._try()
        began = time.perf_counter()
        search = self.search(pruned, callbacks)
        searched = time.perf_counter()
        compacts = cut()
        for compact in compacts:
            self.take_optimizer(pruned, compact)
            self.refresh_statistics(compact)
        stripped = time.perf_counter()
        fine_tune = self.fine_tune(compacts)
        seconds = {
            "search": searched - began + self._backup.earlier("search"),
            "strip": stripped - searched,
            "fine_tune": time.perf_counter()
            - stripped
            + self._backup.earlier("fine_tune"),
        }
        self._backup.close()
        return compacts, {"search": search, "fine_tune": fine_tune}, seconds

    def _try(self):
        """Tries everything on one batch, so that nothing is refused later on.

        The dense model is evaluated here, too, and with it the validation data.
        """
        dense, batch = self.dense, self._train.batch
        dense.compile(**{**self._settings, **self._fresh_metrics(), "optimizer": None})
        targets = self._train.data[1] if self._train.in_arrays else None
        outputs = try_batch(dense, batch, targets)
        if self._options.class_weight is not None:
            check_class_weight(dense, batch)
        if self._options.distill:
            self.distillation = Distillation(dense, self._options.temperature)
            self.distillation.check(outputs)
            self.distillation(outputs, outputs)
            if self._options.verbose:
                print(f"The dense model teaches {self.distillation}.")
        self.dense_figures = self.figures(dense)

    def search(self, pruned, callbacks=()):
        """Trains the pruned model until its widths are fixed; returns the history."""
        if self._method.one_shot:
            return {}
        pruned.compile(**self._settings)
        if self._method.plans:
            pruned.plan(self._train.data, self._options.batch_size)
            return {}
        phases = [PhaseCallback(stop_at_end=True), *callbacks]
        return self._fit_part("search", pruned, 0, self.search_steps, phases)

    def refresh_statistics(self, compact):
        """Re-estimates the batch normalisations' statistics."""
        if self._options.statistics_batches:
            number = self._options.statistics_batches
            reestimate_statistics(compact, self._train.batches(), number)

    def fine_tune(self, models):
        """Trains compact models, all at once, for what is left; returns the history.

        Args:
            models: list of compact models; they get compiled.
        """
        for model in models:
            model.compile(**self._settings_for(model, [model]))
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
                    **self._fit_arguments(),
                    initial_epoch=first,
                    epochs=first + self._train.epochs(stop - start),
                    callbacks=[
                        *callbacks,
                        _StopAfter(stop - start),
                        *self._callbacks,
                        kept,
                    ],
                )
                kept.finish(steps)
            return kept.history

    def _fit_arguments(self):
        """Dict of the arguments of `fit` that are the same in every part."""
        options, train = self._options, self._train
        shuffle = train.in_arrays if options.shuffle is None else options.shuffle
        found = {**train.arguments(), "shuffle": shuffle, "verbose": options.verbose}
        if options.class_weight is not None:
            found["class_weight"] = complete_class_weight(
                self.dense, options.class_weight
            )
        if self._validation is not None:
            found.update(
                self._validation.fit_arguments(),
                validation_batch_size=options.validation_batch_size,
                validation_freq=options.validation_freq,
            )
        return found

    def _identity(self, pruned):
        """What must be the same for a run to go on where another stopped."""
        options = pruned.options.get_config()
        return {
            "budget": dict(pruned.budget.limits),
            "search_steps": self.search_steps,
            "fine_tune_steps": self._left,
            "distill": float(self._options.distill),
            # Names made up by Keras differ from process to process.
            "options": {k: v for k, v in options.items() if k != "excluded"},
            "weights": [list(w.shape) for w in pruned.network.weights],
        }

    def take_optimizer(self, pruned, compact):
        """Cuts the search's optimizer as it is now, for a model that was just cut.

        Args:
            pruned: `PrunedModel`.
            compact: the compact `keras.Model`.
        """
        optimizer = getattr(pruned, "optimizer", None)
        if optimizer is None or not optimizer.built or compact in self._optimizers:
            return
        pieces = cut_variables(pruned.channels, compact)
        self._optimizers[compact] = cut_optimizer(
            optimizer, pieces, compact.trainable_variables
        )

    def _settings_for(self, model, members):
        """Settings with an optimizer that goes on where the search's stopped.

        Args:
            model: the model that learns.
            members: list of the compact models in it, or the model itself.
        """
        taken = [self._optimizers[m] for m in members if m in self._optimizers]
        if len(taken) < len(members):  # no search has trained
            optimizer = fresh_optimizer(
                self._settings["optimizer"], shift=self.search_steps
            )
        elif model is members[0]:
            optimizer = taken[0]
        else:
            optimizer = join_optimizers(taken, model.trainable_variables)
        return {**self._settings, **self._fresh_metrics(), "optimizer": optimizer}

    def _fresh_metrics(self):
        names = ("metrics", "weighted_metrics")
        return {name: fresh_metrics(self._settings[name]) for name in names}

    def _learner(self, models):
        if len(models) == 1 and self.distillation is None:
            return models[0]
        for model in models:
            # Inside a compiled step no variables can be made.
            model._symbolic_build(data_batch=as_in_fit(self._train.batch))
        weight = self._options.teacher_weight
        learner = Team(models, self.dense, self.distillation, weight)
        learner.compile(**self._settings_for(learner, models))
        return learner

    def figures(self, model):
        """Dict of costs, and of loss and metrics on the validation data.

        Args:
            model: compiled `keras.Model`.
        """
        figures = known_costs(model, input_shape=self._input_shape)
        if self._validation is None:
            return figures
        return {**figures, **self._validation.evaluate(model)}


class _StopAfter(StepCallback):
    """Ends `fit` after a number of steps, also in the middle of an epoch."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_steps(self, done):
        self.left -= done
        if self.left <= 0:
            self.model.stop_training = True


def _within_search(schedule, search_steps):
    """The schedule with its warm-up and search scaled to `search_steps` in all."""
    search = SEARCH_SHARE if schedule.search is None else schedule.search
    warmup = schedule.warmup / (schedule.warmup + search)
    config = {
        **schedule.get_config(),
        "warmup": warmup,
        "search": 1.0 - warmup,
        "total_steps": search_steps,
        "statistics_batches": 0,  # the compact model gets its own
    }
    return Schedule.from_config(config)
