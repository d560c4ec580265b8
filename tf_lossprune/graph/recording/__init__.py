"""What a call that no rule knows computes, read off the operations that it records."""

import keras

from tf_lossprune.graph.recording.base import Recording

__all__ = ["Recording", "make_recorder"]


def make_recorder():
    """The recorder of the current backend.

    Returns:
        An object with `record(function, given, read)`, or None where there is none.
        `function` takes tensors like those of `given`, a list of `(shape, dtype)`,
        and returns a flat list of tensors; `read` says which of these anybody
        reads. The result is a `Recording` and the shapes of those tensors.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from tf_lossprune.graph.recording.tensorflow import TensorFlowRecorder

        return TensorFlowRecorder()
    if backend == "jax":
        from tf_lossprune.graph.recording.jax import JaxRecorder

        return JaxRecorder()
    return None
