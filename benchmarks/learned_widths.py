r"""Draws what a run of `benchmarks.accuracy` kept of each group of channels.

python -m benchmarks.learned_widths benchmarks/results/headline.jsonl \
        --where=budget=macs=0.125,seed=0 --out=docs/figures/learned_widths.png
"""

import pathlib

from absl import app, flags

from benchmarks.summarize import read
from tf_lossprune.report.plot import agg_figure

FLAGS = flags.FLAGS

#: Channels of the dense network, and what is left of them.
BEFORE, AFTER = "#d8dce3", "#2f6690"


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("out", "out/learned_widths.png", "The picture.")
    flags.DEFINE_list("where", [], "As in benchmarks.summarize; the first line counts.")


def draw(groups, path):
    """Draws two bars for each group, one over the other.

    Args:
        groups: list of dicts with `name`, `kept` and `total`.
        path: the picture.
    """
    figure = agg_figure((7.2, 0.26 * len(groups) + 0.7))
    axes = figure.add_subplot()
    names = [group["name"].removesuffix("_conv") for group in groups]
    kept = [group["kept"] for group in groups]
    total = [group["total"] for group in groups]
    rows = range(len(groups))
    axes.barh(rows, total, color=BEFORE, label="before")
    axes.barh(rows, kept, color=AFTER, label="after")
    for row, (k, n) in enumerate(zip(kept, total)):
        axes.text(n + 0.6, row, f"{k} of {n}", va="center", fontsize=8)
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_xlim(0, max(total) * 1.14)
    axes.invert_yaxis()
    axes.set_xlabel("channels", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8, loc="upper right", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def main(argv):
    """Draws the first line that fits."""
    rows = read([pathlib.Path(name) for name in argv[1:]], FLAGS.where)
    draw(rows[0]["groups"], FLAGS.out)


if __name__ == "__main__":
    define_flags()
    app.run(main)
