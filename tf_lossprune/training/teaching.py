"""A teacher for the compact network, in the same `fit`."""

from typing import Any

import keras
from keras import ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.surgery import copy_graph
from tf_lossprune.training.distillation import Distillation
from tf_lossprune.training.lesson import Lesson, added_losses, lesson_metrics
from tf_lossprune.training.network import arranged

#: A teacher that changes the loss by no more than this share has nothing to say.
IDLE = 1e-3


class Teaching:
    """Mix-in for `PrunedModel`: from the cut on, the dense model's outputs teach too.

    In the search the task loss alone decides the widths. The teacher is a part of the
    model, so that what is saved goes on with it.

    Attributes:
        teacher: `keras.Model` that is not trained, or None.
    """

    teacher = None
    _lesson = None
    _lesson_metrics: list | tuple = ()
    _trains = False  # in the step that is being traced

    def learn_from(self, teacher: keras.Model) -> None:
        """Takes a teacher in place of the dense model; call it before `fit`.

        Args:
            teacher: functional `keras.Model` with this model's inputs and outputs. It
                becomes a part of this model, and does not train.
        """
        teacher.trainable = False
        self._set_teacher(teacher)
        self._lesson_metrics = lesson_metrics()

    def begin_lesson(self) -> None:
        """Lets the teacher speak from now on; `fit` does this at the cut."""
        if self.teacher is None or self._lesson is not None or not self.is_compact:
            return
        if not internals.is_loss_built(self):
            return
        distillation = self._distillation()
        if distillation.outputs:
            self._lesson = Lesson(self.teacher, distillation, self.options.distill)
            self.forget_programs()

    def _distillation(self) -> Distillation:
        classes = self.options.distill == "auto"
        temperature = self.options.temperature
        return Distillation(self, temperature, self.network, only_classes=classes)

    def _make_teacher(self) -> None:
        """Copies the dense model, while the weights are still its own."""
        trained = self.is_compact or self.search.read("step") > 0
        if self.teacher is None and self.options.distill and not trained:
            self._copy_dense()

    def _dismiss_idle_teacher(self, batch: Any) -> None:
        """Lets a teacher go that has nothing to say, so far as the loss tells.

        Args:
            batch: symbolic batch, as `batch_spec` returns it, or None.
        """
        if self.teacher is None:
            return
        if isinstance(batch, tuple) and len(batch) > 1 and batch[1] is not None:
            outputs = self.compute_output_spec(batch[0])
            internals.build_loss(self, batch[1], outputs)
        if internals.is_loss_built(self) and not self._distillation().outputs:
            self._set_teacher(None)

    def end_of_epoch(self, logs: dict) -> None:
        """Silences a teacher that was better in hardly any batch of an epoch."""
        if self._lesson is None or self.options.distill != "auto":
            return
        student, loss = logs.get(self._lesson_metrics[0].name), logs.get("loss")
        if student is not None and abs(loss - student) <= IDLE * abs(student):
            self._lesson = None
            self.forget_programs()

    def _copy_dense(self) -> None:
        with self.variable_scope():
            self.learn_from(copy_graph(self.channel_graph.graph)[0])

    def _match_teacher(self, wanted: bool) -> None:
        """Has a teacher, or none, as the state that is about to be loaded."""
        wanted = wanted and bool(self.options.distill)
        if wanted and self.teacher is None:
            self._copy_dense()
        elif self.teacher is not None and not wanted:
            self._set_teacher(None)

    def _set_teacher(self, teacher: keras.Model | None) -> None:
        if self.teacher is not None:
            internals.untrack(self, self.teacher)
        self.teacher = teacher
        self._lesson = None

    @property
    def layers(self) -> list:
        """Its layers, the teacher last: files number them in this order."""
        return sorted(super().layers, key=lambda layer: layer is self.teacher)

    @property
    def metrics(self) -> list:
        """Those of the compiled model; with a teacher also the lesson's."""
        found = super().metrics
        own = [] if self.teacher is None else self._lesson_metrics
        names = {id(metric) for metric in self._lesson_metrics}
        return [*(m for m in found if id(m) not in names), *own]

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
        self._trains = training
        if self.teacher is None or not training:
            return loss
        mixed, distance = loss, ops.zeros(())
        if self._lesson is not None and self.is_compact:
            added = added_losses(self)
            taught = self._lesson.teach(arranged(x, self.channel_graph.graph.inputs))
            mixed, distance = self._lesson(
                taught, y, y_pred, loss, added, sample_weight
            )
        for metric, value in zip(self._lesson_metrics, (loss, distance)):
            metric.update_state(value)
        return mixed

    def get_metrics_result(self) -> dict:
        """As in Keras; in evaluation nobody teaches."""
        found = super().get_metrics_result()
        if self.teacher is not None and not self._trains:
            found = dict(found)
            for metric in self._lesson_metrics:
                found.pop(metric.name, None)
        return found
