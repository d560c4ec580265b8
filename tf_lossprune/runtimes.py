"""What runs a network's file, known before any of it is imported."""

import os

#: Runtimes, and the endings of the files that they read.
RUNTIMES = {
    "litert": (".tflite",),
    "compiled": (".tflite",),
    "onnx": (".onnx",),
    "openvino": (".xml", ".onnx"),
}
_BY_ENDING = {".tflite": "litert", ".onnx": "onnx", ".xml": "openvino"}


def runtime_of(path: str, runtime: str = "auto") -> str:
    """The runtime that opens a file.

    Args:
        path: string, the file's path.
        runtime: string, one of `RUNTIMES`, or `"auto"`: the one that its ending stands
            for.

    Raises:
        ValueError: for an unknown runtime, or one that does not read such files.
    """
    ending = os.path.splitext(path)[1]
    if runtime == "auto":
        runtime = _BY_ENDING.get(ending, "litert")
    if runtime not in RUNTIMES:
        raise ValueError(
            f"Expected runtime as 'auto' or one of {list(RUNTIMES)}. "
            f"Received: {runtime!r}"
        )
    if ending not in RUNTIMES[runtime]:
        endings = " or ".join(RUNTIMES[runtime])
        raise ValueError(
            f"Expected a file for the runtime {runtime!r}, ending in {endings}. "
            f"Received: {path!r}"
        )
    return runtime
