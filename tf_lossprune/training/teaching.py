"""A teacher for the compact network, in the same `fit`."""

from typing import Any

import keras

from tf_lossprune.training.distillation import Distillation


class Teaching:
    """Mix-in for `PrunedModel`: from the cut on, another model's outputs teach too.

    In the search the task loss alone decides the widths.
    """

    _lesson = None

    def learn_from(
        self, teacher: keras.Model, distillation: Distillation, weight: float
    ) -> None:
        """Adds a teacher; call it before `fit`.

        Metrics `student_loss`, by the targets, and `distillation_loss` are added.

        Args:
            teacher: `keras.Model`, such as the dense model; not changed.
            distillation: `Distillation`.
            weight: float in [0, 1], of the distillation in the loss.
        """
        # In a function, Keras does not track the teacher's weights.
        self._lesson = (lambda x: teacher(x, training=False), distillation, weight)
        self._lesson_metrics = [
            keras.metrics.Mean(name="student_loss"),
            keras.metrics.Mean(name="distillation_loss"),
        ]

    @property
    def metrics(self) -> list:
        """Those of the compiled model; after the cut also the lesson's."""
        found = super().metrics
        if self._lesson is None:
            return found
        known = {id(metric) for metric in found}
        own = [m for m in self._lesson_metrics if id(m) not in known]
        if self.is_compact:
            return [*found, *own]
        return [m for m in found if all(m is not o for o in self._lesson_metrics)]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """As in Keras, with the teacher's part while the compact network trains."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if self._lesson is None or not self.is_compact or not training:
            return loss
        teacher, distillation, weight = self._lesson
        distance = distillation(teacher(x), y_pred)
        for metric, value in zip(self._lesson_metrics, (loss, distance)):
            metric.update_state(value)
        return (1.0 - weight) * loss + weight * distance
