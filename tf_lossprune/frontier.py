"""Several budgets from one search: accuracy against cost."""

import numbers
from collections.abc import Sequence
from typing import Any

import keras

from tf_lossprune.allocation import Schedule
from tf_lossprune.budget import Budget
from tf_lossprune.compress import CompressionResult
from tf_lossprune.methods import find_method
from tf_lossprune.prune import prune_model, strip_pruning
from tf_lossprune.run import Run
from tf_lossprune.settings import Settings
from tf_lossprune.surgery import cut
from tf_lossprune.training.phases import StepCallback
from tf_lossprune.types import Data, Limits

#: `Schedule.power` where several budgets share a search. With the usual 2, the loose
#: ones are passed in its first third, with widths and weights that few steps have made.
POWER = 1.0
#: Default length of the search, as a share of all epochs: there is more to pass.
SEARCH_SHARE = 0.3


def compress_frontier(
    model: keras.Model,
    budgets: Sequence[Budget | Limits | float],
    train: Data,
    validation: Data = None,
    **options: Any,
) -> list[tuple[keras.Model, CompressionResult]]:
    """Compresses a model to several budgets with one search.

    The search comes down to the tightest budget once, and the widths (with the
    weights of that moment) are taken as it passes each of the others. The compact
    models are then fine-tuned side by side: every batch is read, augmented and
    shown to the teacher once for all of them.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        budgets: list of budgets: dicts or `Budget`s on the same resources, or
            floats, shares of the MACs. Of any two, one must be the tighter in all
            resources.
        train, validation: as in `compress`.
        **options: as in `compress`, `backup` excepted. `epochs` counts the common
            search for each model; `search_epochs` is by default 0.3 of all epochs, as
            there are several budgets to pass, and `schedule` is `Schedule(power=1.0)`,
            which leaves the loose ones more of the search than the usual 2. An
            optimizer's `global_clipnorm` is one of all models together.

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
    asked = _read(budgets)
    run = Run(model, train, validation, settings, method, search_share=SEARCH_SHARE)
    if len(asked) > 1 and prune_options.get("schedule") is None:
        prune_options["schedule"] = Schedule(power=POWER)
    prune_options = run.prune_options(prune_options)
    probe = prune_model(model, asked[0], **prune_options)
    order = _by_tightness(asked, probe)
    tightest = order[-1]
    pruned = probe
    if tightest:
        pruned = prune_model(model, asked[tightest], **prune_options)
    snapshots = Snapshots(run, [(index, asked[index]) for index in order[:-1]])

    def cut_all():
        snapshots.take_rest()
        compact = strip_pruning(pruned, check=settings.check)
        snapshots.found[tightest] = compact, pruned.kept_units()
        return [snapshots.found[index][0] for index in range(len(asked))]

    compacts, history, seconds = run.execute(pruned, cut_all, [snapshots])
    results = [
        CompressionResult.of(
            asked[index],
            pruned.kept_channels(snapshots.found[index][1]),
            run,
            compact,
            history,
            seconds,
        )
        for index, compact in enumerate(compacts)
    ]
    return list(zip(compacts, results))


class Snapshots(StepCallback):
    """Cuts compact models as the search passes their budgets.

    Args:
        run: `Run`, which takes the optimizer of that moment.
        budgets: list of `(key, Budget)`, the loosest first.

    Attributes:
        found: dict, key -> (compact model, kept units).
    """

    def __init__(self, run, budgets):
        super().__init__()
        self._run = run
        self._open = list(budgets)
        self._step = 0
        self.found = {}

    def on_train_begin(self, logs=None):
        self._step = self.model.gates.read("step")

    def on_steps(self, done):
        self._step += done
        while self._open and self.model.passes(self._open[0][1], self._step):
            self.model.sync_state()
            self._take()

    def take_rest(self):
        """Takes those that the search came to at its very end."""
        while self._open:
            self._take()

    def _take(self):
        key, budget = self._open.pop(0)
        keep = self.model.snapshot(budget)
        self.found[key] = cut(self.model.channels, keep), keep
        self._run.take_optimizer(self.model, self.found[key][0])


def _read(budgets):
    if not isinstance(budgets, (list, tuple)) or not budgets:
        kind = ValueError if isinstance(budgets, (list, tuple)) else TypeError
        raise kind(
            "Expected a list of budgets such as [0.5, 0.25]. Received: "
            f"{budgets!r} (of type {type(budgets).__name__})"
        )
    found = [Budget({"macs": b} if isinstance(b, numbers.Real) else b) for b in budgets]
    if any(set(b.limits) != set(found[0].limits) for b in found):
        raise ValueError(
            "Expected budgets on the same resources. Received: "
            f"{[b.limits for b in found]}"
        )
    return found


def _by_tightness(budgets, pruned):
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
