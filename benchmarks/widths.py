r"""LiteRT's time for a convolution over widths 1 to 128: what to round widths to.

Example:

    python -m benchmarks.widths --plot=docs/images/widths.png --out=out/widths.json
"""

import pathlib
import tempfile

import keras
from absl import app, flags

from benchmarks import common
from tf_lossprune.deploy import this_device, times_in_turns
from tf_lossprune.deploy.litert import convert_operation
from tf_lossprune.report.plot import agg_figure

FLAGS = flags.FLAGS

flags.DEFINE_integer("largest", 128, "Largest number of output channels.")
flags.DEFINE_integer("inputs", 32, "Input channels.")
flags.DEFINE_integer("size", 14, "Height and width of the images.")
flags.DEFINE_integer("threads", 1, "Threads of the runtime.")
flags.DEFINE_string("plot", None, "Where the picture goes (.png).")
flags.DEFINE_string("out", None, "Where the figures go (.json).")

#: Title -> function from a number of channels to the layer.
LAYERS = {
    "3x3 convolution": lambda n: keras.layers.Conv2D(n, 3, padding="same"),
    "1x1 convolution": lambda n: keras.layers.Conv2D(n, 1),
    "3x3 depthwise": lambda n: keras.layers.DepthwiseConv2D(3, padding="same"),
}


def measure(make, folder):
    """Milliseconds at each width."""
    paths = []
    for width in range(1, FLAGS.largest + 1):
        given = width if "Depthwise" in type(make(1)).__name__ else FLAGS.inputs
        inputs = keras.Input((FLAGS.size, FLAGS.size, given))
        paths.append(f"{folder}/{width}.tflite")
        model = keras.Model(inputs, make(width)(inputs))
        convert_operation(model, paths[-1], "fp32")
    return times_in_turns(paths, FLAGS.threads, rounds=9, block_ms=5.0)


def draw(found, path):
    """A panel for each layer; whole tiles of 8 are marked."""
    figure = agg_figure((9.0, 2.6 * len(found)))
    for index, (title, times) in enumerate(found.items()):
        axes = figure.add_subplot(len(found), 1, index + 1)
        widths = range(1, len(times) + 1)
        axes.plot(widths, times, color="#3b6ea5", linewidth=1.2)
        tiles = [w for w in widths if w % 8 == 0]
        marks = [times[w - 1] for w in tiles]
        axes.plot(tiles, marks, "o", color="#d1495b", markersize=4)
        axes.set_title(f"{title}: ms over channels (dots: multiples of 8)", loc="left")
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def main(argv):
    """Measures, prints how much multiples of 8 save, and draws."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    found = {}
    for title, make in LAYERS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[title] = measure(make, folder)
        # An odd width against the next multiple of 8, which has more channels.
        ratios = [
            found[title][width - 1] / found[title][-(-width // 8) * 8 - 1]
            for width in range(1, FLAGS.largest + 1)
            if width % 8
        ]
        slower = sum(ratio > 1.0 for ratio in ratios) / len(ratios)
        print(
            f"{title}: an odd width takes {sum(ratios) / len(ratios):.2f} of the time "
            f"of the next multiple of 8 on average; {slower:.0%} of them take longer"
        )
    if FLAGS.plot:
        pathlib.Path(FLAGS.plot).parent.mkdir(parents=True, exist_ok=True)
        draw(found, FLAGS.plot)
    if FLAGS.out:
        common.write_json(FLAGS.out, {"milliseconds": found, "device": this_device()})


if __name__ == "__main__":
    app.run(main)
