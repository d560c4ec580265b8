r"""Draws the figures of docs/how.md.

    python -m benchmarks.how_it_works --out=docs/figures

- `soft_threshold.svg`: keep probabilities of a group's channels, for several keep
  ratios and for several variances, as the search computes them;
- `search.svg`: the share of the MACs and the keep ratio of every group while a small
  residual network learns its widths on scikit-learn's digits at half of the MACs (the
  network, data and optimizer of `examples.digits_demo`, seed 0). Takes a few minutes
  on one core.
"""

import itertools
import pathlib

import keras
import matplotlib
import numpy as np
from absl import app, flags

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.optimizers import cosine_sgd
from tf_lossprune.gates import (
    GroupLayout,
    solve_steepness,
    solve_threshold,
)
from tf_lossprune.report.plot import agg_figure
from tf_lossprune.thresholds import SigmoidLog

_OUT = flags.DEFINE_string("out", "docs/figures", "Folder of the figures.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and draws.")
_EPOCHS = flags.DEFINE_integer("epochs", 20, "Of the dense and of the pruned net.", 1)
_WIDTH = flags.DEFINE_integer("width", 16, "Channels of the first stage.", 1)

_CHANNELS = 64
_COLORS = ("#2a6f97", "#d1495b", "#66a182", "#edae49", "#7b5ea7", "#555555")


def keep_probabilities(ratio, variance, channels=_CHANNELS, seed=0):
    """Keep probabilities of one group, the most important channel first.

    Args:
        ratio: float in (0, 1), the group's keep ratio.
        variance: float, wanted mean of `p (1 - p)`.
        channels: int, size of the group.
        seed: int, of the importances (folded normal).

    Returns:
        float array `[channels]`.
    """
    importance = np.abs(np.random.default_rng(seed).normal(size=channels))
    rows = np.log(np.sort(importance)[::-1].astype("float32"))[None]
    layout = GroupLayout([np.arange(1, channels + 1)], channels)
    ratios = keras.ops.convert_to_tensor([ratio], "float32")
    steepness = solve_steepness(SigmoidLog(), layout, rows, ratios, variance)
    solution = solve_threshold(SigmoidLog(), layout, rows, ratios, steepness)
    return keras.ops.convert_to_numpy(solution.probabilities)[0]


def draw_thresholds(path):
    """Draws the keep probabilities."""
    figure = agg_figure((8, 3))
    left, right = figure.subplots(1, 2, sharey=True)
    rank = np.arange(1, _CHANNELS + 1)
    for color, ratio in zip(_COLORS, (0.75, 0.5, 0.25)):
        left.plot(
            rank, keep_probabilities(ratio, 0.05), color=color, label=f"ratio {ratio}"
        )
    for color, variance in zip(_COLORS, (0.15, 0.05, 0.01)):
        p = keep_probabilities(0.5, variance)
        right.plot(rank, p, color=color, label=f"variance {variance}")
    left.set_ylabel("keep probability")
    left.set_title("the ratio moves the threshold (variance 0.05)", fontsize=9)
    right.set_title("the variance makes it steep (ratio 0.5)", fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("channels, by importance")
        axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


class Ratios(keras.callbacks.Callback):
    """Notes the share of the MACs and the keep ratios after every step."""

    def __init__(self):
        super().__init__()
        self.macs, self.phases, self.ratios = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.macs.append(float(logs["macs"]))
        self.phases.append(round(float(logs["phase"])))
        self.ratios.append(self.model.keep_ratios())


def search(epochs, width, seed):
    """Lets a small network learn its widths.

    Args:
        epochs: int, of the dense network and of the pruned one each.
        width: int, channels of the first stage.
        seed: int.

    Returns:
        A `Ratios`.
    """
    keras.utils.set_random_seed(seed)
    data = example_data.load_digits()
    train, _, _ = example_data.datasets(data, 32, seed)
    model = models.digits_resnet(data.input_shape, data.classes, width)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = epochs * len(train)
    model.compile(cosine_sgd(steps, learning_rate=0.1), loss)
    model.fit(train, epochs=epochs, verbose=0)
    pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, seed=seed)
    pruned.compile(cosine_sgd(steps, learning_rate=0.05), loss)
    ratios = Ratios()
    pruned.fit(train, epochs=epochs, callbacks=[ratios], verbose=0)
    return ratios


def draw_search(ratios, path):
    """Draws a search.

    Args:
        ratios: `Ratios` of the run.
        path: path of the picture.
    """
    figure = agg_figure((8, 3.2))
    axes = figure.subplots()
    steps = np.arange(1, len(ratios.macs) + 1)
    axes.plot(steps, ratios.macs, color="black", linewidth=2, label="MACs")
    colors = matplotlib.colormaps["tab20"].colors
    for color, name in zip(itertools.cycle(colors), ratios.ratios[0]):
        values = [entry[name] for entry in ratios.ratios]
        axes.plot(steps, values, color=color, linewidth=1, label=name)
    for phase, title in ((0, "warm-up"), (1, "search"), (2, "fixed widths")):
        inside = steps[np.array(ratios.phases) == phase]
        if len(inside):
            axes.axvline(inside[-1], color="0.8", linewidth=1, zorder=0)
            axes.text(inside.mean(), 1.04, title, ha="center", fontsize=8, color="0.4")
    axes.set_xlabel("training step")
    axes.set_ylabel("share of the dense network")
    axes.set_ylim(0, 1.1)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def _save(figure, path):
    # Without date and with a fixed salt, the same figure is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "tf_lossprune"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


def main(argv):
    """Draws both figures."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    draw_thresholds(out / "soft_threshold.svg")
    ratios = search(_EPOCHS.value, _WIDTH.value, _SEED.value)
    draw_search(ratios, out / "search.svg")
    print(f"Written to {out}: search.svg, soft_threshold.svg")


if __name__ == "__main__":
    app.run(main)
