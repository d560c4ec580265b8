"""The networks of the comparison on transformers."""

import keras
import pytest

import tf_lossprune
from benchmarks import vision_transformers as networks


@pytest.mark.parametrize("arch", sorted(networks.NETWORKS))
def test_inner_widths_leave_the_residual_stream_alone(arch):
    keras.utils.set_random_seed(0)
    model = networks.NETWORKS[arch](shape=(16, 16, 3))
    pruned = tf_lossprune.prune_model(
        model, 0.5, method="uniform", channel_multiple=1, filters=list(networks.INNER)
    )
    compact = tf_lossprune.strip_pruning(pruned)
    shapes = {layer.name: layer.output.shape for layer in model.layers}
    changed = [
        layer.name
        for layer in compact.layers
        if shapes.get(layer.name, layer.output.shape) != layer.output.shape
    ]
    assert "block0_mlp_hidden" in changed
    assert "block0_mlp_out" not in changed
    assert "head" not in changed
    assert not [name for name in changed if "norm" in name or "add" in name]
