"""How a function of a model's variables is run: as one program, in full precision."""

from tf_lossprune.training.backends import current_backend


def as_program(function, model, often=False, channels_first=False):
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
        channels_first: bool, whether layers have channels before the other axes:
            TensorFlow computes that on a CPU with XLA only.

    Returns:
        A function of the same arguments, with the same result and effects.

    Example:

    ```python
    forward = as_program(lambda x: model(x, training=False), model)
    outputs = forward(images)
    ```
    """
    return current_backend().as_program(function, model, often, channels_first)


def xla_pays(channel_graph):
    """Whether XLA makes the training of a network faster, where Keras would use it.

    Args:
        channel_graph: `ChannelGraph`.
    """
    operations = [call.operation for call in channel_graph.graph.calls]
    return current_backend().gains_by_xla(operations)


def jit_compile_for(channel_graph, given):
    """What a network is to be compiled with: `given`, but `"auto"` may be False.

    Args:
        channel_graph: `ChannelGraph`.
        given: bool or `"auto"`.
    """
    return False if given == "auto" and not xla_pays(channel_graph) else given


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
    return current_backend().full_precision()


def double_precision():
    """Lets tensors be float64, which some backends have to be told.

    Returns:
        A context manager.
    """
    return current_backend().double_precision()
