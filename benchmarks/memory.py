r"""What `PeakMemory` counts, against what LiteRT allocates.

LiteRT plans one arena for all activations of a file; `deploy.arena_bytes` says how
it is measured, with kernels that need no scratch space.

Example:

    python -m benchmarks.memory --out=out/memory.json
"""

import pathlib
import tempfile

from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import models
from tf_lossprune.deploy import arena_bytes, convert_to_measure
from tf_lossprune.graph import analyze
from tf_lossprune.resources import PeakMemory

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "arch",
    "resnet20,vgg16_bn,mobilenet_v1,mobilenet_v2,densenet_small,squeeze_excite_net",
    "Networks of examples/models.py.",
)
flags.DEFINE_list("precisions", "fp32,int8", "Precisions of to_litert.")
flags.DEFINE_list("shares", "1.0,0.5,0.25", "Shares of the MACs (uniform widths).")
flags.DEFINE_integer("size", 32, "Height and width of the images.")
flags.DEFINE_string("out", None, "Where the figures go (.json).")


def measure(arch, precision, folder):
    """Rows of one network at every share."""
    model = models.build(arch, input_shape=(FLAGS.size, FLAGS.size, 3))
    models.randomize(model, 0)
    rows = []
    for share in map(float, FLAGS.shares):
        compact = model
        if share < 1:
            pruned = tf_lossprune.prune_model(model, {"macs": share}, method="uniform")
            compact = tf_lossprune.strip_pruning(pruned, check=False)
        path = str(folder / f"{arch}.tflite")
        convert_to_measure(compact, path, precision)
        counted = PeakMemory(precision).function(analyze(compact)).dense
        arena = arena_bytes(path)
        rows.append(
            {
                "arch": arch,
                "precision": precision,
                "share": share,
                "counted": int(counted),
                "arena": arena,
                "ratio": arena / counted,
            }
        )
    return rows


def main(argv):
    """Measures every network and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    rows = []
    print("| network | precision | MACs | counted | arena | arena / counted |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for arch in FLAGS.arch:
            for precision in FLAGS.precisions:
                for row in measure(arch, precision, pathlib.Path(folder)):
                    rows.append(row)
                    print(
                        f"| {arch} | {precision} | {row['share']:.3g} | "
                        f"{row['counted']:,} | {row['arena']:,} | {row['ratio']:.3f} |",
                        flush=True,
                    )
    if FLAGS.out:
        common.write_json(FLAGS.out, {"rows": rows, "versions": common.versions()})


if __name__ == "__main__":
    app.run(main)
