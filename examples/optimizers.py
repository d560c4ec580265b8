"""The optimizer of the comparison protocol, the same for every run."""

import keras


def cosine_sgd(
    steps,
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=5e-4,
):
    """SGD with Nesterov momentum, weight decay and a cosine schedule down to 0.

    `weight_decay` is meant as in the classical recipe (Torch's SGD, Caffe): an L2
    term in the gradient, which therefore passes through the momentum. There a step
    shrinks a weight by `learning_rate * weight_decay` at once and, through the
    momentum, by `1 / (1 - momentum)` times as much in the end. `keras.optimizers.SGD`
    decays the weight beside the momentum, so the same number would be ten times
    weaker at momentum 0.9. It is divided by `1 - momentum` here, which makes the two
    agree up to the momentum's delay of a few steps.

    Args:
        steps: Number of training steps over which the rate falls to 0.
        learning_rate: Rate of the first step.
        momentum: Momentum in [0, 1).
        weight_decay: Coefficient of the coupled L2 decay.

    Returns:
        A new `keras.optimizers.SGD`.

    Raises:
        ValueError: If `steps` is not positive or `momentum` is outside [0, 1).

    References:
        Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019
        (arXiv 1711.05101); SGDR, ICLR 2017 (arXiv 1608.03983).
    """
    if steps < 1:
        raise ValueError(f"`steps` must be positive. Received: {steps}")
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"`momentum` must be in [0, 1). Received: {momentum}")
    return keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(learning_rate, int(steps)),
        momentum=momentum,
        nesterov=momentum > 0.0,
        weight_decay=weight_decay / (1.0 - momentum) or None,
    )
