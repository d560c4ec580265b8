"""The table that people ask for first: a network before and after the compression."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import tree

from tf_lossprune.config import check_count
from tf_lossprune.deploy.benchmark import arena_bytes, times_in_turns
from tf_lossprune.deploy.check import litert_error
from tf_lossprune.deploy.litert import convert_to_measure, to_litert
from tf_lossprune.deploy.runtime import run_litert
from tf_lossprune.precision import check_precision
from tf_lossprune.resources import cost
from tf_lossprune.tables import comparison_table
from tf_lossprune.types import Data, Path

#: Samples on which a file's error is measured.
_CHECKED = 32


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a network costs before and after; `print` shows it as a table.

    Attributes:
        dense, compact: Dicts with `macs`, `params`, `tflite_bytes`, `arena_bytes`,
            `latency_ms` (milliseconds of one sample) and, if there were labelled
            data, `accuracy` (0 to 1) and `file_error` (the file's outputs against
            its own model's, see `litert_error`).
        precision: Precision of the files.
        threads: Number of threads that they ran on.
    """

    dense: dict
    compact: dict
    precision: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return comparison_table(self.dense, self.compact)


def compare(
    dense: keras.Model,
    compact: keras.Model,
    data: Data = None,
    *,
    precision: str = "fp32",
    representative_data: Any = None,
    threads: int = 1,
    rounds: int = 7,
    accuracy: Callable[[Any, Any], float] | None = None,
    folder: Path | None = None,
    verbose: bool = True,
) -> Comparison:
    """Converts two networks to LiteRT, measures both files and prints a table.

    What is measured are the files, as a device would run them: the accuracy too, so
    that the effect of int8 shows. The times are taken in turns, so that both meet
    the same disturbances. MACs and parameters are those of the models.

    Args:
        dense: Built functional or Sequential `keras.Model`; not changed.
        compact: The same after the compression, with equal inputs.
        data: Labelled test data for the accuracy, or None: a pair `(x, y)` of arrays
            or of structures of them, or a dataset of batches `(x, y)`.
        precision: string, as in `to_litert`.
        representative_data: As in `to_litert`, for both files. May be left out for
            int8 if there is no `data`: sizes and times do not depend on it.
        threads: int >= 1, threads of the runtime for the times.
        rounds: int >= 1, turns; each file's median over them counts.
        accuracy: Function `(labels, outputs) -> float` in [0, 1] over all samples,
            both with the structure that the model's outputs have; None: the share of
            samples whose largest output is that of the label (an integer, or
            one-hot).
        folder: Folder in which `dense.tflite` and `compact.tflite` are kept; None:
            they are deleted.
        verbose: Whether to print the table.

    Returns:
        A `Comparison`.

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If an argument is of the wrong kind.
        ValueError: As `to_litert`; if `data` have no labels, or there are data for
            an int8 file but no `representative_data`; for several outputs, or outputs
            of a single value, without `accuracy`.
        RuntimeError: As `to_litert`.

    Example:

    ```python
    compact, _ = tf_lossprune.compress(model, {"macs": 0.5}, train, epochs=5)
    result = tf_lossprune.compare(model, compact, (x_test, y_test))
    json.dumps(result.to_dict())
    ```
    """
    check_precision(precision)
    check_count("threads", threads, 1)
    check_count("rounds", rounds, 1)
    if accuracy is not None and not callable(accuracy):
        raise TypeError(f"Expected accuracy as a function. Received: {accuracy!r}")
    labelled = None if data is None else _labelled(data)
    if precision.startswith("int8") and data is not None:
        if representative_data is None:
            raise ValueError(
                "The accuracy of an int8 file depends on the ranges of its "
                "activations: pass `representative_data`, such as training images. "
                "Received: None"
            )
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        paths, figures = [], []
        for name, model in (("dense", dense), ("compact", compact)):
            path = os.path.join(folder, f"{name}.tflite")
            if precision.startswith("int8") and representative_data is None:
                convert_to_measure(model, path, precision)
            else:
                typical = representative_data
                if typical is None and labelled is not None:
                    typical = _first(labelled[0], 1)
                to_litert(model, path, precision, typical)
            paths.append(path)
            figures.append(_figures(model, path))
            if labelled is not None:
                x, y = labelled
                outputs = run_litert(path, x)
                figures[-1]["accuracy"] = float((accuracy or _accuracy)(y, outputs))
                error = litert_error(model, path, _first(x, _CHECKED))
                figures[-1]["file_error"] = error
        for entry, time in zip(figures, times_in_turns(paths, threads, rounds)):
            entry["latency_ms"] = time
    result = Comparison(figures[0], figures[1], precision, int(threads))
    if verbose:
        print(result)
    return result


def _figures(model: keras.Model, path: Path) -> dict[str, Any]:
    return {
        **cost(model),
        "tflite_bytes": os.path.getsize(path),
        "arena_bytes": arena_bytes(path),
    }


def _labelled(data: Data) -> tuple:
    """Arrays `(x, y)` of labelled data."""
    batches: Iterable
    if isinstance(data, (tuple, list)):
        batches = [data]
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        batches = (data[i] for i in range(len(data)))  # a `PyDataset`
    elif hasattr(data, "__iter__"):
        batches = data
    else:
        raise TypeError(
            "Expected data as a pair `(x, y)` of arrays or a dataset of such batches. "
            f"Received: {data!r}"
        )
    xs, ys = [], []
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(
                "Expected data with inputs and labels, `(x, y)`. "
                f"Received: {type(batch).__name__} without labels"
            )
        xs.append(_arrays(batch[0]))
        ys.append(_arrays(batch[1]))
    if not sum(len(tree.flatten(x)[0]) for x in xs):
        raise ValueError("Expected data with at least one sample. Received: none")
    return tuple(
        tree.map_structure(lambda *parts: np.concatenate(parts), *found)
        for found in (xs, ys)
    )


def _arrays(structure: Any) -> Any:
    """A structure of arrays; a list of nothing but numbers is one array."""
    if isinstance(structure, (list, tuple)):
        if all(np.ndim(x) == 0 for x in tree.flatten(structure)):
            return np.asarray(structure)
    return tree.map_structure(np.asarray, structure)


def _first(structure: Any, count: int) -> Any:
    return tree.map_structure(lambda array: array[:count], structure)


def _accuracy(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Share of the samples (or of their places) whose class is right."""
    if not hasattr(outputs, "shape"):
        raise ValueError(
            "Several outputs need `accuracy`, a function (labels, outputs) -> float. "
            f"Received: {len(tree.flatten(outputs))} outputs"
        )
    classes = outputs.shape[-1]
    if classes < 2:
        raise ValueError(
            "Outputs of a single value need `accuracy`, a function (labels, outputs) "
            f"-> float. Received: outputs of shape {outputs.shape}"
        )
    if labels.shape == outputs.shape:
        labels = labels.argmax(-1)
    return np.mean(outputs.argmax(-1) == labels.reshape(outputs.shape[:-1]))
