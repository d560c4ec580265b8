"""Several budgets from one search: accuracy against cost."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.allocation import Schedule
from tf_lossprune.budget import Budget
from tf_lossprune.check import check_compact
from tf_lossprune.compression import CompressionResult
from tf_lossprune.cut_variables import cut_variables
from tf_lossprune.keras_internals import build_symbolically
from tf_lossprune.methods import find_method
from tf_lossprune.progress import silent
from tf_lossprune.prune import prune_model
from tf_lossprune.run import Run, histories
from tf_lossprune.settings import Settings
from tf_lossprune.surgery import cut
from tf_lossprune.team import Team
from tf_lossprune.training import PrunedModel, reestimate_statistics
from tf_lossprune.training.between import BestCut, Choice
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.fresh_optimizer import fresh_optimizer
from tf_lossprune.training.lesson import Lesson
from tf_lossprune.training.optimizer_state import cut_optimizer, join_optimizers
from tf_lossprune.training.phases import StepCallback
from tf_lossprune.training.repair import repair
from tf_lossprune.training.trial import as_in_fit
from tf_lossprune.types import Data, Limits
from tf_lossprune.values import numpy_of

#: `Schedule.power` where several budgets share a search. With the usual 2, the loose
#: ones are passed in its first third, with widths and weights that few steps have made.
POWER = 1.0
#: Default length of the search, as a share of all epochs: there is more to pass. On
#: frozen weights, where it trains nothing, it is as long as for one budget.
SEARCH_SHARE = 0.3


def compress_frontier(
    model: keras.Model,
    budgets: Sequence[Budget | Limits | float],
    train: Data,
    validation: Data = None,
    **options: Any,
) -> list[tuple[keras.Model, CompressionResult]]:
    """Compresses a model to several budgets with one search.

    A single search shrinks to the tightest budget, and the widths (with the weights at
    that moment) are recorded as it passes each of the others. After a search on frozen
    weights, the order of the channels and the comparison with uniform widths follow for
    each budget, as in `compress`. The compact models are then fine-tuned side by side:
    every batch is read, augmented and passed through the teacher once for all of them.
    For the same reason a frontier has no backup: none of its models is finished before
    the others.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        budgets: list of budgets: dicts or `Budget`s on the same resources, or
            floats, shares of the MACs. Of any two, one must be the tighter in all
            resources.
        train, validation: as in `compress`.
        **options: as in `compress`, `backup` excepted. `epochs` counts the common
            search for each model; `search_epochs` is by default 0.3 of all epochs, as
            there are several budgets to pass (but of a search on frozen weights as in
            `compress`), and `schedule` is `Schedule(power=1.0)`, which leaves the
            loose ones more of the search than the usual 2. An optimizer's
            `global_clipnorm` is one of all models together.

    Returns:
        List of `(compact model, CompressionResult)` in the order of `budgets`. The
        seconds in the results are those of the whole run.

    Raises:
        TypeError, ValueError, InfeasibleBudgetError: as `compress`; ValueError if
            the budgets are no such list, or for a method without a search.

    Example:

    ```python
    from tf_lossprune import report

    found = tf_lossprune.compress_frontier(
        model, [0.5, 0.25, 0.125], train, val, epochs=5,
        optimizer=optimizer, loss=loss, metrics=["accuracy"])
    print(report.frontier_table([result for _, result in found]))
    ```
    """
    settings, prune_options = Settings.read(options)
    method = find_method(prune_options.get("method", "loss"))
    if not method.trains:
        raise ValueError(
            "Expected a method such as 'loss': others have no search to share, so "
            f"call `compress` for each budget. Received: method={method.name!r}"
        )
    if prune_options.get("widths") is not None:
        raise ValueError(
            "Expected no `widths`, since a frontier learns widths for each budget: "
            "call `compress` to train given ones. Received: "
            f"widths={prune_options['widths']!r}"
        )
    asked = [settings.told(budget) for budget in _read(budgets)]
    run = Run(model, train, validation, settings, method)
    schedule = prune_options.get("schedule")
    if schedule is None and len(asked) > 1:
        schedule = Schedule(power=POWER)
        if not run.freezes(schedule):
            schedule = Schedule(power=POWER, search=SEARCH_SHARE)
    prune_options["schedule"] = run.schedule(schedule)
    with silent(not settings.verbose):
        pruned = prune_model(model, asked[0], **prune_options)
    order = _by_tightness(asked, pruned)
    if order[-1]:
        pruned = pruned.with_budget(asked[order[-1]])
    snapshots = Snapshots(
        [(index, asked[index]) for index in order], settings.check, run.train.batches
    )
    history, seconds = _train(run, pruned, snapshots)
    return [
        (
            snapshots.compacts[index],
            CompressionResult.of(
                run,
                pruned,
                snapshots.compacts[index],
                history,
                seconds,
                asked[index],
                snapshots.kept[index],
                snapshots.scores[index],
            ),
        )
        for index in range(len(asked))
    ]


def _train(
    run: Run, pruned: PrunedModel, snapshots: "Snapshots"
) -> tuple[dict, dict[str, float]]:
    """One search, and the fine-tuning of what was cut out of it, side by side.

    Args:
        run: `Run`.
        pruned: `PrunedModel`.
        snapshots: `Snapshots`, empty.

    Returns:
        The histories and the seconds of the parts, as in a `CompressionResult`.
    """
    run.start(pruned)
    pruned.compile(**run.compiling())
    stop = sum(pruned.options.schedule.steps(run.steps))
    phases = run.phases(stop_at_end=True)
    search = run.fit("search", pruned, 0, stop, [phases, snapshots])
    began = time.perf_counter()
    snapshots.take_rest(pruned, phases.best_cut)
    models = [snapshots.compacts[index] for index in sorted(snapshots.compacts)]
    optimizers = [snapshots.optimizers[index] for index in sorted(snapshots.compacts)]
    for one in models:
        if run.settings.statistics_batches:
            data = run.train.batches()
            reestimate_statistics(one, data, run.settings.statistics_batches)
        one.compile(**run.compiling(optimizer=fresh_optimizer(pruned.optimizer)))
        # Inside a compiled step no variables can be made.
        build_symbolically(one, as_in_fit(run.train.batch))
    lesson = None
    if run.distillation is not None:
        lesson = Lesson(run.dense, run.distillation, pruned.options.distill)
    team = Team(models, lesson)
    optimizer = join_optimizers(optimizers, team.trainable_variables)
    team.compile(**run.compiling(optimizer=optimizer))
    cut = time.perf_counter() - began
    fine_tune = None
    if stop < run.steps:
        fine_tune = run.fit("fine_tune", team, stop, run.steps, [])
    seconds = {"search": search.seconds - cut, "strip": cut}
    seconds["fine_tune"] = fine_tune.seconds if fine_tune else 0.0
    history = {
        "search": histories(search.epochs),
        "fine_tune": histories(fine_tune.epochs if fine_tune else []),
    }
    return history, seconds


class Snapshots(StepCallback):
    """Cuts compact models, and their optimizers, as the search passes their budgets.

    If the weights are frozen, they are cut when it is over, to the widths of that
    moment.

    Args:
        budgets: list of `(key, Budget)`, the loosest first.
        check: bool, whether to compare each with the gated network.
        data: function without arguments that returns batches to repair them with, anew
            each time.

    Attributes:
        compacts: dict, key -> compact model.
        optimizers: dict, key -> built optimizer of its weights.
        kept: dict, key -> kept units.
        scores: dict, key -> the importance of the units at that moment.
    """

    def __init__(
        self,
        budgets: Sequence[Any],
        check: bool = True,
        data: Callable[[], Iterable] = tuple,
    ) -> None:
        super().__init__()
        self._check, self._data = check, data
        # The tightest is the end of the search.
        *self._open, self._last = budgets
        self._waiting: list[tuple[Any, Budget, np.ndarray | None]] = []
        self._step = 0
        self.compacts, self.optimizers = {}, {}
        self.kept, self.scores = {}, {}

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._step = self.model.search.read("step")

    def on_steps(self, done: int) -> None:
        self._step += done
        while self._open and self.model.passes(self._open[0][1], self._step):
            self.model.sync_state()
            key, budget = self._open.pop(0)
            if self.model.search.frozen.on_host:
                learned = self.model.learned_ratios(budget.shares(self.model.costs))
                self._waiting.append((key, budget, learned))
            else:
                moments = BestCut(self.model, self._data).moments
                keep = self.model.snapshot(budget)
                self._take(self.model, key, keep, moments=moments)

    def take_rest(self, pruned: PrunedModel, best_cut: BestCut | None = None) -> None:
        """Takes those that wait for the end of the search, or that it came to there.

        Args:
            pruned: `PrunedModel` with fixed widths.
            best_cut: `BestCut` by which they were fixed; None: they could not be.
        """
        moments = None if best_cut is None else best_cut.moments
        for key, budget, learned in [*self._waiting, *((*o, None) for o in self._open)]:
            choice = Choice()
            if best_cut is not None:
                choice = best_cut.choice(learned, budget.shares(pruned.costs))
            keep = pruned.snapshot(budget, choice)
            self._take(pruned, key, keep, choice.importance, moments)
        importance = numpy_of(pruned.search.importance)
        keep = pruned.kept_units()
        self._take(pruned, self._last[0], keep, importance, moments)

    def _take(
        self,
        pruned: PrunedModel,
        key: Any,
        keep: np.ndarray,
        importance: np.ndarray | None = None,
        moments: DenseMoments | None = None,
    ) -> None:
        compact = cut(pruned.channel_graph, keep)
        if self._check:
            check_compact(pruned, compact, keep)
        if moments is not None and moments.count:  # a generator cannot be read again
            repair(pruned.channel_graph, keep, compact, moments, trained=pruned)
        pieces = cut_variables(pruned.channel_graph, compact)
        self.optimizers[key] = cut_optimizer(
            pruned.optimizer, pieces, compact.trainable_variables
        )
        self.compacts[key], self.kept[key] = compact, keep
        self.scores[key] = (
            pruned.current_importance() if importance is None else importance
        )


def _read(budgets: Sequence[Any]) -> list[Budget]:
    if not isinstance(budgets, (list, tuple)) or not budgets:
        kind = ValueError if isinstance(budgets, (list, tuple)) else TypeError
        raise kind(
            "Expected a list of budgets such as [0.5, 0.25]. Received: "
            f"{budgets!r} (of type {type(budgets).__name__})"
        )
    found = [Budget(b) for b in budgets]
    if any(set(b.limits) != set(found[0].limits) for b in found):
        raise ValueError(
            "Expected budgets on the same resources. Received: "
            f"{[b.limits for b in found]}"
        )
    return found


def _by_tightness(budgets: Sequence[Any], pruned: PrunedModel) -> list[int]:
    """Indices of the budgets, the loosest first."""
    shares = [b.shares(pruned.costs) for b in budgets]
    order = sorted(range(len(budgets)), key=lambda k: -sum(shares[k].values()))
    for looser, tighter in zip(order, order[1:]):
        if any(shares[tighter][n] > shares[looser][n] for n in shares[looser]):
            raise ValueError(
                "Expected budgets of which each is tighter than the one before in all "
                f"resources. Received: {[b.limits for b in budgets]}"
            )
    return order
