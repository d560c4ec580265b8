"""How a model's inputs and outputs are named in its file, and put together again.

A file knows its inputs and outputs by name only. Where a model takes or gives more
than one tensor, their structure is written into the file as metadata.
"""

import json
import re
from typing import Any

import keras

#: Entry of a file's metadata: the structures, with names in the place of tensors.
METADATA = "keras_structure"


def input_tensors(model: keras.Model) -> Any:
    """The structure of a model's inputs, as `call` takes them."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def input_names(model: keras.Model) -> Any:
    """The same structure with the names that the inputs have in a file.

    Those are the names of the Keras tensors, as in Keras' own export; characters that
    a signature cannot hold become underscores.
    """
    taken: set = set()

    def name_of(tensor: Any) -> str:
        name = base = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", tensor.name) or "input"
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        return name

    return keras.tree.map_structure(name_of, input_tensors(model))


def output_names(model: keras.Model) -> Any:
    """The structure of a model's outputs with the names that they have in a file."""
    single = isinstance(model, keras.Sequential)
    structure = model.outputs[0] if single else model.output
    if isinstance(structure, dict) and not any(map(_has_parts, structure.values())):
        return {key: key for key in structure}
    count = len(keras.tree.flatten(structure))
    names = [f"output_{index}" for index in range(count)]
    return keras.tree.pack_sequence_as(structure, names)


def named_outputs(outputs: Any) -> Any:
    """Outputs in a form that a signature can have: nested ones become a list."""
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    nested = isinstance(outputs, (dict, list, tuple)) and any(map(_has_parts, parts))
    return keras.tree.flatten(outputs) if nested else outputs


def with_structure(content: bytes, model: keras.Model) -> bytes:
    """Writes the structures of a model's inputs and outputs into its file.

    Args:
        content: The file.
        model: What it was made of.

    Returns:
        The file; itself if there is one input and one output.
    """
    names = {"inputs": input_names(model), "outputs": output_names(model)}
    if isinstance(names["inputs"], str) and isinstance(names["outputs"], str):
        return content
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    file = flatbuffer_utils.convert_bytearray_to_object(content)
    buffer = schema.BufferT()
    buffer.data = list(json.dumps(names).encode())
    file.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA.encode(), len(file.buffers) - 1
    file.metadata = [*(file.metadata or ()), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(file))


def read_structure(content: bytes) -> dict | None:
    """What `with_structure` wrote into a file; None if there is nothing."""
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAs(content, 0)
    for index in range(file.MetadataLength()):
        entry = file.Metadata(index)
        if entry.Name() == METADATA.encode():
            data = file.Buffers(entry.Buffer()).DataAsNumpy()
            return json.loads(data.tobytes())
    return None


def by_name(names: Any, values: Any) -> dict | None:
    """Values by the names that stand in their places.

    Args:
        names: Structure of names.
        values: The same structure of arrays; or, for several names, a dict from the
            names themselves to arrays.

    Returns:
        A dict, or None if the structures differ.
    """
    if isinstance(names, str):
        return None if _has_parts(values) else {names: values}
    if isinstance(values, dict):
        flat = keras.tree.flatten(names)
        if set(values) == set(flat) and not any(map(_has_parts, values.values())):
            return dict(values)
    if isinstance(names, dict):
        if not isinstance(values, dict) or set(names) != set(values):
            return None
        pairs = [(name, values[key]) for key, name in names.items()]
    else:
        if not isinstance(values, (list, tuple)) or len(names) != len(values):
            return None
        pairs = list(zip(names, values))
    found: dict = {}
    for name, value in pairs:
        part = by_name(name, value)
        if part is None:
            return None
        found.update(part)
    return found


def _has_parts(value: Any) -> bool:
    """Whether a value is a structure; a list of numbers is an array."""
    if isinstance(value, (list, tuple)):
        return any(_has_parts(v) or hasattr(v, "shape") for v in value)
    return isinstance(value, dict)
