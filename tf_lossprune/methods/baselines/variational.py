"""Variational dropout: a posterior of each channel's multiplicative noise."""

from typing import Any

import keras
from keras import ops

from tf_lossprune.config import check_positive
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.step import Step
from tf_lossprune.methods.threshold import ThresholdMethod
from tf_lossprune.types import BackendTensor

#: Constants of the approximate divergence from the log-uniform prior.
K1, K2, K3 = 0.63576, 1.87320, 1.48695
#: Log-variance of the noise at the start.
START = -4.0


class VariationalSearch(Search):
    """Learns mean and variance of a Gaussian factor on each channel."""

    def make_variables(self, groups: int, total: int) -> None:
        self.mean = self.variable((total,), 1.0, "mean")
        self.log_variance = self.variable((total,), START, "log_variance")

    def learned(self) -> list[keras.Variable]:
        return [self.mean, self.log_variance]

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        shape = (self.layout.num_units + 1,)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        spread = ops.exp(0.5 * self.log_variance.value) * noise
        fixed = ops.one_hot(0, shape[0], dtype="float32")  # unit 0 always stays
        gates = (self.mean.value + spread) * (1.0 - fixed) + fixed
        return gates, 0.5 * spread * (1.0 - fixed), self.ratios(limits)

    def _log_alpha(self) -> BackendTensor:
        return self.log_variance.value - ops.log(ops.square(self.mean.value) + 1e-8)

    def learn(self, step: Step, gate_gradient: BackendTensor) -> list[BackendTensor]:
        log_alpha = self._log_alpha()
        s = ops.sigmoid(K2 + K3 * log_alpha)
        by_alpha = -(K1 * K3 * s * (1.0 - s) + 0.5 * ops.sigmoid(-log_alpha))
        by_alpha = self.method.strength * by_alpha
        mean = self.mean.value
        by_mean = gate_gradient - by_alpha * 2.0 * mean / (ops.square(mean) + 1e-8)
        by_variance = gate_gradient * step.weight + by_alpha
        return [by_mean, by_variance]

    def current_importance(self) -> BackendTensor:
        return ops.exp(-0.5 * self._log_alpha())


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Variational(ThresholdMethod):
    """Noise on each channel, as much as the loss bears; then a threshold on it.

    Structured variational dropout: Molchanov et al., ICML 2017, arXiv 1701.05369,
    for whole channels as in Louizos et al., NeurIPS 2017, arXiv 1705.08665. Each
    channel is multiplied by `N(mean, variance)`; the divergence from the log-uniform
    prior raises the variance where the loss does not object. Channels go by their
    ratio of signal to noise, `|mean| / sqrt(variance)`, under the lowest threshold
    that keeps the budget. The mean is part of the search only: the delivered
    weights are the network's.

    Args:
        strength: float > 0, the divergence's factor (one over the number of
            training images in the derivation).
    """

    name = "variational"
    trains = True
    search_class = VariationalSearch
    learning_rate = 0.02

    def __init__(self, strength: float = 1e-3) -> None:
        self.strength = check_positive("strength", strength)

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}


register_method(Variational)
