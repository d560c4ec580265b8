"""Compact models, fine-tuned side by side, with or without a teacher."""

import keras

from tf_lossprune.keras_internals import loss_tracker


class Team(keras.Model):
    """Compact models that learn from the same batches, and one teacher.

    Each has its own loss, so that none knows of the others; they share the
    batches, the teacher's outputs and the optimizer's schedule. Metrics are those
    of the last model; with a teacher also `student_loss`, by the targets, and
    `distillation_loss`, both means over the models.

    Args:
        members: list of compiled `keras.Model`s.
        teacher: `keras.Model`.
        distillation: `Distillation` or None.
        weight: float in [0, 1], of the distillation.
    """

    def __init__(self, members, teacher, distillation, weight):
        super().__init__(autocast=False)  # the members' layers cast for themselves
        self.members = members
        # In a function, Keras does not track the teacher's weights.
        self._teacher = lambda x: teacher(x, training=False)
        self._distillation, self._weight = distillation, weight
        self._parts = []
        if distillation is not None:
            self._parts = [
                keras.metrics.Mean(name="student_loss"),
                keras.metrics.Mean(name="distillation_loss"),
            ]
        self.built = True

    def compile(self, optimizer="rmsprop", loss=None, metrics=None, **options):
        """As in Keras; loss and metrics are the members' own."""
        jit_compile = options.get("jit_compile", "auto")
        super().compile(optimizer=optimizer, jit_compile=jit_compile)

    @property
    def metrics(self):
        """The loss, its parts, and the last member's metrics."""
        last = self.members[-1]
        theirs = [m for m in last.metrics if m is not loss_tracker(last)]
        own = [loss_tracker(self)] if self.compiled else []
        return [*own, *self._parts, *theirs]

    @property
    def student(self):
        """The last compact model, for callbacks."""
        return self.members[-1]

    def call(self, inputs, training=None):
        return [member(inputs, training=training) for member in self.members]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        task = sum(
            member.compute_loss(x, y, output, sample_weight, training)
            for member, output in zip(self.members, y_pred)
        )
        if self._distillation is None:
            return task
        taught = self._teacher(x)
        distance = sum(self._distillation(taught, output) for output in y_pred)
        for part, value in zip(self._parts, (task, distance)):
            part.update_state(value / len(self.members))
        return (1.0 - self._weight) * task + self._weight * distance

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.members[-1].compute_metrics(x, y, y_pred[-1], sample_weight)
        return self.get_metrics_result()
