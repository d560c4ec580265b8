r"""Prunes a network and quantises it: after the training, and in the training.

The compact network of `tf_lossprune.compress` becomes files in several ways:

    fp32, fp16                 as it is
    int8                       quantised after the training, on training images
    trained on, fp32 and int8  the same after the epochs that the next two have more
    QAT int8                   quantisation-aware training
    clustered, fp32 and int8   a few distinct weights in each kernel, which gzip likes

All files are tested on the test images as a device would run them:

    python -m examples.quantization --width=8 --dense_epochs=4 --epochs=2

takes about a quarter of an hour on two cores; `--data=digits` takes a minute or two.
"""

import gzip
import json
import pathlib

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.flags import format_budget, parse_budget
from examples.optimizers import cosine_sgd
from tf_lossprune import deploy
from tf_lossprune.tables import aligned

_DATA = flags.DEFINE_enum(
    "data", "fashion_mnist", ["fashion_mnist", "digits"], "The task."
)
_ARCH = flags.DEFINE_enum("arch", "resnet20", list(models.NAMES), "The network.")
_WIDTH = flags.DEFINE_integer("width", 8, "Channels of the first convolution.", 1)
_BUDGET = flags.DEFINE_string("budget", "macs=0.5", "Such as macs=0.5,params=0.4.")
_DENSE_EPOCHS = flags.DEFINE_integer("dense_epochs", 4, "Epochs of the dense net.", 1)
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Epochs of the compression.", 1)
_MORE_EPOCHS = flags.DEFINE_integer(
    "more_epochs", 1, "Epochs of quantisation-aware training, and of clustering.", 1
)
_CLUSTERS = flags.DEFINE_integer("clusters", 16, "Distinct weights of a kernel.", 2)
_LR = flags.DEFINE_float("lr", 0.005, "First learning rate of those epochs.", 0.0)
_CLUSTER_LR = flags.DEFINE_float(
    "cluster_lr", 0.0005, "The same for clustering, which diverges sooner.", 0.0
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images in a batch.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and draws.")
_LIMIT = flags.DEFINE_integer("limit", None, "Training images, for quick tries.", 1)
_OUT = flags.DEFINE_string("out", "out/quantization", "Folder of the results.")
_VERBOSE = flags.DEFINE_integer("verbose", 2, "As in `Model.fit`.", 0, 2)


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train_dense(data, train):
    """Trains the dense network and returns it."""
    model = models.build(
        _ARCH.value,
        input_shape=data.input_shape,
        classes=data.classes,
        width=_WIDTH.value,
    )
    steps = _DENSE_EPOCHS.value * len(train)
    model.compile(cosine_sgd(steps, learning_rate=0.1), _loss(), metrics=["accuracy"])
    model.fit(train, epochs=_DENSE_EPOCHS.value, verbose=_VERBOSE.value)
    return model


def prune(model, train, validation):
    """The compact network within the budget, fine-tuned."""
    compact, _ = tf_lossprune.compress(
        model,
        parse_budget(_BUDGET.value),
        train,
        validation,
        epochs=_EPOCHS.value,
        optimizer=cosine_sgd(_EPOCHS.value * len(train)),
        loss=_loss(),
        metrics=["accuracy"],
        seed=_SEED.value,
        verbose=_VERBOSE.value,
    )
    return compact


def train_on(model, train, library, rate):
    """Trains a model for some more epochs, the same way in both Keras.

    Args:
        model: Model of `library`; trained in place.
        train: Dataset of training batches.
        library: Module `keras` or `tf_keras`.
        rate: First learning rate.

    Returns:
        The same model.
    """
    steps = _MORE_EPOCHS.value * len(train)
    schedule = library.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        library.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        library.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train, epochs=_MORE_EPOCHS.value, verbose=_VERBOSE.value)
    return model


def write_files(compact, train, images, folder):
    """Writes all files.

    Args:
        compact: The pruned `keras.Model`.
        train: Dataset of training batches.
        images: Training images for the ranges of int8.
        folder: `pathlib.Path`.

    Returns:
        Dict from the file's title to its path.
    """
    import tf_keras  # Only what trains in Keras 2 needs it; `keras` stays Keras 3.

    files = {}

    def convert(title, model, precision):
        path = folder / f"{title.replace(',', '').replace(' ', '_')}.tflite"
        files[title] = tf_lossprune.to_litert(model, path, precision, images)

    convert("fp32", compact, "fp32")
    convert("fp16", compact, "fp16")
    convert("int8", compact, "int8")
    longer = keras.models.clone_model(compact)
    longer.set_weights(compact.get_weights())
    train_on(longer, train, keras, _LR.value)
    convert("trained on, fp32", longer, "fp32")
    convert("trained on, int8", longer, "int8")

    learner = deploy.quantize_aware(compact, images)
    learner = train_on(learner, train, tf_keras, _LR.value)
    path = folder / "qat_int8.tflite"
    files["QAT int8"] = deploy.quantized_to_litert(learner, path)

    learner = deploy.cluster_weights(compact, _CLUSTERS.value)
    learner = train_on(learner, train, tf_keras, _CLUSTER_LR.value)
    clustered = deploy.strip_clustering(learner)
    convert("clustered, fp32", clustered, "fp32")
    convert("clustered, int8", clustered, "int8")
    return files


def measure(files, x, y):
    """Accuracy, sizes and time of every file: a dict of dicts."""
    rows = {}
    times = deploy.times_in_turns(list(files.values()))
    for (title, path), time in zip(files.items(), times):
        content = pathlib.Path(path).read_bytes()
        classes = deploy.run_litert(path, x).argmax(-1)
        rows[title] = {
            "accuracy": float(np.mean(classes == y)),
            "bytes": len(content),
            "gzip_bytes": len(gzip.compress(content, mtime=0)),
            "latency_ms": time,
        }
    return rows


def table(rows):
    """The figures as text; accuracies next to that of fp32."""
    first = rows["fp32"]["accuracy"]
    lines = [("file", "accuracy", "points", "bytes", "gzip bytes", "median ms")]
    for title, row in rows.items():
        lines.append(
            (
                title,
                f"{100 * row['accuracy']:.2f} %",
                f"{100 * (row['accuracy'] - first):+.2f}",
                f"{row['bytes']:,}",
                f"{row['gzip_bytes']:,}",
                f"{row['latency_ms']:.3f}",
            )
        )
    return aligned(lines)


def main(argv):
    """Runs the example."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(_SEED.value)
    data = getattr(example_data, f"load_{_DATA.value}")()
    train, validation, _ = example_data.datasets(
        data, _BATCH_SIZE.value, _SEED.value, limit=_LIMIT.value
    )
    dense = train_dense(data, train)
    compact = prune(dense, train, validation)
    compact.save(out / "compact.keras")
    files = write_files(compact, train, data.x_train[:256], out)

    # The test images are read here for the first time, after every choice.
    test = data.x_test, data.y_test
    before_after = tf_lossprune.compare(dense, compact, test, verbose=False)
    rows = measure(files, *test)
    record = {"comparison": before_after.to_dict(), "files": rows}
    record["flags"] = {
        flag.name: flag.value for flag in flags.FLAGS.get_key_flags_for_module(__name__)
    }
    (out / "report.json").write_text(json.dumps(record, indent=2) + "\n")
    budget = format_budget(parse_budget(_BUDGET.value))
    print(f"\n{_ARCH.value}, {data.name} ({data.source}), {budget}, fp32 files:\n")
    print(before_after)
    print("\nThe compact network's files:\n")
    print(table(rows))
    print(f"\nWritten to {out}")


if __name__ == "__main__":
    app.run(main)
