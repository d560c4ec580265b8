"""`lossprune compare` where one of the two, or both, are .tflite files already."""

import os
import tempfile

import numpy as np

from tf_lossprune import deploy
from tf_lossprune.cli.checks import LITERT_SUFFIX
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.resources import known_costs


def compare_files(values, arguments):
    """Figures of two files; a Keras model is converted to `--precision` first.

    Args:
        values: parsed `FlagValues` of `compare`.
        arguments: list of two paths.

    Returns:
        List of two dicts.
    """
    models = [
        None if path.endswith(LITERT_SUFFIX) else load_model(path) for path in arguments
    ]
    model = next((m for m in models if m is not None), None)
    source = read_source(values.data, values, model) if values.data else None
    samples = None if source is None else source.train
    with tempfile.TemporaryDirectory() as folder:
        files = [
            path if m is None else convert(m, folder, values.precision, samples)
            for path, m in zip(arguments, models)
        ]
        return [
            {
                **(known_costs(m, ("macs", "params")) if m is not None else {}),
                **({} if source is None else accuracy(path, source, values.batch_size)),
                **found,
            }
            for path, m, found in zip(
                files, models, figures_of_files(files, values.threads)
            )
        ]


def convert(model, folder, precision, samples):
    """Converts a model to a file whose size and pace are asked.

    Args:
        model: `keras.Model`.
        folder: path of a folder.
        precision: string, as in `to_litert`.
        samples: typical inputs or None; None: random ones for int8.

    Returns:
        The file's path, a string.
    """
    handle, path = tempfile.mkstemp(LITERT_SUFFIX, dir=folder)
    os.close(handle)
    if not precision.startswith("int8"):
        deploy.to_litert(model, path, precision)
    elif samples is None:
        deploy.convert_to_measure(model, path, precision)
    else:
        deploy.to_litert(model, path, precision, samples)
    return path


def figures_of_files(files, threads):
    """Size, arena and time of `.tflite` files, timed in turns.

    Args:
        files: list of paths.
        threads: int.

    Returns:
        A list of dicts.
    """
    return [
        {
            "tflite_bytes": os.path.getsize(path),
            "arena_bytes": deploy.arena_bytes(path),
            "latency_ms": time,
        }
        for path, time in zip(files, deploy.times_in_turns(files, threads))
    ]


def accuracy(path, source, batch_size):
    """Share of the samples that a file's largest output classifies right.

    Args:
        path: path of a `.tflite` file.
        source: `Source`, whose validation data count, or the training data.
        batch_size: int.

    Returns:
        A dict with `"accuracy"`; empty for what is no vector of class scores.
    """
    held_out = source.held_out(batch_size)
    right = count = 0
    for batch in [held_out.data] if held_out.in_arrays else held_out.batches():
        x, labels = batch[0], np.asarray(batch[1])
        outputs = deploy.run_litert(path, x)
        if getattr(outputs, "ndim", 0) != 2 or outputs.shape[1] < 2:
            print("The accuracy is left out: it is that of one vector of class scores.")
            return {}
        if labels.shape == outputs.shape:
            labels = labels.argmax(-1)
        right += int(np.sum(outputs.argmax(-1) == labels.reshape(-1)))
        count += len(outputs)
    return {"accuracy": right / count}
