"""What a call does besides computing: added losses and changed weights.

While a call is noted, each becomes an operation that passes the result on, so that
whoever reads the result has it done.
"""

import keras
from keras import ops, tree


@keras.saving.register_keras_serializable(package="tf_lossprune")
class AddedLoss(keras.layers.Layer):
    """Passes its first input on and adds the others to the model's loss.

    Args:
        only_in_training: bool.
    """

    def __init__(self, only_in_training=False, **kwargs):
        super().__init__(**kwargs)
        self.only_in_training = only_in_training
        self._convert_input_args = False
        self.built = True

    def call(self, inputs, losses, training=None):
        if training or not self.only_in_training:
            self.add_loss(losses)
        return inputs

    def compute_output_spec(self, inputs, losses, training=None):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "only_in_training": self.only_in_training}


class Assignment(keras.Operation):
    """Stands for the change of a weight, and passes its first input on.

    Args:
        weight: `WeightTensor` that gets its second input for its value.
    """

    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        self.only_in_training = False

    def compute_output_spec(self, inputs, value):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


class Effects:
    """The effects of one call, in order."""

    def __init__(self):
        self._losses, self._changed = [], {}

    def add_loss(self, loss):
        self._losses.append(loss)

    def change(self, weight, value):
        """Notes the last value that a weight gets."""
        self._changed[id(weight.variable)] = weight, value

    def operations(self):
        """Pairs of an operation and what it takes besides the call's result."""
        losses = [(AddedLoss(), [self._losses])] if self._losses else []
        changed = self._changed.values()
        return losses + [(Assignment(weight), [value]) for weight, value in changed]


def is_effect(operation):
    """Whether an operation stands for an effect."""
    return isinstance(operation, (AddedLoss, Assignment))


def as_losses(loss):
    """What a layer adds to the loss, as symbolic scalars; as a model adds them up."""
    return [x if x.shape == () else ops.sum(x) for x in tree.flatten(loss)]
