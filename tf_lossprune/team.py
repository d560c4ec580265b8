"""Compact models, fine-tuned side by side, with or without a teacher."""

import keras

from tf_lossprune.keras_internals import loss_tracker
from tf_lossprune.training.lesson import added_losses, lesson_metrics


class Team(keras.Model):
    """Compact models that learn from the same batches, and one teacher.

    Each has its own loss, so that none knows of the others; they share the
    batches, the teacher's outputs and the optimizer's schedule. Metrics are those
    of the last model; with a teacher also `student_loss`, by the targets, and
    `distillation_loss`, both means over the models.

    Args:
        members: list of compiled `keras.Model`s.
        lesson: `Lesson` or None.
    """

    def __init__(self, members, lesson=None):
        super().__init__(autocast=False)  # the members' layers cast for themselves
        self.members = members
        self._lesson = lesson
        self._parts = lesson_metrics() if lesson is not None else []
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
        losses = [
            member.compute_loss(x, y, output, sample_weight, training)
            for member, output in zip(self.members, y_pred)
        ]
        if self._lesson is None:
            return sum(losses)
        taught = self._lesson.teach(x)
        total = 0.0
        for member, output, loss in zip(self.members, y_pred, losses):
            mixed, distance = self._lesson(
                taught, y, output, loss, added_losses(member), sample_weight
            )
            total = total + mixed
            for part, value in zip(self._parts, (loss, distance)):
                part.update_state(value)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.members[-1].compute_metrics(x, y, y_pred[-1], sample_weight)
        return self.get_metrics_result()
