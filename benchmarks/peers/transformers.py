r"""Torch-Pruning on the networks of `benchmarks.transformers`, from the same weights.

The dense Keras network is carried over to PyTorch (the outputs are compared), pruned in
small steps until its MACs are within the budget, and trained on the same batches with
the same optimizer and teacher. As in Torch-Pruning's own examples for transformers,
`BasePruner` takes dimensions of each head (the scale of the scores stays what it was)
by group scores of Taylor or of the L2 norm: everywhere the same share (`uniform`) or
by one threshold (`global`), optionally only inside of blocks (`inner`), where the
layers that write to the residual stream are left alone.

Needs an environment of its own, without TensorFlow:

    pip install torch torch-pruning==1.6.1 keras numpy absl-py
    KERAS_BACKEND=torch python -m benchmarks.peers.transformers \
        --data_file=cifar10.npz --checkpoints=out/vit

Source: Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023
(https://github.com/VainF/Torch-Pruning, examples/transformers).
"""

import math
import time
from importlib import metadata

import keras
import numpy as np
import torch
import torch_pruning as tp
from absl import app, flags
from torch import nn
from torch.nn import functional

from benchmarks import transformers
from benchmarks import vision_transformers as networks
from benchmarks.peers.torch_port import from_keras
from benchmarks.peers.torch_tokens import Attention, Positions
from examples.flags import parse_budget

FLAGS = flags.FLAGS

IMPORTANCES = {
    "taylor": tp.importance.GroupTaylorImportance,
    "l2": tp.importance.GroupMagnitudeImportance,
}
STEPS = 100  # small steps, so that the budget is met closely
TEMPERATURE = 3.0  # as `prune_model`
#: Taylor scores are of that many batches, and new after that many steps.
GRADIENT_BATCHES, GRADIENT_STEPS = 8, 10


def tensors(batch):
    """A batch for PyTorch: channels first."""
    x, y = batch
    x = np.ascontiguousarray(np.moveaxis(x, -1, 1), "float32")
    return torch.from_numpy(x), torch.from_numpy(np.asarray(y, "int64"))


def macs(network, shape):
    """MACs of one image: of kernels, and of the two products of each attention."""
    found, handles = [], []

    def count(module, inputs, output):
        if isinstance(module, Attention):
            found.append(module.product_macs(inputs[0]))
        else:
            channels = output.shape[1 if isinstance(module, nn.Conv2d) else -1]
            found.append(module.weight.numel() * output.numel() // channels)

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, Attention)):
            handles.append(module.register_forward_hook(count))
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return sum(found)


def right(network, data):
    """Share of the held-out images that are classified correctly."""
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(data.x_val), 500):
            part = slice(start, start + 500)
            x, y = tensors((data.x_val[part], data.y_val[part]))
            found.append((network(x).argmax(1) == y).float())
    return float(torch.cat(found).mean())


def train(network, teacher, batches, cell):
    """Trains as `benchmarks.transformers` does."""
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=cell["lr"], weight_decay=networks.WEIGHT_DECAY
    )
    network.train()
    for step in range(cell["steps"]):
        rate = 0.5 * cell["lr"] * (1 + math.cos(math.pi * step / cell["steps"]))
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y = tensors(batches[step % len(batches)])
        with torch.no_grad():
            wanted = functional.log_softmax(teacher(x) / TEMPERATURE, 1)
        logits = network(x)
        given = functional.log_softmax(logits / TEMPERATURE, 1)
        divergence = functional.kl_div(
            given, wanted, reduction="batchmean", log_target=True
        )
        loss = (1 - networks.TEACHER) * functional.cross_entropy(logits, y)
        loss = loss + networks.TEACHER * TEMPERATURE**2 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def make_pruner(network, shape, importance, whole, inner):
    """Torch-Pruning's pruner; the logits stay."""
    parts = network.parts
    ignored = [parts["head"]]
    heads = {m.qkv: m.heads for m in network.modules() if isinstance(m, Attention)}
    tables = [m.table for m in network.modules() if isinstance(m, Positions)]
    if inner:
        # As Torch-Pruning's example does; a group of the stream has one of these.
        ignored += [part for name, part in parts.items() if name.endswith("_out")]
    return tp.pruner.BasePruner(
        network,
        torch.zeros(1, *shape),
        importance=IMPORTANCES[importance](),
        global_pruning=whole,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=ignored,
        num_heads=heads,
        unwrapped_parameters=[(table, 2) for table in tables],
    )


def cut(network, pruner, shape, batches, allowed, gradients):
    """Prunes step by step until the MACs are within the budget."""
    for step in range(STEPS):
        if macs(network, shape) <= allowed:
            return
        if gradients and step % GRADIENT_STEPS == 0:
            network.zero_grad()
            for index in range(GRADIENT_BATCHES):
                x, y = tensors(batches[index])
                functional.cross_entropy(network(x), y).backward()
        pruner.step()
    raise RuntimeError(f"The budget was not met in {STEPS} steps. Received: {allowed}")


def run(cell, model, data):
    """One cell: the rest of its line."""
    torch.manual_seed(cell["seed"])
    batches = networks.batches(data, cell["seed"], cell["steps"] * networks.BATCH)
    teacher, network = from_keras(model), from_keras(model)
    x, _ = tensors((data.x_val[:64], data.y_val[:64]))
    expected = keras.ops.convert_to_numpy(model(data.x_val[:64], training=False))
    with torch.no_grad():
        np.testing.assert_allclose(teacher(x).numpy(), expected, rtol=0, atol=1e-3)
    shape = x.shape[1:]
    dense = macs(network, shape)
    began = time.perf_counter()
    _, importance, *more = cell["method"].split()
    pruner = make_pruner(network, shape, importance, "global" in more, "inner" in more)
    allowed = parse_budget(cell["budget"])["macs"] * dense
    cut(network, pruner, shape, batches, allowed, importance == "taylor")
    after_cut = right(network, data)
    train(network, teacher, batches, cell)
    seconds = time.perf_counter() - began
    return {
        "accuracy": {
            "dense": right(teacher, data),
            "cut": after_cut,
            "final": right(network, data),
        },
        "fraction": {"macs": macs(network, shape) / dense},
        "dense_macs": dense,
        "seconds": {"total": seconds},
        "versions": {
            name: metadata.version(name) for name in ("torch", "torch-pruning")
        },
    }


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    torch.set_num_threads(1)
    transformers.run_all(run, FLAGS.methods)


if __name__ == "__main__":
    transformers.define_flags()
    flags.DEFINE_list(
        "methods",
        "torch_pruning taylor uniform,torch_pruning taylor global,"
        "torch_pruning l2 uniform,torch_pruning taylor uniform inner",
        "The words behind torch_pruning: taylor or l2, uniform or global, inner.",
    )
    app.run(main)
