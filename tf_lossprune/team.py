"""Compact models of several budgets, fine-tuned side by side."""

import keras


class Team(keras.Model):
    """Several compact models that learn from the same batches, and one teacher.

    Each has its own loss, so that none knows of the others; they share the
    batches, the teacher's outputs and the optimizer's schedule. Metrics are those
    of the last model.

    Args:
        members: list of compiled `keras.Model`s.
        teacher: `keras.Model`.
        distillation: `keras.distillation.DistillationLoss` or None.
        weight: float in [0, 1], of the distillation.
    """

    def __init__(self, members, teacher, distillation, weight):
        super().__init__()
        self.members = members
        # In a function, Keras does not track the teacher's weights.
        self._teacher = lambda x: teacher(x, training=False)
        self._distillation, self._weight = distillation, weight
        self.built = True

    def call(self, inputs, training=None):
        return [member(inputs, training=training) for member in self.members]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        taught = self._teacher(x) if self._distillation is not None else None
        total = 0.0
        for member, output in zip(self.members, y_pred):
            loss = member.compute_loss(x, y, output, sample_weight, training)
            if taught is not None:
                distance = self._distillation.compute_loss(taught, output)
                loss = (1.0 - self._weight) * loss + self._weight * distance
            total = total + loss
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred[-1], sample_weight)
