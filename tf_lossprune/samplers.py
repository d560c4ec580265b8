"""Samplers: how the gates of one training step follow from keep probabilities."""

from tf_lossprune.gates.sampler import (
    ConcreteSampler,
    DeterministicSampler,
    GateSampler,
    HardSampler,
    register_sampler,
)

__all__ = [
    "ConcreteSampler",
    "DeterministicSampler",
    "GateSampler",
    "HardSampler",
    "register_sampler",
]
