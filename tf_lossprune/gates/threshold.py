"""Soft thresholds: how keep probabilities follow from importances.

A soft threshold is the CDF of a unimodal law over log-importance,
`p = cdf(steepness * (ln b - position))`. The sigmoid-log one is that of
differentiable sparsity allocation (Ning et al., ECCV 2020, arXiv 2004.02164).
"""

from keras import ops

from tf_lossprune.config import Configurable
from tf_lossprune.registry import Registry
from tf_lossprune.types import BackendTensor


class SoftThreshold(Configurable):
    """Base class of the soft thresholds; they have no parameters.

    Attributes:
        name: string, for `prune_model(threshold=...)`.
        reach: float, |z| beyond which `cdf` is within 1e-7 of 0 or 1.
    """

    name: str | None = None
    reach = 17.0

    def cdf(self, z: BackendTensor) -> BackendTensor:
        """Keep probabilities in [0, 1] for scaled log-importances `z`."""
        raise NotImplementedError

    def pdf(self, z: BackendTensor) -> BackendTensor:
        """The derivative of `cdf`."""
        raise NotImplementedError


THRESHOLDS = Registry("threshold", SoftThreshold, "sigmoid_log")
register_threshold = THRESHOLDS.register


@register_threshold
class SigmoidLog(SoftThreshold):
    """The logistic law: `p = sigmoid(z)`."""

    name = "sigmoid_log"

    def cdf(self, z: BackendTensor) -> BackendTensor:
        return ops.sigmoid(z)

    def pdf(self, z: BackendTensor) -> BackendTensor:
        p = ops.sigmoid(z)
        return p * (1.0 - p)


@register_threshold
class GaussianLog(SoftThreshold):
    """The normal law: `p = Phi(z)`; lighter tails than the logistic one."""

    name = "gaussian_log"
    reach = 5.5

    def cdf(self, z: BackendTensor) -> BackendTensor:
        # XLA's erf can be a rounding error beyond -1 or 1.
        return ops.clip(0.5 + 0.5 * ops.erf(z * 0.7071067811865476), 0.0, 1.0)

    def pdf(self, z: BackendTensor) -> BackendTensor:
        return 0.3989422804014327 * ops.exp(-0.5 * z * z)


@register_threshold
class ClippedLinear(SoftThreshold):
    """The uniform law: `p = clip(1/2 + z/4, 0, 1)`; exact zeros and ones."""

    name = "clipped_linear"
    reach = 2.0

    def cdf(self, z: BackendTensor) -> BackendTensor:
        return ops.clip(0.5 + 0.25 * z, 0.0, 1.0)

    def pdf(self, z: BackendTensor) -> BackendTensor:
        return ops.where(ops.abs(z) < 2.0, 0.25, 0.0)
