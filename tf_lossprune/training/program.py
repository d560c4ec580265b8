"""How a function of a model's variables is run: as one program, in full precision."""

import contextlib

import keras


def as_program(function, model):
    """Compiles a function that runs a model, where op by op would be slow.

    On JAX, every operation that is called by itself is compiled for every new
    shape, which takes far longer than to compile all of them at once. TensorFlow has
    its kernels ready.

    Args:
        function: function of tensors, which may read and assign the variables of
            `model`. It is traced once for each shape of its arguments, so that what
            else it reads has to stay as it is.
        model: built `keras.Model` or layer.

    Returns:
        A function of the same arguments, with the same result and effects.

    Example:

    ```python
    forward = as_program(lambda x: model(x, training=False), model)
    outputs = forward(images)
    ```
    """
    if keras.backend.backend() != "jax":
        return function
    from tf_lossprune.training.jax import compiled

    return compiled(function, model.variables)


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
