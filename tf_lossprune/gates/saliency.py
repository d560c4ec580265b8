"""Saliency: what the loss would rise by if a gate were turned off.

An estimator learns it from the loss's gradient with respect to the gates, one training
step after another. All it learns is in variables of the search that it is built for.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from tf_lossprune.config import check_share
from tf_lossprune.gates.solve import GroupLayout
from tf_lossprune.types import BackendTensor


class SaliencyEstimator:
    """Base class.

    Attributes:
        uses_slope: bool, whether it estimates for the gates of the one step it has
            seen, so that the slope with which these were sampled enters; a running
            mean does not depend on what is sampled now.
        learning_rate: float, of the default optimizer of ratios that it moves.
    """

    uses_slope = False
    learning_rate = 0.01

    def build(
        self, layout: GroupLayout, add_variable: Callable[[tuple, float, str], Any]
    ) -> None:
        """Adds the estimator's variables.

        Args:
            layout: `GroupLayout` of the gates.
            add_variable: function `(shape, value, name) -> variable`.
        """
        self.layout = layout
        self.estimate = add_variable((layout.num_units + 1,), 0.0, "saliency")

    def update(self, step: Any, gate_gradient: BackendTensor) -> None:
        """Learns from one training step.

        Args:
            step: the `Step`.
            gate_gradient: finite tensor `[num_units + 1]`, the loss's gradient with
                respect to the gates.
        """
        raise NotImplementedError

    def saliency(self) -> BackendTensor:
        """Tensor `[num_units + 1]`, in units of the loss."""
        return self.relative()

    def relative(self) -> BackendTensor:
        """The same up to a common factor, which may change slowly."""
        return self.estimate.value


class FirstOrder(SaliencyEstimator):
    """The gradient of the last step: the loss is taken to be linear in each gate."""

    uses_slope = True

    def update(self, step: Any, gate_gradient: BackendTensor) -> None:
        self.estimate.assign(-gate_gradient)


class FisherInformation(SaliencyEstimator):
    """Half the diagonal of the empirical Fisher matrix, a running mean.

    That is half the mean over images of the squared gradient (Theis et al., 2018,
    arXiv 1801.05787), and the mean over images is about as many times that over
    batches. Gradients of some batches are many times those of others, and all grow as
    the network shrinks; so each batch's squares count in relation to their own mean,
    and that mean again only in `saliency`.

    Args:
        decay: float in (0, 1), of the running means.
    """

    #: The mean says the same in every step, and thus moves the ratios faster.
    learning_rate = 0.005

    def __init__(self, decay: float = 0.95) -> None:
        self.decay = check_share("decay", decay)

    def build(
        self, layout: GroupLayout, add_variable: Callable[[tuple, float, str], Any]
    ) -> None:
        super().build(layout, add_variable)
        self.level = add_variable((), 0.0, "level")

    def update(self, step: Any, gate_gradient: BackendTensor) -> None:
        # A gate that is off has no weights to be judged by: its last value stays.
        on = step.gates * self.layout.flat(self.layout.valid, first=0.0)
        size = ops.square(gate_gradient)
        mean = ops.sum(on * size) / ops.maximum(ops.sum(on), 1.0)
        seen = ops.cast(mean > 0, "float32")
        mean = ops.where(seen > 0, mean, 1.0)
        first = ops.sum(self.estimate.value) == 0
        rate = (1.0 - self.decay) * seen
        self.estimate.assign_add(rate * on * (size / mean - self.estimate.value))
        level = ops.log(0.5 * step.images * mean) - self.level.value
        self.level.assign_add(ops.where(first, seen, rate) * level)

    def saliency(self) -> BackendTensor:
        return ops.exp(self.level.value) * self.estimate.value


class MeanGradient(SaliencyEstimator):
    """The running mean of the gradient's size, where a gate is on.

    Args:
        decay: float in (0, 1), of the running mean.
    """

    def __init__(self, decay: float = 0.98) -> None:
        self.decay = check_share("decay", decay)

    def update(self, step: Any, gate_gradient: BackendTensor) -> None:
        change = ops.abs(gate_gradient) - self.estimate.value
        self.estimate.assign_add((1.0 - self.decay) * step.gates * change)
