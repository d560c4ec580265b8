"""`lossprune compare` where one of the two, or both, are .tflite files already."""

import os
import tempfile

import numpy as np

from tf_lossprune import deploy
from tf_lossprune.cli.checks import LITERT_SUFFIX
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.resources import known_costs
from tf_lossprune.training.feed import HeldOut


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
    with tempfile.TemporaryDirectory() as folder:
        files = [
            path if m is None else _converted(m, folder, index, values, source)
            for index, (path, m) in enumerate(zip(arguments, models))
        ]
        times = deploy.times_in_turns(files, values.threads)
        return [
            {
                **(known_costs(m, ("macs", "params")) if m is not None else {}),
                **_accuracy(path, source, values.batch_size),
                "tflite_bytes": os.path.getsize(path),
                "arena_bytes": deploy.arena_bytes(path),
                "latency_ms": time,
            }
            for path, m, time in zip(files, models, times)
        ]


def _converted(model, folder, index, values, source):
    path = os.path.join(folder, f"{index}{LITERT_SUFFIX}")
    if values.precision.startswith("int8") and source is None:
        deploy.convert_to_measure(model, path, values.precision)
    else:
        samples = source.train if values.precision.startswith("int8") else None
        deploy.to_litert(model, path, values.precision, samples)
    return path


def _accuracy(path, source, batch_size):
    """Share of the samples that a file's largest output classifies right."""
    if source is None:
        return {}
    data = source.train if source.validation is None else source.validation
    held_out = HeldOut(data, batch_size, source.settings.get("validation_steps"))
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
