r"""How much of the gradient that moves the ratios is signal, in one search.

For each group the mean over the last steps of a search, its standard deviation from
step to step, and their ratio. A ratio far below 1 in most groups means that a step
tells little of where the ratios should go, and that a short search hardly leaves the
uniform widths.

    python -m benchmarks.lab.noise --arch=mobilenet_v2 --width=8 --limit=20000 \
        --checkpoint=out/dense/DENSE.keras
"""

import statistics

import keras
import numpy as np
from absl import app, flags
from keras import ops

import tf_lossprune
from benchmarks import common
from examples import data as example_data
from examples.flags import parse_budget, parse_method
from examples.optimizers import cosine_sgd
from tf_lossprune import methods

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script, beside those of `benchmarks.accuracy`."""
    flags.DEFINE_integer("steps", 188, "Steps of the search.")
    flags.DEFINE_integer("last", 28, "How many of them are looked at, the last ones.")
    flags.DEFINE_integer("train_steps", 1252, "Steps that the learning rate is for.")


def recording(method, start):
    """Lets a method's search keep sums of the gradient that moves its ratios.

    Args:
        method: A `tf_lossprune.methods.Loss`, changed in place.
        start: The first step that counts.

    Returns:
        The method.
    """

    class Recorder(method.search_class):
        """Has `sums` `[2, groups]`, of the gradient and its square, and `count`."""

        def make_variables(self, groups, total):
            super().make_variables(groups, total)
            self.sums = self.variable((2, groups), 0.0, "sums")
            self.count = self.variable((), 0.0, "count")

        def learn(self, step, gate_gradient):
            gradients = super().learn(step, gate_gradient)
            late = ops.cast(self.step >= start, "float32")
            powers = ops.stack([gradients[0], ops.square(gradients[0])])
            self.sums.assign_add(late * powers)
            self.count.assign_add(late)
            return gradients

    method.search_class = Recorder
    return method


def signal(search):
    """Mean and standard deviation over the steps of a `recording`, `[groups]` each."""
    count = float(ops.convert_to_numpy(search.count))
    mean, square = ops.convert_to_numpy(search.sums) / count
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def run(dense, train, budget, method, optimizer, *, steps, last, seed=0, verbose=0):
    """Searches.

    Args:
        dense: Network of logits.
        train: Dataset of batches `(images, labels)`.
        budget: As in `prune_model`.
        method: A `tf_lossprune.methods.Loss`, changed in place.
        optimizer: Of the weights.
        steps: Steps of the search.
        last: How many of them are looked at.
        seed: Of the gates.
        verbose: As in `fit`.

    Returns:
        The method's search as it is at the end, a `recording`.
    """
    pruned = tf_lossprune.prune_model(
        dense,
        budget,
        method=recording(method, steps - last),
        # One more step of search, which `fit` does not take: it ends as a search.
        schedule=tf_lossprune.Schedule(search=1.0, total_steps=steps + 1),
        seed=seed,
    )
    common.compile_classifier(pruned, optimizer, jit_compile=False)
    pruned.fit(train.repeat(), epochs=1, steps_per_epoch=steps, verbose=verbose)
    return pruned.search


def table(search):
    """The Markdown table of all groups, and a line of what they have in common."""
    mean, spread = signal(search)
    ratios = ops.convert_to_numpy(search.ratios())
    shares = np.abs(mean) / np.maximum(spread, 1e-12)
    lines = [
        "| group | channels | of | gradient | spread | gradient / spread |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for group, *numbers in zip(
        search.channel_graph.groups, ratios, mean, spread, shares
    ):
        ratio, *rest = numbers
        texts = [f"{ratio * group.size:.1f}", str(group.size)]
        texts += [f"{number:.3g}" for number in rest]
        lines.append(" | ".join([f"| {group.name}", *texts]) + " |")
    lines += ["", f"Median of gradient / spread: {statistics.median(shares):.2f}"]
    return "\n".join(lines)


def main(argv):
    """Runs one search and prints its table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    from benchmarks import accuracy

    accuracy.install_kernels()
    data = common.load_data(FLAGS.data, FLAGS.limit, FLAGS.data_file)
    train, _, _ = example_data.datasets(
        data, batch_size=FLAGS.batch_size, seed=FLAGS.seed, use_validation=False
    )
    keras.utils.set_random_seed(FLAGS.seed)
    search = run(
        accuracy.load_dense(data, False),
        train,
        parse_budget(FLAGS.budget),
        methods.find_method(parse_method(FLAGS.method)),
        cosine_sgd(FLAGS.train_steps, FLAGS.lr, weight_decay=FLAGS.weight_decay),
        steps=FLAGS.steps,
        last=FLAGS.last,
        seed=FLAGS.seed,
        verbose=FLAGS.verbose,
    )
    print(table(search))


if __name__ == "__main__":
    # Its flags are those of a run, too; a module that is only imported has none.
    from benchmarks import accuracy  # noqa: F401

    define_flags()
    app.run(main)
