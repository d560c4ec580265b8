"""The functional network whose consumers read the gates."""

import keras
from keras import tree

from tf_lossprune.gates import GatedCall, GatedLayer
from tf_lossprune.graph import replay


def gated_network(name, channels):
    """Builds the functional network with the gates as a second input.

    Args:
        name: string.
        channels: `ChannelGraph`; its layers are used, not copied.

    Returns:
        A `keras.Model` of `[inputs, gates]`, gates `[num_units + 1]` in float32.
    """
    taken = {t.name for t in tree.flatten(channels.graph.inputs)}
    taken |= {layer.name for layer in channels.graph.layers}
    gates = keras.Input(
        batch_shape=(channels.num_units + 1,),
        dtype="float32",
        name=_free_name("channel_gates_input", taken),
    )
    inputs = tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name),
        channels.graph.inputs,
    )
    wrappers = {}

    def wrapper(call):
        """What runs a call with gates; None: nothing has to."""
        layer, mixed = call.operation, channels.gated_call(call)
        found = channels.gated(layer) if call.is_layer else {}
        if mixed is None and not found:
            return None
        # Calls of one layer have its kernel in common, but not what they mix.
        key = id(layer) if mixed is None else id(call)
        if key not in wrappers:
            name = _free_name(f"gated_{layer.name}", taken)
            wrappers[key] = (
                GatedLayer(layer, found, name=name)
                if mixed is None
                else GatedCall(layer, mixed[1], mixed[0], name=name)
            )
        return wrappers[key]

    def call_fn(call, args, kwargs):
        gated = wrapper(call)
        if gated is None:
            return call.operation(*args, **kwargs)
        return gated(args[0], gates, *args[1:], **packed(kwargs))

    outputs = replay(channels.graph, inputs, call_fn)
    network = keras.Model([inputs, gates], outputs, name=name)
    network.autocast = False  # gates and their gradient stay in float32
    return network


def packed(kwargs):
    """Keyword arguments as gated layers take them: tensors in a dict of their own."""
    tensors = {
        name: value
        for name, value in kwargs.items()
        if name != "mask"
        and any(isinstance(x, keras.KerasTensor) for x in tree.flatten(value))
    }
    others = {name: v for name, v in kwargs.items() if name not in tensors}
    return {**others, "tensors": tensors} if tensors else others


def arranged(inputs, structure):
    """Inputs that were given by name, in the structure of the network's inputs.

    Args:
        inputs: what a model is called with.
        structure: structure of traced `Tensor`s.

    Raises:
        ValueError: if a name is missing.
    """
    if not isinstance(inputs, dict) or isinstance(structure, dict):
        return inputs
    names = [tensor.name for tensor in tree.flatten(structure)]
    if not set(names) <= inputs.keys():
        raise ValueError(
            f"Expected inputs with the names {names}. Received: {[*inputs]}"
        )
    return tree.pack_sequence_as(structure, [inputs[name] for name in names])


def _free_name(name, taken):
    """The name, with underscores behind it while it is taken; takes it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
