r"""Torch-Pruning on the task of `benchmarks.accuracy`: same network, weights, epochs.

One run, one JSON line that `benchmarks.summarize` reads beside ours. The dense Keras
network is carried over to PyTorch (the outputs are compared), pruned step by step until
its MACs are within the budget, as Torch-Pruning's own examples do (it takes a ratio of
channels, not a budget), and trained for the rest of `--epochs` with the same optimizer,
augmentation and teacher. `group_norm` and `bn_scale` train with their penalty for
`--search_epochs` first; the others cut at once. As shipped it has no teacher
(`--distill=0`); `--statistics` estimates those of the batch normalisations anew after
the cut. With `--seconds` the training is as long as the time of the whole job allows,
measured on its own first steps, instead of `--epochs`.

It needs an environment of its own, without TensorFlow:

    pip install torch torch-pruning==1.6.1 keras numpy absl-py
    KERAS_BACKEND=torch python -m benchmarks.peers.torch_pruning \
        --checkpoint=dense.keras --method=group_norm --macs=0.25 --seed=0

Source: Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023
(https://github.com/VainF/Torch-Pruning).
"""

import copy
import math
import statistics
import time

import keras
import numpy as np
import torch
import torch_pruning as tp
from absl import app, flags
from torch import nn
from torch.nn import functional

from benchmarks import common
from benchmarks.peers.torch_port import from_keras
from examples import data as example_data

FLAGS = flags.FLAGS

#: Name -> (pruner, importance, whether one threshold is for the whole network).
METHODS = {
    "uniform": ("BasePruner", "GroupMagnitudeImportance", False),
    "magnitude": ("BasePruner", "GroupMagnitudeImportance", True),
    "taylor": ("BasePruner", "GroupTaylorImportance", True),
    "group_norm": ("GroupNormPruner", "GroupMagnitudeImportance", True),
    "bn_scale": ("BNScalePruner", "BNScaleImportance", True),
}
SPARSE = ("group_norm", "bn_scale")
STEPS = 400  # small steps, so that the budget is met closely
TEMPERATURE = 3.0  # as `tf_lossprune.compress`
#: Taylor scores are of that many batches, and new after that many steps.
GRADIENT_BATCHES, GRADIENT_STEPS = 8, 20
#: Batches that statistics are of, and steps that are timed for `--seconds`.
STATISTICS_BATCHES, TIMED_STEPS = 32, 20


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("arch", "resnet20", "Name of the network in the results.")
    flags.DEFINE_string("checkpoint", None, "Dense Keras network (.keras).")
    flags.DEFINE_enum("method", "magnitude", sorted(METHODS), "What is cut.")
    flags.DEFINE_float("macs", 0.25, "Share of the dense MACs.")
    flags.DEFINE_enum("data", "fashion_mnist", ["fashion_mnist", "cifar10"], "Images.")
    flags.DEFINE_string("data_file", None, "Their file, as in benchmarks.accuracy.")
    flags.DEFINE_integer("epochs", 5, "Epochs in all.")
    flags.DEFINE_float("seconds", None, "Seconds in all, instead of epochs.")
    flags.DEFINE_bool("statistics", False, "Estimate statistics anew after the cut.")
    flags.DEFINE_float("search_epochs", 1.0, "Epochs with the penalty.")
    flags.DEFINE_float("reg", 1e-4, "Strength of the penalty.")
    flags.DEFINE_integer("seed", 0, "Seed of the run.")
    flags.DEFINE_float("distill", 0.5, "The teacher's weight; 0: no teacher.")
    flags.DEFINE_enum(
        "split", "test", ["validation", "held_out", "test"], "Images to evaluate on."
    )
    flags.DEFINE_float("lr", 0.05, "First learning rate; falls to 0 (cosine).")
    flags.DEFINE_integer("batch_size", 128, "Images in a batch.")
    flags.DEFINE_integer("limit", None, "Images in each split, for quick tries.")
    flags.DEFINE_integer("threads", 1, "Threads of PyTorch.")
    flags.DEFINE_string("out", "benchmarks/results/compare.jsonl", "Results.")
    flags.mark_flag_as_required("checkpoint")


def tensors(batch):
    """A batch for PyTorch: channels first."""
    x, y = batch
    x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return torch.from_numpy(x), torch.from_numpy(y.astype("int64"))


def macs_and_params(network, shape):
    """MACs of convolutions and dense layers, and all stored weights."""
    found, handles = [], []

    def count(module, inputs, output):
        where = output.shape[2:].numel() if output.ndim == 4 else 1
        found.append(module.weight.numel() * where)

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            handles.append(module.register_forward_hook(count))
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    statistics = [b for b in network.buffers() if b.ndim]
    params = sum(t.numel() for t in [*network.parameters(), *statistics])
    return {"macs": sum(found), "params": params}


def accuracy(network, data):
    """Share of the images that are classified correctly."""
    right = count = 0
    network.eval()
    with torch.no_grad():
        for index in range(len(data)):
            x, y = tensors(data[index])
            right += int((network(x).argmax(1) == y).sum())
            count += len(y)
    return right / count


class Training:
    """The steps of the protocol: SGD down to 0 over all epochs, whatever is trained."""

    def __init__(self, train, teacher):
        self.train, self.teacher = train, teacher
        self.total, self.done = FLAGS.epochs * len(train), 0

    def run(self, network, steps, distill, penalty=None):
        """Trains for a number of steps.

        Args:
            network: What learns.
            steps: Number of steps.
            distill: Weight of the teacher in the loss.
            penalty: Called with the network after each backward pass.
        """
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=FLAGS.lr,
            momentum=0.9,
            weight_decay=5e-4,
            nesterov=True,
        )
        network.train()
        for _ in range(steps):
            rate = 0.5 * FLAGS.lr * (1 + math.cos(math.pi * self.done / self.total))
            for group in optimizer.param_groups:
                group["lr"] = rate
            index = self.done % len(self.train)
            x, y = tensors(self.train[index])
            loss = self.loss(network(x), x, y, distill)
            optimizer.zero_grad()
            loss.backward()
            if penalty:
                penalty(network)
            optimizer.step()
            self.done += 1
            if index == len(self.train) - 1:
                self.train.on_epoch_end()
                print(f"epoch {self.done // len(self.train)}: {loss.item():.4f}")

    def fit_into(self, network, seconds, distill):
        """Sets the number of steps to what a time allows; `network` does not learn.

        Args:
            network: What will be trained.
            seconds: Seconds for the training.
            distill: Weight of the teacher in the loss.
        """
        before = copy.deepcopy(network.state_dict())
        lasted = []
        for index in range(TIMED_STEPS):
            began = time.perf_counter()
            x, y = tensors(self.train[index % len(self.train)])
            self.loss(network.train()(x), x, y, distill).backward()
            lasted.append(time.perf_counter() - began)
        network.zero_grad()
        network.load_state_dict(before)
        left = seconds - sum(lasted)
        self.total = self.done + max(0, int(left / statistics.median(lasted)))

    def loss(self, logits, x, y, distill):
        """Cross entropy, and the divergence from the teacher."""
        loss = functional.cross_entropy(logits, y)
        if not distill:
            return loss
        with torch.no_grad():
            wanted = functional.log_softmax(self.teacher(x) / TEMPERATURE, 1)
        given = functional.log_softmax(logits / TEMPERATURE, 1)
        divergence = functional.kl_div(
            given, wanted, reduction="batchmean", log_target=True
        )
        return (1 - distill) * loss + distill * TEMPERATURE**2 * divergence


def make_pruner(network, shape):
    """Torch-Pruning's pruner for `--method`; the logits stay."""
    pruner, importance, whole = METHODS[FLAGS.method]
    options = {"reg": FLAGS.reg} if FLAGS.method in SPARSE else {}
    return getattr(tp.pruner, pruner)(
        network,
        torch.zeros(1, *shape),
        importance=getattr(tp.importance, importance)(),
        global_pruning=whole,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=[network.parts["head"]],
        **options,
    )


def cut(network, pruner, shape, train, allowed):
    """Prunes step by step until the MACs are within the budget."""
    for step in range(STEPS):
        if macs_and_params(network, shape)["macs"] <= allowed:
            return
        if FLAGS.method == "taylor" and step % GRADIENT_STEPS == 0:
            network.zero_grad()
            for index in range(GRADIENT_BATCHES):
                x, y = tensors(train[index])
                functional.cross_entropy(network(x), y).backward()
        pruner.step()
    raise RuntimeError(f"The budget was not met in {STEPS} steps. Received: {allowed}")


def estimate_statistics(network, train):
    """Estimates the statistics of batch normalisations anew, over all batches alike."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        for index in range(min(STATISTICS_BATCHES, len(train))):
            network(tensors(train[index])[0])
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def run():
    """One run; returns its row without the settings."""
    torch.manual_seed(FLAGS.seed)
    torch.set_num_threads(FLAGS.threads)
    data = common.load_data(FLAGS.data, FLAGS.limit, FLAGS.data_file)
    # Without TensorFlow these are sequences of arrays.
    train, validation, test = example_data.datasets(
        data, FLAGS.batch_size, FLAGS.seed, use_validation=FLAGS.split == "validation"
    )
    if FLAGS.split == "held_out":
        evaluation = common.left_out(
            FLAGS.data, FLAGS.data_file, FLAGS.limit, FLAGS.batch_size
        )
    else:
        evaluation = test if validation is None else validation
    model = keras.models.load_model(FLAGS.checkpoint, compile=False)
    teacher, network = from_keras(model), from_keras(model)
    x, _ = tensors(evaluation[0])
    expected = keras.ops.convert_to_numpy(model(evaluation[0][0], training=False))
    with torch.no_grad():
        np.testing.assert_allclose(teacher(x).numpy(), expected, rtol=0, atol=1e-3)
    shape = x.shape[1:]
    dense = macs_and_params(network, shape)
    training = Training(train, teacher)
    began = time.perf_counter()
    pruner = make_pruner(network, shape)
    if FLAGS.method in SPARSE:
        pruner.update_regularizer()
        steps = round(FLAGS.search_epochs * len(train))
        training.run(network, steps, 0.0, pruner.regularize)
    searched = time.perf_counter()
    network.eval()
    cut(network, pruner, shape, train, FLAGS.macs * dense["macs"])
    if FLAGS.statistics:
        estimate_statistics(network, train)
    stripped = time.perf_counter()
    compact = macs_and_params(network, shape)
    after_cut = accuracy(network, evaluation)
    resumed = time.perf_counter()
    if FLAGS.seconds:
        left = FLAGS.seconds - (stripped - began)
        training.fit_into(network, left, FLAGS.distill)
    training.run(network, training.total - training.done, FLAGS.distill)
    ended = time.perf_counter()
    seconds = {
        "search": searched - began,
        "strip": stripped - searched,
        "fine_tune": ended - resumed,
    }
    return {
        "accuracy": {
            "dense": accuracy(teacher, evaluation),
            "cut": after_cut,
            "final": accuracy(network, evaluation),
        },
        "cost": {"dense": dense, "compact": compact},
        "fraction": {name: compact[name] / dense[name] for name in dense},
        "seconds": {**seconds, "total": sum(seconds.values())},
        "steps": training.done,
        "versions": {
            "torch": torch.__version__,
            "torch_pruning": tp.__version__,
            "keras": keras.__version__,
        },
    }


def cell():
    """Everything that decides the result of the run."""
    names = ("checkpoint", "epochs", "seed", "distill", "split", "lr", "batch_size")
    found = {name: FLAGS[name].value for name in (*names, "limit")}
    found["checkpoint"] = found["checkpoint"].rsplit("/", 1)[-1]
    # Newer settings have no key where they are off: lines from before still count.
    method = f"torch_pruning {FLAGS.method}"
    if FLAGS.data != "fashion_mnist":
        found["data"] = FLAGS.data
    if FLAGS.seconds:
        found["seconds_asked"] = FLAGS.seconds
        del found["epochs"]
    if FLAGS.statistics:
        method += " with statistics"
    if FLAGS.method in SPARSE:
        found.update(search_epochs=FLAGS.search_epochs, reg=FLAGS.reg)
    return {
        "arch": FLAGS.arch,
        "method": method,
        "budget": f"macs={FLAGS.macs:g}",
        **found,
    }


def main(argv):
    """Runs the cell of the flags unless `--out` has it."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    common.run_once(FLAGS.out, cell(), run)


if __name__ == "__main__":
    define_flags()
    app.run(main)
