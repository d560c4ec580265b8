"""A teacher's outputs as further targets: one loss for each output."""

import dataclasses

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.training.endings import last_activation
from tf_lossprune.training.losses import compiled_losses

_CATEGORICAL = {
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "kl_divergence",
    "ctc",
}
_BINARY = {"binary_crossentropy", "binary_focal_crossentropy"}
#: How far a probability may lie outside of [0, 1] by rounding.
_ROUNDING = 1e-2


@dataclasses.dataclass(frozen=True)
class Taught:
    """How one output is taught.

    Attributes:
        index: int, position among the flat outputs.
        name: string, the output's.
        kind: `"categorical"` (classes exclude each other), `"binary"` (each element
            is a class of its own) or `"regression"`.
        logits: bool, whether the values of a classification are logits; otherwise
            they are probabilities.
        axis: int, of the classes.
        weight: float, the output's loss weight.
    """

    index: int
    name: str
    kind: str
    logits: bool = True
    axis: int = -1
    weight: float = 1.0

    def __str__(self):
        if self.kind == "regression":
            return "values, by their squared difference"
        values = "logits" if self.logits else "probabilities"
        return f"{values} of {self.kind} classes, softened"


class Distillation:
    """How far a student's outputs are from its teacher's.

    Classes are compared as distributions softened by a temperature, whose Kullback-
    Leibler divergence counts (Hinton et al., 2015, arXiv 1503.02531); what is no
    classification by its squared difference. What an output is, its loss says, else
    its last activation; outputs without a loss are not taught.

    Args:
        model: compiled `keras.Model` whose loss is built; teacher and students have
            its outputs.
        temperature: float > 0.
        network: functional `keras.Model` with the outputs, where `model` is none.
        only_classes: bool, whether outputs that are no classification are left out.

    Attributes:
        outputs: list of `Taught`.
        losses: list of `OutputLoss`, what these outputs were compiled with.
    """

    def __init__(self, model, temperature, network=None, only_classes=False):
        self._temperature = temperature
        outputs = (network or model).outputs
        self.outputs, self.losses = [], []
        for loss in compiled_losses(model):
            name = model.output_names[loss.index]
            taught = taught_as(loss, outputs[loss.index], name)
            if taught.kind == "regression" and only_classes:
                continue
            self.outputs.append(taught)
            self.losses.append(loss)

    def __call__(self, teacher, student):
        """Scalar tensor, the sum over outputs.

        Args:
            teacher, student: outputs, in the model's structure.
        """
        teacher, student = tree.flatten(teacher), tree.flatten(student)
        return sum(
            output.weight
            * self._distance(output, teacher[output.index], student[output.index])
            for output in self.outputs
        )

    def check(self, values):
        """Raises `ValueError` if outputs are not what they are taken for.

        Args:
            values: outputs of the teacher, arrays or tensors.
        """
        for output in self.outputs:
            if output.kind == "regression" or output.logits:
                continue
            found = ops.convert_to_numpy(tree.flatten(values)[output.index])
            low, high = float(np.min(found)), float(np.max(found))
            if low < -_ROUNDING or high > 1.0 + _ROUNDING:
                raise ValueError(
                    f"Expected probabilities as the output {output.name!r}, since its "
                    "loss takes them; if these are logits, say so by "
                    "`from_logits=True`. "
                    f"Received: values from {low:.3g} to {high:.3g}"
                )

    def described(self):
        """Dict, name of an output -> as what it is taught."""
        return {output.name: str(output) for output in self.outputs}

    def __str__(self):
        return "; ".join(f"{name}: {how}" for name, how in self.described().items())

    def _distance(self, output, teacher, student):
        teacher = ops.stop_gradient(ops.cast(teacher, "float32"))
        student = ops.cast(student, "float32")
        if output.kind == "regression":
            return ops.mean(ops.square(teacher - student))
        # Squared, as its gradients shrink with the temperature's square.
        divergence = divergence_of(output, teacher, student, self._temperature)
        return divergence * self._temperature**2


def divergence_of(output, teacher, student, temperature=1.0):
    """Mean Kullback-Leibler divergence of classes, as a scalar tensor.

    Args:
        output: `Taught`, a classification.
        teacher, student: float32 tensors.
        temperature: float > 0, softens both.
    """
    teacher, student = (
        _probabilities(output, x, temperature) for x in (teacher, student)
    )
    # A mean over classes that exclude each other, as Keras' loss takes it.
    return keras.losses.KLDivergence()(teacher, student)


def _probabilities(output, x, temperature):
    """Softened probabilities, classes in the last axis."""
    if not output.logits:
        low = keras.config.epsilon()
        p = ops.clip(x, low, 1.0 - low)
        x = ops.log(p) - ops.log1p(-p) if output.kind == "binary" else ops.log(p)
    if output.kind == "binary":
        x = ops.stack([x, ops.zeros_like(x)], axis=-1)
    elif output.axis not in (-1, len(x.shape) - 1):
        x = ops.moveaxis(x, output.axis, -1)
    return ops.softmax(x / temperature, axis=-1)


def taught_as(loss, tensor, name):
    """The `Taught` of an output.

    Args:
        loss: `OutputLoss`.
        tensor: `KerasTensor`, the output.
        name: string.
    """
    activation = last_activation(tensor)
    kind = "regression"
    if loss.name in _CATEGORICAL:
        kind = "categorical"
    elif loss.name in _BINARY:
        kind = "binary"
    elif activation in ("softmax", "sigmoid"):
        kind = "categorical" if activation == "softmax" else "binary"
    logits = activation not in ("softmax", "sigmoid")
    if loss.name in _CATEGORICAL | _BINARY:
        logits = logits and loss.from_logits
    axis = loss.options.get("axis", -1)
    if kind == "categorical" and tensor.shape[axis] == 1:
        kind = "binary"  # one class alone says nothing against itself
    return Taught(loss.index, name, kind, logits, axis, loss.weight)
