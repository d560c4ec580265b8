"""The interface of a method."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune.allocation import Schedule
from tf_lossprune.config import Configurable
from tf_lossprune.methods.fresh import is_fresh
from tf_lossprune.methods.search import Search
from tf_lossprune.registry import Registry


class Method(Configurable):
    """A way to find how many channels each group keeps, and which.

    All methods share the channel graph, the costs, the whole widths that keep the
    budget, and the surgery, so that only their idea differs. A subclass sets the
    attributes, and overrides `ratios` or the search, or `plan`.

    Attributes:
        name: string, for `prune_model(method=...)`.
        trains: bool, whether it searches while the network trains, in the search
            phase of `fit`.
        plans: bool, whether it evaluates networks on data before training.
        search_class: the `Search` that training runs.
        freezes_short: bool, whether the weights wait during the search in short
            trainings, with `Schedule(frozen_search="auto")`.
        reads_importance: bool, whether the widths depend on the channels' importance.
        learning_rate: float, of the default optimizer (Adam) of what it learns.
    """

    name: str | None = None
    trains = False
    plans = False
    search_class = Search
    freezes_short = False
    reads_importance = True
    learning_rate = 0.01

    @property
    def one_shot(self) -> bool:
        """Whether the widths follow from the weights alone."""
        return not (self.trains or self.plans)

    def freezes(self, schedule: Schedule, total: float, network: keras.Model) -> bool:
        """Whether the weights wait while the widths are searched.

        Args:
            schedule: `Schedule`.
            total: int, steps of the training.
            network: built `keras.Model`, in which they are searched. Unasked, a fresh
                one is not frozen.
        """
        if not self.trains or schedule.frozen_search != "auto":
            return self.trains and schedule.frozen_search is True
        if not (self.freezes_short and schedule.is_short(total)):
            return False
        return bool(schedule.warmup or not is_fresh(network))

    def ratios(
        self, search: Search, importance: np.ndarray, limits: np.ndarray
    ) -> np.ndarray:
        """Returns keep ratios `[groups]`, to be rounded to widths in the budget.

        Args:
            search: the `Search` as it stands.
            importance: float array `[num_units + 1]`, the search's scores.
            limits: float array `[budgets]`, shares of the dense costs that are
                allowed.
        """
        return ops.convert_to_numpy(search.ratios(limits))

    def plan(self, model: Any, evaluate: Any) -> np.ndarray:
        """Returns keep ratios `[groups]` found by evaluating networks, if `plans`.

        Args:
            model: `PrunedModel`, compiled.
            evaluate: `methods.evaluation.Evaluation` of it.
        """
        raise NotImplementedError

    def plan_steps(self) -> int:
        """Training steps that `plan` takes."""
        return 0


METHODS = Registry("method", Method)
register_method = METHODS.register
find_method = METHODS.find
