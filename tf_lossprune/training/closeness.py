"""How far a network's outputs are from what they were, in the outputs' own terms."""

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.training.distillation import Taught, divergence_of, taught_as
from tf_lossprune.training.losses import OutputLoss, compiled_losses


class Closeness:
    """A distance between the outputs of two networks.

    Classes are compared as probabilities, by their Kullback-Leibler divergence: what
    has the larger error may well decide more like the other. Other outputs are
    compared by their squared difference, in units of their mean square. Which outputs
    are classes the losses say that the model was compiled with, else the network's
    last activations.

    Args:
        network: functional `keras.Model` with the outputs.
        trained: `keras.Model` with the same outputs, whose losses count if it is
            compiled and they are built; or None.

    Attributes:
        outputs: list of `Taught`, what each output is.
    """

    def __init__(self, network: keras.Model, trained: keras.Model | None = None):
        losses: list[OutputLoss] = []
        if trained is not None and internals.is_loss_built(trained):
            losses = compiled_losses(trained)
        if not losses:
            losses = [
                OutputLoss(index, (), "", {}, 1.0, lambda *_: 0.0)
                for index in range(len(network.outputs))
            ]
        self.outputs: list[Taught] = [
            taught_as(loss, network.outputs[loss.index], "") for loss in losses
        ]

    def __call__(self, wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
        """The sum over the outputs, weighted as their losses are.

        Args:
            wanted, found: float32 arrays, one for each output.

        Returns:
            A float; infinity if an output is not finite.
        """
        total = 0.0
        for output in self.outputs:
            pair = wanted[output.index], found[output.index]
            if not np.isfinite(pair[1]).all():
                return np.inf
            if output.kind == "regression":
                scale = np.mean(np.square(pair[0])) + np.finfo("float32").tiny
                total += output.weight * np.mean(np.square(pair[1] - pair[0])) / scale
            else:
                total += output.weight * float(divergence_of(output, *pair))
        return float(total)
