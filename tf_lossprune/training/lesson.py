"""What a teacher adds to the loss of one batch."""

from typing import Any

import keras
from keras import ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.training.distillation import Distillation
from tf_lossprune.training.losses import task_loss

#: Weight of the teacher in the loss, unless it is given.
TEACHER_WEIGHT = 0.5


class Lesson:
    """Mixes a teacher's outputs into a student's loss.

    Args:
        teacher: `keras.Model`, which is run in inference mode.
        distillation: `Distillation`.
        weight: float in (0, 1], how much of the task loss the teacher takes over; or
            `"auto"`: half of it, in batches on which the teacher's own task loss is
            below the student's. So a teacher that was not trained, or has been
            overtaken, has no say.
    """

    def __init__(
        self, teacher: keras.Model, distillation: Distillation, weight: float | str
    ) -> None:
        self._teacher = teacher
        self._distillation = distillation
        self._only_if_better = weight == "auto"
        self._weight = TEACHER_WEIGHT if weight == "auto" else float(weight)

    def teach(self, x: Any) -> Any:
        """The teacher's outputs."""
        taught = self._teacher(x, training=False)
        internals.clear_losses(self._teacher)  # they are no part of the student's
        return taught

    def __call__(
        self,
        taught: Any,
        y: Any,
        y_pred: Any,
        loss: Any,
        fixed: Any = 0.0,
        sample_weight: Any = None,
    ) -> tuple[Any, Any]:
        """The loss with the teacher's part in it, and the distance of the outputs.

        Args:
            taught: what `teach` returned.
            y: targets of the batch.
            y_pred: the student's outputs.
            loss: scalar tensor, by the targets.
            fixed: scalar tensor, what in it is no task loss, such as regularizers'.
            sample_weight: of the batch, as in `compute_loss`, or None.
        """
        distance = self._distillation(taught, y_pred)
        weight = self._weight
        if self._only_if_better:
            losses = self._distillation.losses
            theirs = task_loss(losses, y, taught, sample_weight)
            better = theirs < task_loss(losses, y, y_pred, sample_weight)
            weight = weight * ops.cast(better, "float32")
        dtype = keras.backend.standardize_dtype(loss.dtype)
        share = ops.cast(weight, dtype)
        gain = ops.cast(distance + fixed, dtype) - loss  # the task's part alone
        return loss + share * gain, distance


def added_losses(model: keras.Model) -> Any:
    """What of a model's loss is none of the task's: regularizers and `add_loss`."""
    return sum((ops.cast(ops.sum(x), "float32") for x in model.losses), 0.0)


def lesson_metrics() -> list[keras.metrics.Mean]:
    """Metrics that a lesson adds: the loss by the targets, and the distance."""
    return [
        keras.metrics.Mean(name="student_loss"),
        keras.metrics.Mean(name="distillation_loss"),
    ]
