"""Follows the phases inside one `fit`."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from tf_lossprune.training.between import BestCut
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.evaluation import Labelled
from tf_lossprune.training.finite import broken_weight
from tf_lossprune.training.statistics import (
    normalizations,
    reestimate_statistics,
)

#: After so many times the memory of a moving mean, nothing is left of its start.
FORGOTTEN = 5.0


class StepCallback(keras.callbacks.Callback):
    """Counts training steps, however many of them run between two calls."""

    def __init__(self) -> None:
        super().__init__()
        self._last_batch = -1

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._last_batch = -1

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        done, self._last_batch = batch - self._last_batch, batch
        self.on_steps(done)

    def on_steps(self, done: int) -> None:
        """Called after `done` more steps."""
        raise NotImplementedError


class PhaseCallback(StepCallback):
    """Starts the schedule, and makes the cut when the search is over.

    `PrunedModel.fit` adds it by itself. The step counter lives in the model, so
    a resumed run goes on where it was; the host only counts along, and reads
    the counter where a phase may end.

    Args:
        batches: function without arguments that returns an iterable of batches to
            re-estimate statistics from, anew each time.
        labelled: data, batch size and class weights, as `Evaluation` takes them, to
            compare networks on before the cut; or None.
        stop_at_end: bool, whether `fit` stops as soon as the widths are fixed, with
            the gated network.

    Attributes:
        best_cut: `BestCut` that the widths were fixed by, where `fit` stops then; else
            None.
    """

    def __init__(
        self,
        batches: Callable[[], Iterable] = tuple,
        labelled: Labelled | None = None,
        stop_at_end: bool = False,
    ) -> None:
        super().__init__()
        self._batches, self._stop_at_end = batches, stop_at_end
        self._labelled = labelled
        self.best_cut: BestCut | None = None
        self._steps_left: int | None = None
        self._begun = self._ends_unknown = self._given_up = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Not when training begins: then a callback that restores a backup may still
        # be waiting for its turn, and the step counter with it.
        if not self._begun:
            self._begun = True
            self._start()

    def _start(self) -> None:
        if self._fixed():
            if not self.model.is_compact:  # by a method without a search
                best = self._best_cut()
                if self.model.channels_are_open:
                    self.model.choose_channels(best.order())
                self._cut(best.moments)
            self.model.begin_lesson()
            return
        steps = self.params.get("steps")
        total = steps * self.params.get("epochs", 1) if steps else None
        if total or self.model.options.schedule.total_steps:
            self._begin(total)
        elif self.model.search.read("search_steps"):
            self._count_down()  # resumed: the first epoch has told how long it is
        else:
            self._ends_unknown = True

    def _fixed(self) -> bool:
        return self.model.phase == "fixed"

    def _begin(self, total: int | None) -> None:
        self.model.begin(total)
        self._count_down()

    def _count_down(self) -> None:
        left = self.model.search_end - self.model.search.read("step")
        self._steps_left = left
        if left <= 0:
            self._finish()

    def on_steps(self, done: int) -> None:
        if self._steps_left is None:
            return
        self._steps_left -= done
        if self._steps_left <= 0:
            self._steps_left = None
            if not self._fixed():
                self._finish()
                self.model.commit_state()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.model.end_of_epoch(logs or {})
        # Data of unknown length: the first epoch tells how long one is.
        if self._ends_unknown:
            self._ends_unknown = False
            self._begin(self.model.search.read("step") * self.params.get("epochs", 1))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._given_up:
            return
        spans_more = self.model.options.schedule.total_steps is not None
        if not self._fixed() and not spans_more and self.model.search.read("step") > 0:
            self._finish()
        elif self.model.is_compact and self._still_moving():
            self._reestimate()

    def _finish(self) -> None:
        broken = broken_weight(self.model)
        if broken:
            # The gates stay as they were when the weights still meant something.
            warnings.warn(
                f"The widths cannot be fixed, and training stops: {broken} holds NaN "
                "or Inf. Lower the learning rate, clip the gradients or use loss "
                "scaling, and continue from an earlier checkpoint.",
                stacklevel=2,
            )
            self._given_up = self.model.stop_training = True
            return
        best = self._best_cut()
        choice = best.choice()
        self.model.decide(choice.ratios, choice.importance)
        if self._stop_at_end:
            self.best_cut, self.model.stop_training = best, True
        else:
            self._cut(best.moments)

    def _best_cut(self) -> BestCut:
        return BestCut(self.model, self._batches, self._labelled)

    def _cut(self, moments: DenseMoments | None) -> None:
        self.model.shrink()
        if moments is not None:
            self.model.repair_cut(moments)
        self._reestimate()
        self.model.begin_lesson()

    def _still_moving(self) -> bool:
        """Whether moving statistics have not forgotten what was before the cut."""
        momenta = [la.momentum for la in normalizations(self.model.network)]
        since_cut = self.model.search.read("step") - self.model.search_end
        return since_cut * (1.0 - max(momenta, default=0.0)) < FORGOTTEN

    def _reestimate(self) -> None:
        model, wanted = self.model, self.model.options.schedule.statistics_batches
        if wanted:
            reestimate_statistics(model.network, self._batches(), wanted)


def _warn_of_early_epochs(callbacks: Iterable[Any]) -> None:
    """Warns of callbacks that compare epochs from before and after the cut."""
    for callback in callbacks:
        for kind, setting in (
            (keras.callbacks.ModelCheckpoint, "save_best_only"),
            (keras.callbacks.EarlyStopping, "restore_best_weights"),
        ):
            if type(callback) is kind and getattr(callback, setting):
                warnings.warn(
                    f"{kind.__name__}({setting}=True) may pick an epoch from before "
                    f"the budget is met; use tf_lossprune.Budget{kind.__name__}.",
                    stacklevel=4,
                )


def with_phases(callbacks: Any, phases: "PhaseCallback") -> Any:
    """Puts the phase callback in front of the user's callbacks."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(phases)
        phases.set_model(callbacks.model)
        phases.set_params(callbacks.params)
        return callbacks
    if callbacks is None:
        return [phases]
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                "Expected callbacks as a list of keras.callbacks.Callback objects. "
                f"Received: {callback!r} (of type {type(callback).__name__})"
            )
    _warn_of_early_epochs(callbacks)
    own = [c for c in callbacks if isinstance(c, PhaseCallback)]
    return list(callbacks) if own else [phases, *callbacks]
