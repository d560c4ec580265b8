"""What `compress` and `compress_frontier` share: one job from data to figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from tf_lossprune.allocation import SCHEDULES, Schedule
from tf_lossprune.backup import Backup
from tf_lossprune.compiling import compile_settings, fresh_metrics
from tf_lossprune.methods import Method, find_method
from tf_lossprune.resources import plain
from tf_lossprune.surgery import copy_graph
from tf_lossprune.training import PrunedModel
from tf_lossprune.training.distillation import Distillation
from tf_lossprune.training.evaluation import Labelled
from tf_lossprune.training.feed import Feed, split
from tf_lossprune.training.phases import PhaseCallback, StepCallback
from tf_lossprune.training.program import jit_compile_for
from tf_lossprune.training.trial import (
    check_class_weight,
    complete_class_weight,
    try_batch,
)
from tf_lossprune.types import Data, Path

#: The costs among the figures, as far as they can be counted.
COUNTED = ("macs", "params")


class Run:
    """One job's data and settings, and what both calls do with them.

    Args:
        model: the dense model.
        train: as in `compress`, or a `Feed`.
        validation: as in `compress`.
        settings: `Settings`.
        method: string or `Method`.
        backup: `Backup`, a path or None, where the state is kept.
        measured: dict or None, the dense model's loss and metrics on the validation
            data, where they are known already.

    Attributes:
        dense: a copy of the dense model; known when the run has been tried.
        settings: `Settings`.
        steps: int, training steps in all.
        distillation: `Distillation` or None; likewise.
        dense_figures: dict, likewise.
    """

    def __init__(
        self,
        model: keras.Model,
        train: Data,
        validation: Data,
        settings: Any,
        method: str | Method = "loss",
        backup: Path | Backup | None = None,
        measured: dict[str, Any] | None = None,
    ) -> None:
        self._model = model
        self._compiling = compile_settings(model, settings)
        self.settings = settings
        self.method = find_method(method)
        if settings.validation_split and validation is None:
            train, validation = split(train, settings.validation_split)
        if not isinstance(train, Feed):
            train = Feed(
                train,
                settings.batch_size,
                settings.steps_per_epoch,
                kept=settings.statistics_batches,
            )
        self.train = train
        self._validation = settings.held_out(validation)
        self.steps = settings.epochs * self.train.steps
        self._callbacks = list(settings.callbacks or [])
        self.backup = Backup.of(backup)
        self.dense = None
        self.distillation: Distillation | None = None
        self.dense_figures = {}
        self._measured = measured

    def freezes(self, schedule: Schedule) -> bool:
        """Whether the weights wait during the search.

        Args:
            schedule: `Schedule`.
        """
        # Whoever says how long the search is has no short one in mind.
        given = self.settings.search_epochs is not None
        total = math.inf if given else self.steps
        return self.method.freezes(schedule, total, self._model)

    def phases(self, stop_at_end: bool = False) -> PhaseCallback:
        """The callback that follows the phases of a pruned model on the job's data.

        Args:
            stop_at_end: as in `PhaseCallback`.
        """
        return PhaseCallback(self.train.batches, self._labelled(), stop_at_end)

    def _labelled(self) -> Labelled:
        return self.train.data, self.settings.batch_size, self._class_weight()

    def _class_weight(self) -> dict[int, float] | None:
        given = self.settings.class_weight
        return None if given is None else complete_class_weight(self.dense, given)

    def schedule(self, schedule: dict | Schedule | None = None) -> Schedule:
        """A schedule laid over the steps of the job.

        Args:
            schedule: as in `prune_model`. Its warm-up and search take
                `settings.search_epochs` together, where that is given.
        """
        schedule = SCHEDULES.find(schedule)
        asked = self.settings.search_epochs
        frozen = self.freezes(schedule)
        warmup, search = schedule.steps(self.steps, frozen)
        if asked is not None:
            both = min(max(1, round(asked * self.train.steps)), self.steps)
            warmup = round(both * warmup / (warmup + search))
            search = both - warmup
        config = {
            **schedule.get_config(),
            "warmup": warmup / self.steps,
            "search": None,
            "search_steps": search,
            "frozen_search": frozen,
            "total_steps": self.steps,
            "statistics_batches": self.settings.statistics_batches,
        }
        return Schedule.from_config(config)

    def fit_pruned(
        self, pruned: PrunedModel
    ) -> tuple[dict[str, dict], dict[str, float]]:
        """Trains a pruned model from its search to the job's last step.

        Args:
            pruned: `PrunedModel`, which gets compiled.

        Returns:
            The logs of the search's epochs and of those after the cut, as dicts of
            lists, and the seconds of both: two dicts with `"search"`, `"fine_tune"`.
        """
        self.start(pruned)
        pruned.compile(**self._compiling)
        start, fixed = 0, pruned.phase == "fixed"
        if self.method.plans and not fixed:
            pruned.plan(*self._labelled())
            start = min(self.method.plan_steps(), self.steps)
        part = self.fit("fit", pruned, start, self.steps, [self.phases()])
        searched = 0.0 if fixed else part.searched or part.seconds
        seconds = {"search": searched, "fine_tune": part.seconds - searched}
        cut = [logs.get("phase", 2.0) == 2.0 for logs in part.epochs]
        history = {
            name: histories(
                e for e, was_cut in zip(part.epochs, cut) if was_cut == after
            )
            for name, after in (("search", False), ("fine_tune", True))
        }
        return history, seconds

    def start(self, pruned: PrunedModel) -> None:
        """Opens the backup, and tries everything on one batch.

        So nothing is refused later on. The dense model is evaluated here, too, and
        with it the validation data.
        """
        self.backup.open(self._identity(pruned))
        given = self._compiling["jit_compile"]
        self._compiling["jit_compile"] = jit_compile_for(pruned.channel_graph, given)
        dense, _ = copy_graph(pruned.channel_graph.graph)
        self.dense, batch = dense, self.train.batch
        dense.compile(**self.compiling(optimizer=None))
        targets = self.train.data[1] if self.train.in_arrays else None
        outputs = try_batch(dense, batch, targets)
        if self.settings.class_weight is not None:
            check_class_weight(dense, batch)
        self._teach(pruned, outputs)
        costs = {n: c.dense for n, c in pruned.costs.items() if n in COUNTED}
        self.dense_figures = self.figures(dense, costs, self._measured)

    def _teach(self, pruned: PrunedModel, outputs: Any) -> None:
        """Finds out what the dense model can teach, and tries it.

        It is the pruned model's teacher then, which needs no copy of its own.
        """
        options = pruned.options
        if not options.distill:
            return
        automatic = options.distill == "auto"
        found = Distillation(self.dense, options.temperature, only_classes=automatic)
        if automatic and not found.outputs:
            return
        if not automatic:
            found.check(outputs)
        found(outputs, outputs)
        self.distillation = found
        pruned.learn_from(self.dense)
        if self.settings.verbose:
            print(f"The dense model teaches {found}.")

    def fit(
        self,
        name: str,
        model: keras.Model,
        start: int,
        stop: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Any:
        """One `fit` from step `start` to `stop`, or what an earlier run left of it.

        Args:
            name: string, of this part of the job.
            model: compiled `keras.Model`.
            start, stop: ints, steps since the job's beginning.
            callbacks: callbacks besides the user's.

        Returns:
            The `Part`.
        """
        steps = stop - start
        with self.backup.part(name, model) as part:
            start += part.done
            if start < stop:
                first = start // self.train.steps
                model.fit(
                    **self._fit_arguments(),
                    initial_epoch=first,
                    epochs=first + self.train.epochs(stop - start),
                    callbacks=[
                        *callbacks,
                        _StopAfter(stop - start),
                        *self._callbacks,
                        part,
                    ],
                )
                part.finish(steps)
            return part

    def _fit_arguments(self) -> dict[str, Any]:
        """Dict of the arguments of `fit` that are the same in every part."""
        options, train = self.settings, self.train
        shuffle = train.in_arrays if options.shuffle is None else options.shuffle
        found = {**train.arguments(), "shuffle": shuffle, "verbose": options.verbose}
        if options.class_weight is not None:
            found["class_weight"] = self._class_weight()
        if self._validation is not None:
            found.update(
                self._validation.fit_arguments(),
                validation_batch_size=options.validation_batch_size,
                validation_freq=options.validation_freq,
            )
        return found

    def _identity(self, pruned: PrunedModel) -> dict[str, Any]:
        """What must be the same for a run to go on where another stopped."""
        options = {**pruned.options.get_config(), **pruned.problem.space.get_config()}
        return {
            "budget": dict(pruned.budget.limits),
            "steps": self.steps,
            "search_steps": sum(pruned.options.schedule.steps(self.steps)),
            # Names made up by Keras differ from process to process.
            "options": {
                k: v for k, v in options.items() if k not in ("exclude", "filters")
            },
            "weights": [list(w.shape) for w in pruned.network.weights],
        }

    def compiling(self, **changes: Any) -> dict[str, Any]:
        """Dict of the arguments of `compile` for one more model of the job.

        Args:
            **changes: arguments that are others for it.
        """
        names = ("metrics", "weighted_metrics")
        fresh = {name: fresh_metrics(self._compiling[name]) for name in names}
        return {**self._compiling, **fresh, **changes}

    def figures(
        self,
        model: keras.Model,
        costs: Mapping[str, float],
        measured: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Dict of costs, and of loss and metrics on the validation data.

        Args:
            model: compiled `keras.Model`.
            costs: dict, resource -> what it costs.
            measured: dict or None, loss and metrics where they are known.
        """
        figures = {name: plain(value) for name, value in costs.items()}
        if self._validation is None:
            return figures
        return {**figures, **(measured or self._validation.evaluate(model))}


def histories(epochs: Iterable[Mapping[str, Any]]) -> dict[str, list]:
    """What epochs logged, as Keras' `history`: dict, name -> list.

    Args:
        epochs: iterable of dicts.
    """
    found: dict = {}
    for logs in epochs:
        for name, value in logs.items():
            found.setdefault(name, []).append(value)
    return found


class _StopAfter(StepCallback):
    """Ends `fit` after a number of steps, also in the middle of an epoch."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_steps(self, done: int) -> None:
        self.left -= done
        if self.left <= 0:
            self.model.stop_training = True
