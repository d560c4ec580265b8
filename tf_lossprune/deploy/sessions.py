"""Networks in files, opened in one of several runtimes."""

import functools
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.runtime import (
    batch_size,
    checked_file,
    input_output_details,
    named_arrays,
    open_interpreter,
    plain_structure,
    quantized,
    real,
    run_litert,
)
from tf_lossprune.deploy.streams import captured_stderr
from tf_lossprune.deploy.structure import read_structure
from tf_lossprune.runtimes import runtime_of
from tf_lossprune.types import Path


class Session:
    """A network that takes arrays by name and gives arrays by name.

    Attributes:
        inputs: dict, name -> `(shape, dtype)`, in the file's order; sizes that the
            file leaves open are -1.
        outputs: list of strings, in the file's order.
    """

    inputs: dict[str, tuple[tuple[int, ...], Any]]
    outputs: list[str]

    def feed(self, arrays: dict[str, Any]) -> Callable[[], Any]:
        """Gives the network its inputs.

        Args:
            arrays: dict, name -> array.

        Returns:
            A function without arguments that computes once.
        """
        raise NotImplementedError

    def read(self) -> dict[str, np.ndarray]:
        """The outputs of the last computation, by name."""
        raise NotImplementedError

    def run(self, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        """Outputs by name, from inputs by name."""
        self.feed(arrays)()
        return self.read()

    def _typed(self, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        """The inputs as the file's types, each in one piece of memory."""
        return {
            name: np.ascontiguousarray(arrays[name], dtype)
            for name, (_, dtype) in self.inputs.items()
        }


def open_session(path: Path, runtime: str = "auto", threads: int = 1) -> Session:
    """Opens a file.

    Args:
        path: path of the file.
        runtime: string, one of `RUNTIMES`, or `"auto"`: the file's own (LiteRT's
            interpreter, ONNX Runtime, OpenVINO).
        threads: int, threads of the runtime.

    Returns:
        A `Session`.

    Raises:
        ImportError: if the runtime is not installed.
        TypeError: if `path` is not a path.
        ValueError: if there is no such file, for an unknown runtime, or one that does
            not read such files.
    """
    path = checked_file(path)
    return _SESSIONS[runtime_of(path, runtime)](path, threads)


def run_file(path: Path, x: Any, runtime: str = "auto", threads: int = 1) -> Any:
    """Predicts with a file, one call per batch of the file's size.

    Args:
        path: Path of a `.tflite`, `.onnx` or OpenVINO `.xml` file.
        x: As in `run_litert`. Files for ONNX Runtime and OpenVINO take an array for
            each input, in the file's order or by the names there.
        runtime: As in `benchmark_file`.
        threads: int, threads of the runtime.

    Returns:
        As `run_litert`; of an `.onnx` or `.xml` file with several outputs, a list in
        the file's order.

    Raises:
        ImportError, TypeError, ValueError: As `benchmark_file`; ValueError if `x` does
            not fit the file's inputs.

    Example:
        >>> logits = run_file("compact.onnx", x_test)
    """
    path = checked_file(path)
    runtime = runtime_of(path, runtime)
    if runtime == "litert":
        return run_litert(path, x)
    session = open_session(path, runtime, threads)
    names, structure = list(session.inputs), None
    if isinstance(session, LitertSession):
        with open(path, "rb") as file:
            structure = read_structure(file.read()) or plain_structure(
                session.inputs, dict.fromkeys(session.outputs)
            )
    else:
        outputs: Any = session.outputs
        structure = {
            "inputs": names[0] if len(names) == 1 else names,
            "outputs": outputs[0] if len(outputs) == 1 else outputs,
        }
    arrays = named_arrays(structure, x)
    found = _in_batches(session, {name: np.asarray(arrays[name]) for name in names})
    return keras.tree.map_structure(lambda name: found[name], structure["outputs"])


def _in_batches(session: Session, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    sources = {
        n: {"shape_signature": shape} for n, (shape, _) in session.inputs.items()
    }
    batch, count = batch_size(sources, arrays)
    parts = [
        session.run({n: a[start : start + batch] for n, a in arrays.items()})
        for start in range(0, count, batch)
    ]
    return {n: np.concatenate([part[n] for part in parts]) for n in session.outputs}


class LitertSession(Session):
    """LiteRT's interpreter."""

    def __init__(self, path: str, threads: int) -> None:
        self._interpreter = open_interpreter(path, threads)
        self._sources, self._targets = input_output_details(self._interpreter)
        self.inputs = {
            name: (tuple(map(int, d["shape"])), d["dtype"])
            for name, d in self._sources.items()
        }
        self.outputs = list(self._targets)

    def feed(self, arrays: dict[str, Any]) -> Callable[[], Any]:
        for name, source in self._sources.items():
            value = quantized(np.asarray(arrays[name]), source)
            self._interpreter.set_tensor(source["index"], value)
        return self._interpreter.invoke

    def read(self) -> dict[str, np.ndarray]:
        return {
            name: real(self._interpreter.get_tensor(target["index"]), target)
            for name, target in self._targets.items()
        }


class CompiledSession(LitertSession):
    """LiteRT's `CompiledModel`; the interpreter tells scales and shapes."""

    def __init__(self, path: str, threads: int) -> None:
        super().__init__(path, threads)
        try:
            from ai_edge_litert import compiled_model as litert
        except ImportError as error:
            raise ImportError(
                "The runtime 'compiled' needs a newer LiteRT: pip install "
                f"'ai-edge-litert>=2.0' ({error})"
            ) from error
        options = litert.Options(
            hardware_accelerators=litert.HardwareAccelerator.CPU,
            cpu_options=litert.CpuOptions(num_threads=int(threads)),
        )
        with captured_stderr():  # it says what accelerators it looks for
            self._model = litert.CompiledModel.from_file(
                path, environment=_environment(), options=options
            )
            self._given = self._model.create_input_buffers(0)
            self._made = self._model.create_output_buffers(0)
            names = next(iter(self._model.get_signature_list().values()))
            self._in_names, self._out_names = names["inputs"], names["outputs"]
            self.feed({name: np.zeros(s, t) for name, (s, t) in self.inputs.items()})
        del self._interpreter

    def feed(self, arrays: dict[str, Any]) -> Callable[[], Any]:
        for name, buffer in zip(self._in_names, self._given):
            value = quantized(np.asarray(arrays[name]), self._sources[name])
            buffer.write(np.ascontiguousarray(value).reshape(-1))
        return lambda: self._model.run_by_index(0, self._given, self._made)

    def read(self) -> dict[str, np.ndarray]:
        found = {}
        for name, buffer in zip(self._out_names, self._made):
            target = self._targets[name]
            shape, dtype = tuple(target["shape"]), target["dtype"]
            value = np.asarray(buffer.read(int(np.prod(shape, dtype=int)), dtype))
            found[name] = real(value.reshape(shape), target)
        return {name: found[name] for name in self.outputs}


@functools.cache
def _environment() -> Any:
    """LiteRT's environment, one for the process: each says what it finds."""
    import ai_edge_litert
    from ai_edge_litert.environment import Environment, EnvironmentOptions

    folder = os.path.dirname(os.path.abspath(ai_edge_litert.__file__))
    return Environment.create(options=EnvironmentOptions(runtime_path=folder))


class OnnxSession(Session):
    """ONNX Runtime on the processor."""

    def __init__(self, path: str, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                "The runtime 'onnx' needs onnxruntime: pip install 'tf_lossprune[onnx]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(threads)
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {
            found.name: (
                tuple(s if isinstance(s, int) else -1 for s in found.shape),
                _onnx_type(found.type),
            )
            for found in self._session.get_inputs()
        }
        self.outputs = [found.name for found in self._session.get_outputs()]
        self._result: list = []

    def feed(self, arrays: dict[str, Any]) -> Callable[[], Any]:
        fed = self._typed(arrays)

        def compute() -> None:
            self._result = self._session.run(None, fed)

        return compute

    def read(self) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self._result, strict=True))


class OpenvinoSession(Session):
    """OpenVINO on the processor, in float32."""

    def __init__(self, path: str, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError(
                "The runtime 'openvino' needs OpenVINO: "
                "pip install 'tf_lossprune[openvino]'"
            ) from error
        settings = {
            "INFERENCE_NUM_THREADS": int(threads),
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(path, "CPU", settings)
        self._request = compiled.create_infer_request()
        self.inputs = {}
        for port in compiled.inputs:
            shape = tuple(
                d.get_length() if d.is_static else -1 for d in port.partial_shape
            )
            self.inputs[port.any_name] = shape, port.element_type.to_dtype()
        self._ports = list(compiled.outputs)
        self.outputs = [
            port.any_name if port.names else f"output_{index}"
            for index, port in enumerate(self._ports)
        ]
        self._tensor = openvino.Tensor

    def feed(self, arrays: dict[str, Any]) -> Callable[[], Any]:
        for name, value in self._typed(arrays).items():
            self._request.set_tensor(name, self._tensor(value))
        return self._request.infer

    def read(self) -> dict[str, np.ndarray]:
        values = [np.array(self._request.get_tensor(port).data) for port in self._ports]
        return dict(zip(self.outputs, values, strict=True))


def _onnx_type(text: str) -> Any:
    """The dtype of a type such as `tensor(float)`."""
    name = text[len("tensor(") : -1]
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


_SESSIONS: dict[str, Callable[[str, int], Session]] = {
    "litert": LitertSession,
    "compiled": CompiledSession,
    "onnx": OnnxSession,
    "openvino": OpenvinoSession,
}
