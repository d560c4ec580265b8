"""Names of layers: where the attributes of the layer around them lead to them."""

import re

import keras

from tf_lossprune import keras_internals as internals


def without_number(name):
    """A name without the number that Keras put behind it."""
    return re.sub(r"_\d+$", "", name)


def attribute_paths(layer, prefix):
    """Dict, id of a layer inside another one -> where its attributes lead to it."""
    found, waiting = {id(layer): prefix}, [(layer, prefix)]
    left = internals.NOT_COPIED | internals.OF_THE_GRAPH | internals.LISTS_OF_LAYERS
    while waiting:
        owner, start = waiting.pop(0)
        for name, value in vars(owner).items():
            if name in left or name.startswith(internals.OF_TENSORFLOW):
                continue
            for path, inner in _layers_in(value, name.lstrip("_")):
                if id(inner) not in found:
                    found[id(inner)] = f"{start}{path}"
                    waiting.append((inner, f"{start}{path}."))
    return found


def _layers_in(value, path, depth=0):
    if isinstance(value, keras.layers.Layer):
        yield path, value
    elif isinstance(value, dict) and depth < 4:
        for key, item in value.items():
            yield from _layers_in(item, f"{path}.{key}".replace("/", "."), depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 4:
        for number, item in enumerate(value):
            yield from _layers_in(item, f"{path}.{number}", depth + 1)
