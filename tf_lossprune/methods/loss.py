"""The project's own method: the task loss moves the ratios."""

from tf_lossprune.methods.base import Method, register_method


class Loss(Method):
    """Ratios by gradient under a kept budget, learned in `fit`.

    After differentiable sparsity allocation (Ning et al., ECCV 2020, arXiv
    2004.02164). The search itself is the training step; see `training`.
    """

    name = "loss"
    one_shot = False


register_method(Loss())
