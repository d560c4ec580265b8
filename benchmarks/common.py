"""What the benchmarks share: data, dense networks, JSON lines, versions."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform

import keras
import numpy as np
from absl import app, flags

from examples import data as example_data
from examples import models
from examples.optimizers import cosine_sgd

VALIDATION_IMAGES = 5000
#: So many of the images that `--limit` leaves out are evaluated at most.
HELD_OUT_IMAGES = 20000


def load_data(name, limit=None, path=None):
    """Loads a data set, with 5000 validation images in all but the digits.

    Args:
        name: As in `examples.data.load`.
        limit: Largest number of images in each of the splits; None: all.
        path: As in `examples.data.load`.

    Returns:
        A `examples.data.Data`.

    Raises:
        ValueError: If there is no data set of that name.
    """
    data = example_data.load(name, path, VALIDATION_IMAGES)
    if limit is None:
        return data
    arrays = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test")
    return dataclasses.replace(data, **{a: getattr(data, a)[:limit] for a in arrays})


def data_name(name, path=None):
    """What a data set is called in the names of files: a file's images are others."""
    return f"{name}-{pathlib.Path(path).stem}" if path else name


def build_dense(arch, data, width=None):
    """Builds the named network for the images of `data`, with random weights."""
    options = {} if width is None else {"width": width}
    return models.build(
        arch, input_shape=data.input_shape, classes=data.classes, **options
    )


def compile_classifier(model, optimizer=None, jit_compile="auto", **options):
    """Compiles a network of logits for classification, and returns it."""
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
        **options,
    )
    return model


def dense_model(
    path, arch, data, train, epochs, seed, width=None, jit_compile="auto", verbose=2
):
    """Loads the dense network from `path`, or trains it and saves it there.

    Trained by the recipe of the dense checkpoint of the comparison protocol: SGD
    from 0.1 down to 0 (cosine), Nesterov momentum 0.9, weight decay 5e-4.

    Args:
        path: A `.keras` file that is read if it exists and written if not.
        arch: Name of the network.
        data: A `examples.data.Data`; gives the shape of the images.
        train: `tf.data.Dataset` of training batches.
        epochs: Number of epochs; 0 leaves the initial weights.
        seed: Seed of the initial weights.
        width: Width of the first convolution; None: the network's own.
        jit_compile: Passed to `Model.compile`.
        verbose: Passed to `Model.fit`.

    Returns:
        The trained model, not compiled.
    """
    path = pathlib.Path(path)
    if not path.exists():
        keras.utils.set_random_seed(seed)
        model = build_dense(arch, data, width)
        if epochs:
            optimizer = cosine_sgd(epochs * len(train), learning_rate=0.1)
            compile_classifier(model, optimizer, jit_compile)
            model.fit(train, epochs=epochs, verbose=verbose)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written under another name first: a stopped run leaves no half a file, and
        # runs at the same time do not write into each other's.
        part = path.with_name(f"part-{os.getpid()}-{path.name}")
        model.save(part)
        part.replace(path)
    return keras.models.load_model(path, compile=False)


def cached_dense(
    cache, arch, data, epochs, seed=0, validating=True, batch_size=128, **options
):
    """`dense_model` in a file of `cache` that is named after what it is trained on.

    Args:
        cache: Path of a folder.
        arch, data, epochs, seed: As in `dense_model`.
        validating: Whether the validation images are left out.
        batch_size: Images in a batch.
        **options: `path` and `limit` as in `load_data`, the rest as in `dense_model`.

    Returns:
        The trained model, not compiled.
    """
    limit, images = options.pop("limit", None), options.pop("path", None)
    name = (
        f"{data_name(data.name, images)}-{arch}-w{options.get('width') or 0}-e{epochs}"
        f"-s{seed}-{'validation' if validating else 'test'}-n{limit or 0}.keras"
    )
    train, _, _ = example_data.datasets(
        data, batch_size, seed=seed, use_validation=validating
    )
    path = pathlib.Path(cache) / name
    return dense_model(path, arch, data, train, epochs, seed, **options)


def left_out(data, data_file, limit, batch_size):
    """Batches of up to 20,000 training images that `--limit` leaves out.

    Args:
        data: Data set, as in `examples.data.load`.
        data_file: Its file, or None.
        limit: Number of training images that are not left out.
        batch_size: Images in a batch.

    Raises:
        absl.app.UsageError: If none are left out.
    """
    found = load_data(data, path=data_file)
    part = slice(limit or len(found.x_train), None)
    x, y = (a[part][:HELD_OUT_IMAGES] for a in (found.x_train, found.y_train))
    if not len(x):
        raise app.UsageError(
            "`--split=held_out` needs a `--limit` that leaves training images out. "
            f"Received: --limit={limit} of {len(found.x_train)} images"
        )
    return example_data.evaluation(x, y, batch_size)


def cifar10_pixels(images):
    """Normalised images of CIFAR-10 as whole pixels from 0 to 255 again."""
    deviation, mean = example_data.CIFAR10_DEVIATION, example_data.CIFAR10_MEAN
    return np.round(255 * (images * deviation + mean))


def classifier(path, data, data_file=None, pixels=False):
    """A trained classifier, and the images it is trained and judged on.

    Args:
        path: File of the Keras model.
        data: Data set, as in `examples.data.load`.
        data_file: Its file.
        pixels: Whether the model takes pixels of CIFAR-10 from 0 to 255.

    Returns:
        The model, and pairs of images and classes for training and for validation.
    """
    model = keras.models.load_model(path, compile=False)
    found = example_data.load(data, data_file)
    taken = cifar10_pixels if pixels else np.asarray
    train = taken(found.x_train), found.y_train
    return model, train, (taken(found.x_val), found.y_val)


def shuffled(images, count, seed):
    """So many of the images and their classes in a random order, which repeats.

    Args:
        images: Pair `(images, classes)`.
        count: How many.
        seed: Seed of the order.
    """
    x, y = images
    order = np.resize(np.random.default_rng(seed).permutation(len(x)), count)
    return x[order], y[order]


def fine_tune(model, images, steps, rate, seed, logits=False, batch_size=64):
    """Trains a classifier for some steps, with Adam from a rate down to 0 (cosine).

    Args:
        model: `PrunedModel` or `keras.Model`.
        images: Pair `(images, classes)`.
        steps: Number of steps.
        rate: First learning rate.
        seed: Seed of the order of the images.
        logits: Whether the model returns logits.
        batch_size: Images in a batch.
    """
    x, y = shuffled(images, steps * batch_size, seed)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0)


def percent_right(model, images):
    """Percent of the pair `(images, classes)` that a model classifies correctly."""
    x, y = images
    found = model.predict(x, batch_size=500, verbose=0).argmax(-1)
    return 100 * float((found == y).mean())


def accuracy(model, dataset):
    """Share of the images of `dataset` that `model` classifies correctly."""
    # On TensorFlow, one pass is over before XLA has compiled it; JAX has to compile.
    on_tensorflow = keras.backend.backend() == "tensorflow"
    compile_classifier(model, jit_compile=False if on_tensorflow else "auto")
    return float(model.evaluate(dataset, verbose=0, return_dict=True)["accuracy"])


def clone(model):
    """A copy of a functional model of stock layers, with its weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def versions():
    """Versions of Python and of the packages that decide the result, and the backend.

    A backend has the name of its package.
    """
    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "backend": backend}
    for name in ("tf_lossprune", backend, "keras", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = getattr(__import__(name), "__version__", "unknown")
    return found


def read_lines(path):
    """Reads a file of JSON lines; a missing file has none.

    Args:
        path: Path of the file.

    Returns:
        List of the decoded objects. A last line that was cut off is left out.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def define_networks(name):
    """Defines the flags of a script that makes a row for each network.

    Args:
        name: string, that of the script.
    """
    flags.DEFINE_list("names", [], "Networks; empty: all.")
    out = f"benchmarks/results/{name}.jsonl"
    flags.DEFINE_string("out", out, "File of the rows.")
    flags.DEFINE_bool("table", False, "Print the table of --out and end.")


def run_missing(names, function, path):
    """Adds the rows of networks that a file does not hold yet, one JSON line each.

    Args:
        names: Iterable of strings.
        function: Function of a name that returns its row, with `"name"`.
        path: Path of the file.
    """
    done = {row["name"] for row in read_lines(path)}
    for name in names:
        if name not in done:
            row = function(name)
            append_line(path, row)
            print(row, flush=True)
            keras.backend.clear_session()


def markdown(head, rows):
    """A Markdown table.

    Args:
        head: List of strings.
        rows: Iterable of lists of cells.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def append_line(path, row):
    """Appends one JSON line to `path`, whose folder is made where it is missing."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else ""
    # A line that was cut off must not swallow this one.
    lead = "\n" if text and not text.endswith("\n") else ""
    with path.open("a") as file:
        file.write(lead + json.dumps(row) + "\n")


def run_once(path, cell, run):
    """Appends the line of a run to `path`, unless it is there already.

    Args:
        path: Path of the file of JSON lines.
        cell: Dict, everything that decides the result.
        run: Function without arguments that returns the rest of the row.
    """
    if any(row.get("cell") == cell for row in read_lines(path)):
        print(f"Already in {path}: {cell}")
        return
    row = {"cell": cell, **run()}
    append_line(path, row)
    shown = {k: v and round(v, 4) for k, v in row["accuracy"].items()}
    print(f"accuracy {shown}  fraction {row['fraction']}  -> {path}")


def channel_multiple(text):
    """Turns the text of a flag into what `channel_multiple` takes."""
    return text if text == "auto" else int(text)


def write_json(path, content):
    """Writes `content` as JSON to `path`, whose folder is made where it is missing."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
