"""Whether a file computes what `predict` computes.

Rounding alone is no error, however much of it a network makes: where a file differs,
the model is run once more with weights and inputs that are moved by about as much as
rounding moves them, and with other seeds. What this changes, a file may change too.
"""

import os
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.runtime import run_named
from tf_lossprune.deploy.samples import Sample, calibration_samples, random_samples
from tf_lossprune.deploy.structure import input_names, input_tensors, output_names
from tf_lossprune.differences import relative_error
from tf_lossprune.types import Path
from tf_lossprune.values import numpy_of

#: Largest difference of a file's output from its model's, relative to the largest
#: value of that output: kernels sum up in another order, and fp16 rounds weights.
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2}
#: How far weights and inputs are moved to see what rounding does, relatively.
_ROUNDING = {"fp32": 1e-6, "fp16": 2.0**-11}
#: Difference of a file that is taken for rounding, in what such a move changes.
_ALLOWED_MOVES = 20.0
_MOVES = 3
#: Root mean square of an int8 file's error, relative to the output's own, from which
#: on there is a warning.
INT8_BOUND = 0.3
_INT8_SAMPLES = 8


def litert_error(model: keras.Model, path: Path, data: Any) -> float:
    """How far a LiteRT file's outputs are from its model's.

    Args:
        model: The `keras.Model` that the file was made of; not changed.
        path: Path of the `.tflite` file.
        data: Inputs, as `representative_data` of `to_litert`; up to 32 samples of
            them are taken.

    Returns:
        float, the root mean square of the difference over the root mean square of
        the model's output; of several outputs, the largest.

    Raises:
        ImportError, TypeError, ValueError: As `run_litert` and `to_litert`.

    Example:
        >>> litert_error(model, "compact_int8.tflite", x_test) < 0.1
        True
    """
    return mean_error(model, os.fspath(path), calibration_samples(model, data, 32))


def mean_error(model: keras.Model, path: Path, samples: list[Sample]) -> float:
    """As `litert_error`, over samples by name."""
    found = [_both(model, path, sample) for sample in samples]
    worst = 0.0
    for name in found[0][0]:
        pairs = [(a[name], b[name]) for a, b in found]
        expected, actual = (
            np.concatenate([x.reshape(-1) for x in side]).astype(float)
            for side in zip(*pairs)
        )
        finite = np.isfinite(expected)
        if not np.isfinite(actual[finite]).all():
            return float("inf")
        expected, actual = expected[finite], actual[finite]
        scale = np.sqrt(np.mean(expected**2)) if finite.any() else 1.0
        error = np.sqrt(np.mean((actual - expected) ** 2)) if finite.any() else 0.0
        worst = max(worst, float(error / max(scale, 1e-12)) if error else 0.0)
    return worst


def check_file(
    model: keras.Model,
    path: Path,
    precision: str,
    samples: list[Sample] | None,
    run: Callable[[Path, Sample], Sample] = run_named,
) -> None:
    """Compares a file with its model.

    Args:
        model: `keras.Model`, computing in float32; not changed.
        path: Path of the file.
        precision: string.
        samples: List of samples by name, or None: random ones.
        run: Function `(path, sample) -> outputs by name` that runs it.

    Raises:
        RuntimeError: If a file in floats computes something else.
    """
    if precision.startswith("int8"):
        _warn_of_int8(model, path, (samples or [])[:_INT8_SAMPLES])
        return
    reason = "its outputs are not finite"
    kind = os.path.splitext(os.fspath(path))[1]
    for sample in samples or (
        random_samples(model, signed=True)[0],
        random_samples(model)[0],
    ):
        try:
            expected = _forward(model, sample)
        except Exception as problem:  # what a network takes is not known
            reason = f"the model cannot compute random inputs ({problem})"
            continue
        name, error = _difference(expected, run(path, sample))
        if not error <= TOLERANCE[precision]:
            moved = _moved_by_rounding(model, sample, expected, precision)
            if not error <= _ALLOWED_MOVES * moved:
                raise RuntimeError(
                    f"Expected a {kind} file that computes what the model's `predict` "
                    "does, so no file was written; the model is unchanged. To find the "
                    "layer, convert `keras.Model(model.inputs, layer.output)` for "
                    "layers of it, and please report it. Received: model "
                    f"{model.name!r}, whose output {name!r} differs by {error:.1e} of "
                    "its largest value"
                )
            reason = f"rounding alone changes its outputs by {moved:.0e}"
        elif all(np.isfinite(x).all() for x in expected.values()):
            return
    warnings.warn(
        f"The {kind} file could not be compared with its model "
        f"{model.name!r}: {reason}. Pass typical inputs as `representative_data`, or "
        "compare them with `run_litert` yourself.",
        stacklevel=3,
    )


def _warn_of_int8(model: keras.Model, path: Path, samples: list[Sample]) -> None:
    error = mean_error(model, path, samples)
    if error > INT8_BOUND:
        warnings.warn(
            f"The int8 file of {model.name!r} is far from its model: its error is "
            f"{error:.0%} of the output (root mean square). Pass more typical "
            "`representative_data`, keep inputs and outputs in floats with "
            "'int8_fp32_io', or train with `quantize_aware`.",
            stacklevel=4,
        )


def _both(model: keras.Model, path: Path, sample: Sample) -> tuple[Sample, Sample]:
    return _forward(model, sample), run_named(path, sample)


def _forward(
    model: keras.Model,
    sample: Sample,
    trained: list | None = None,
    others: list | None = None,
) -> Sample:
    """A model's outputs by name; its variables stay what they are.

    Args:
        model: `keras.Model`.
        sample: Arrays by the names of the inputs.
        trained, others: Values of its trainable and other variables, or None.
    """
    names = keras.tree.flatten(input_names(model))
    x = keras.tree.pack_sequence_as(
        input_tensors(model), [keras.ops.convert_to_tensor(sample[n]) for n in names]
    )
    outputs, _ = model.stateless_call(
        [v.value for v in model.trainable_variables] if trained is None else trained,
        [v.value for v in model.non_trainable_variables] if others is None else others,
        x,
        training=False,
    )
    values = [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]
    return dict(zip(keras.tree.flatten(output_names(model)), values, strict=True))


def _difference(expected: Sample, actual: Sample) -> tuple[str, float]:
    """The output that differs most, and by how much of its largest value."""
    errors = {name: _error(expected[name], actual[name]) for name in expected}
    name = max(errors, key=errors.__getitem__)
    return name, errors[name]


def _error(expected: Any, actual: Any) -> float:
    # A file may have whole numbers of another type.
    a, b = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    return relative_error(a, b, smallest=1e-30)


def _moved_by_rounding(
    model: keras.Model, sample: Sample, expected: Any, precision: str
) -> float:
    """The largest relative change of an output when everything is moved a little."""
    rng, size, worst = np.random.default_rng(0), _ROUNDING[precision], 0.0

    def moved(value: Any, size: float = size) -> np.ndarray:
        value = keras.ops.convert_to_numpy(value)
        if np.issubdtype(value.dtype, np.floating):
            noise = rng.normal(size=value.shape) * size
            return (value * (1.0 + noise)).astype(value.dtype)
        return value

    def variable(v: keras.Variable) -> np.ndarray:
        if v.path.endswith("seed_generator_state"):
            return numpy_of(v) + 1
        return moved(v.value)

    for _ in range(_MOVES):
        outputs = _forward(
            model,
            {name: moved(value, _ROUNDING["fp32"]) for name, value in sample.items()},
            [variable(v) for v in model.trainable_variables],
            [variable(v) for v in model.non_trainable_variables],
        )
        worst = max(worst, _difference(expected, outputs)[1])
    return worst
