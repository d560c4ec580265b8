"""Files for ONNX Runtime and OpenVINO, which Keras exports and we check."""

import importlib.util
import logging
import os
import shutil
import tempfile
from typing import Any

import keras

from tf_lossprune.deploy.check import check_file
from tf_lossprune.deploy.litert import check_convertible, checked_path
from tf_lossprune.deploy.modes import in_float32
from tf_lossprune.deploy.samples import Sample, calibration_samples
from tf_lossprune.deploy.sessions import open_session
from tf_lossprune.deploy.streams import captured_stderr
from tf_lossprune.deploy.structure import input_names, input_tensors, output_names
from tf_lossprune.types import Path

#: Packages that Keras' export takes besides the backend, by the backend.
_NEEDS = {
    ("onnx", "tensorflow"): ("onnxruntime", "tf2onnx"),
    ("onnx", "jax"): ("onnxruntime", "jax2onnx"),
    ("openvino", "tensorflow"): ("openvino",),
    ("openvino", "jax"): ("openvino",),
}


def to_onnx(model: keras.Model, path: Path, data: Any = None) -> str:
    """Exports a Keras model to an ONNX file for one sample at a time.

    It is `model.export(path, format="onnx")` with a batch of 1, after which the file is
    run in ONNX Runtime and compared with the model, as `to_litert` does it.

    Args:
        model: A built functional or Sequential `keras.Model`; not changed.
        path: Path of the file to write, ending in `.onnx`.
        data: Typical inputs for the comparison, as `representative_data` of
            `to_litert`; None takes random ones.

    Returns:
        The path, a string.

    Raises:
        ImportError: If a package is missing: `pip install 'tf_lossprune[onnx]'`.
        TypeError, ValueError: As `to_litert`.
        RuntimeError: If the file computes something else than the model; nothing is
            written then.

    Example:
        >>> path = to_onnx(strip_pruning(pruned), "compact.onnx")
    """
    return _export(model, checked_path(path, ".onnx"), "onnx", data)


def to_openvino(model: keras.Model, path: Path, data: Any = None) -> str:
    """Exports a Keras model to OpenVINO's format for one sample at a time.

    Args:
        model: A built functional or Sequential `keras.Model`; not changed.
        path: Path of the file to write, ending in `.xml`; weights go beside it, into a
            file that ends in `.bin`.
        data: As in `to_onnx`.

    Returns:
        The path, a string.

    Raises:
        ImportError: If OpenVINO is missing: `pip install 'tf_lossprune[openvino]'`.
        TypeError, ValueError, RuntimeError: As `to_onnx`.

    Example:
        >>> path = to_openvino(strip_pruning(pruned), "compact.xml")
    """
    return _export(model, checked_path(path, ".xml"), "openvino", data)


def _export(model: keras.Model, path: str, form: str, data: Any) -> str:
    check_convertible(model)
    for package in _NEEDS.get((form, keras.backend.backend()), ()):
        if not _installed(package):
            raise ImportError(
                f"Exporting to {form} takes {package}: "
                f"pip install 'tf_lossprune[{form}]'"
            )
    samples = None if data is None else calibration_samples(model, data, 1)
    signature = keras.tree.map_structure(
        lambda tensor, name: keras.InputSpec(
            dtype=tensor.dtype, shape=(1, *tensor.shape[1:]), name=name
        ),
        input_tensors(model),
        input_names(model),
    )
    given = keras.tree.flatten(input_names(model))
    made = keras.tree.flatten(output_names(model))

    def run(written: Path, sample: Sample) -> Sample:
        session = open_session(written, form)
        by_place = dict(zip(session.inputs, [sample[name] for name in given]))
        names = {name for name in session.inputs if name in sample}
        arrays = sample if len(names) == len(given) else by_place
        return dict(zip(made, session.run(arrays).values(), strict=True))

    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        written = os.path.join(beside, os.path.basename(path))
        with in_float32(model), captured_stderr(), _quiet_log("tf2onnx"):
            model.export(
                written, format=form, verbose=False, input_signature=[signature]
            )
            check_file(model, written, "fp32", samples, run)
        for name in os.listdir(beside):
            shutil.move(os.path.join(beside, name), os.path.join(folder, name))
    return path


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # it is None in `sys.modules`
        return False


class _quiet_log:
    """Keeps what a package logs below errors to itself."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._log.level
        self._log.setLevel(logging.ERROR)

    def __exit__(self, *details: Any) -> None:
        self._log.setLevel(self._level)
