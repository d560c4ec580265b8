"""Quantisation by ai-edge-quantizer, beside that of the converter."""

import contextlib
import io
import os
import shutil
import tempfile
from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.check import check_file
from tf_lossprune.deploy.litert import checked_path, to_litert
from tf_lossprune.deploy.samples import Sample, calibration_samples, random_samples
from tf_lossprune.deploy.streams import captured_stderr
from tf_lossprune.types import Path

#: What is quantised how, and the function of the package's recipes.
SCHEMES = {
    "dynamic_int8": "dynamic_wi8_afp32",
    "static_int8": "static_wi8_ai8",
    "int4_weights": "weight_only_wi4_afp32",
}


def quantize_litert(
    model: keras.Model,
    path: Path,
    scheme: str = "dynamic_int8",
    representative_data: Any = None,
) -> str:
    """Writes a LiteRT file that ai-edge-quantizer has quantised.

    The package works on the float32 file that `to_litert` writes. Inputs and outputs
    stay float32. As after `to_litert`, an error of more than 30 % of the output (root
    mean square) is a warning, and `deploy.litert_error` gives the figure.

    Args:
        model: A built functional or Sequential `keras.Model`; not changed.
        path: Path of the file to write, ending in `.tflite`.
        scheme: `"dynamic_int8"` (int8 weights; activations are quantised while the file
            runs), `"static_int8"` (int8 weights and activations) or `"int4_weights"`
            (int4 weights; computed in floats).
        representative_data: As in `to_litert`, needed for `"static_int8"`; for the
            others for the comparison only.

    Returns:
        The path, a string.

    Raises:
        ImportError: If ai-edge-quantizer is missing: `pip install
            'tf_lossprune[quantizer]'`.
        TypeError, ValueError, RuntimeError: As `to_litert`; ValueError for an unknown
            scheme, or without data where they are needed.

    Example:
        >>> quantize_litert(compact, "compact_dynamic.tflite")
        'compact_dynamic.tflite'
    """
    path = checked_path(path)
    if scheme not in SCHEMES:
        raise ValueError(
            f"Expected scheme as one of {list(SCHEMES)}. Received: {scheme!r}"
        )
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise ImportError(
            "quantize_litert needs ai-edge-quantizer: "
            "pip install 'tf_lossprune[quantizer]'"
        ) from error
    if scheme == "static_int8" and representative_data is None:
        raise ValueError(
            "'static_int8' needs `representative_data`: an array of typical inputs, or "
            "a dataset. Received: None"
        )
    with tempfile.TemporaryDirectory() as folder:
        plain = to_litert(
            model,
            os.path.join(folder, "float.tflite"),
            representative_data=representative_data,
        )
        if representative_data is None:
            samples = random_samples(model, 1)
        else:
            samples = calibration_samples(model, representative_data)
        with captured_stderr(), contextlib.redirect_stdout(io.StringIO()):
            work = quantizer.Quantizer(plain, getattr(recipe, SCHEMES[scheme])())
            ranges = _ranges(work, samples) if work.need_calibration else None
            found = work.quantize(ranges, enable_progress_report=False)
        written = os.path.join(folder, "quantized.tflite")
        with open(written, "wb") as file:
            file.write(found.quantized_model)
        check_file(model, written, "int8", samples)
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        shutil.copyfile(written, path)
    return path


def _ranges(work: Any, samples: list[Sample]) -> dict[str, Any]:
    """Ranges of all tensors over all samples.

    The package would average them, and from the first sample on; small values of the
    others would saturate.
    """
    found: dict[str, Any] = {}
    for sample in samples:
        seen = work.calibrate({"serving_default": [sample]}, num_threads=1)
        for name, values in seen.items():
            known = found.setdefault(name, dict(values))
            for key, merge in (("min", np.minimum), ("max", np.maximum)):
                if key in values:
                    known[key] = merge(known[key], values[key])
    return found
