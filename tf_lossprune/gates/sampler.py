"""Samplers: from keep probabilities to the gates of one training step."""

from typing import Any

from keras import ops

from tf_lossprune.config import Configurable, check_number
from tf_lossprune.registry import Registry
from tf_lossprune.types import BackendTensor


class GateSampler(Configurable):
    """Base class of the samplers.

    Attributes:
        name: string, for `prune_model(sampler=...)`.
    """

    name: str | None = None

    def __call__(
        self, probabilities: BackendTensor, noise: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor]:
        """Samples gates.

        Args:
            probabilities: float tensor, in [0, 1].
            noise: tensor like it, uniform in (0, 1).

        Returns:
            `gates`, in [0, 1]; and `slope`, the factor that makes a gradient
            with respect to the gates one with respect to the probabilities.
        """
        raise NotImplementedError


SAMPLERS = Registry("sampler", GateSampler, "hard")
register_sampler = SAMPLERS.register


@register_sampler
class HardSampler(GateSampler):
    """Bernoulli gates with a straight-through gradient.

    Args:
        second_order: bool. If true, the gradient of a gate that came out as 1
            counts `1/(2p)` and of one that came out as 0 counts `1/(2(1-p))`:
            in expectation the mean of the loss's derivative at both ends, which
            is the exact derivative of the expected loss where the loss is
            quadratic in each gate (ReinMax: Liu et al., NeurIPS 2023, arXiv
            2304.08612). If false, all count 1 (Bengio et al., 2013, arXiv
            1308.3432): exact only where the loss is linear in the gates.
    """

    name = "hard"

    def __init__(self, second_order: bool = True) -> None:
        self.second_order = second_order

    def __call__(
        self, probabilities: BackendTensor, noise: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor]:
        gates = ops.cast(noise < probabilities, probabilities.dtype)
        if not self.second_order:
            return gates, ops.ones_like(gates)
        chance = ops.where(gates > 0, probabilities, 1.0 - probabilities)
        return gates, 0.5 / ops.maximum(chance, 1e-6)

    def get_config(self) -> dict[str, Any]:
        return {"second_order": self.second_order}


@register_sampler
class ConcreteSampler(GateSampler):
    """The binary-concrete relaxation (Maddison et al., 2017, arXiv 1611.00712).

    Args:
        temperature: float > 0; towards 0 the gates become hard.
    """

    name = "concrete"

    def __init__(self, temperature: float = 0.3) -> None:
        check_number("temperature", temperature)
        if not temperature > 0:
            raise ValueError(f"Expected a temperature above 0. Received: {temperature}")
        self.temperature = temperature

    def __call__(
        self, probabilities: BackendTensor, noise: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor]:
        p = ops.clip(probabilities, 1e-6, 1.0 - 1e-6)
        u = ops.clip(noise, 1e-6, 1.0 - 1e-6)
        logit = ops.log(p) - ops.log(1.0 - p) + ops.log(u) - ops.log(1.0 - u)
        gates = ops.sigmoid(logit / self.temperature)
        return gates, gates * (1.0 - gates) / (self.temperature * p * (1.0 - p))

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}


@register_sampler
class DeterministicSampler(GateSampler):
    """Nothing is random: the gates are the probabilities."""

    name = "deterministic"

    def __call__(
        self, probabilities: BackendTensor, noise: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor]:
        return probabilities, ops.ones_like(probabilities)
