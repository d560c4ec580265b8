"""How a function of a model's variables is run: as one program, in full precision."""

import contextlib

import keras


def as_program(function, model, often=False):
    """Compiles a function that runs a model, where op by op would be slow.

    On JAX, every operation that is called by itself is compiled for every new
    shape, which takes far longer than to compile all of them at once. TensorFlow has
    its kernels ready; there a trace pays from about ten calls on.

    Args:
        function: function of tensors, which may read and assign the variables of
            `model`. It is traced once for each shape of its arguments, so that what
            else it reads has to stay as it is.
        model: built `keras.Model` or layer.
        often: bool, whether it will be called many times.

    Returns:
        A function of the same arguments, with the same result and effects.

    Example:

    ```python
    forward = as_program(lambda x: model(x, training=False), model)
    outputs = forward(images)
    ```
    """
    if keras.backend.backend() == "jax":
        from tf_lossprune.training.jax import compiled

        return compiled(function, model.variables)
    if often and keras.backend.backend() == "tensorflow":
        from tf_lossprune.training.tensorflow import traced

        return traced(function)
    return function


def full_precision():
    """Keeps all digits of float32 in products and convolutions.

    GPUs drop some of them by default (TensorFloat-32): two networks that compute the
    same then differ by about 1e-3.

    Returns:
        A context manager.

    Example:

    ```python
    with full_precision():
        outputs = model(images, training=False)
    ```
    """
    backend = keras.backend.backend()
    if backend == "jax":
        from tf_lossprune.training.jax import full_precision as on_backend
    elif backend == "tensorflow":
        from tf_lossprune.training.tensorflow import full_precision as on_backend
    else:
        on_backend = contextlib.nullcontext
    return on_backend()
