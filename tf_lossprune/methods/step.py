"""What one training step of a search draws and knows."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras import ops


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One training step; made by `PrunedModel.begin_step`.

    Attributes:
        gates: tensor `[num_units + 1]`, with which the network runs.
        weight: tensor `[num_units + 1]` or None: for each unit the factor which carries
            a gradient with respect to its gate to what the method learns.
        ratios: tensor `[groups]`.
        limits: tensor `[budgets]`, shares of the dense costs that are allowed now.
        searching: bool tensor, whether the search runs.
        images: float tensor, how many samples the loss is a mean over, on all devices.
        replicas: int, how many devices share the step.
        penalty: function without arguments that returns a scalar tensor, of the weights
            as they are when it is called; or None.
        held: list of pairs of a variable and its value before the step, which it gets
            back after a step of the search: with `Schedule(frozen_search=True)`, all
            that training changes.
    """

    gates: Any
    weight: Any
    ratios: Any
    limits: Any
    searching: Any
    images: Any
    replicas: int
    penalty: Callable[[], Any]
    held: list = dataclasses.field(default_factory=list)

    def loss(self, task_loss: Any) -> Any:
        """The loss to differentiate: the task's, and what the method adds to it.

        Call it where the gradient with respect to the weights is recorded. Methods such
        as `"bn_scale"` search by what they add.

        Args:
            task_loss: scalar tensor; on several devices, this one's share of a sum.
        """
        penalty = self.penalty()
        if penalty is None:
            return task_loss
        task_loss = ops.convert_to_tensor(task_loss)
        penalty = ops.where(self.searching, penalty, 0.0) / self.replicas
        return task_loss + ops.cast(penalty, task_loss.dtype)
