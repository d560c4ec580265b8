"""Runs a function of a model's variables as one program."""

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
