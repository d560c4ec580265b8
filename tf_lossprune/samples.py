"""Inputs to compare networks on: of the right type, and within what layers accept."""

import math

import keras
import numpy as np
from keras import ops, tree

#: What unknown sizes are tried as, in this order.
SIZES = (32, 64, 16, 8, 128, 224, 4)
#: Of two samples, what is meant for two channels may be taken for them.
BATCH = 3
#: Arguments by which layers say how many whole numbers they know.
_LIMITS = ("input_dim", "num_tokens")
#: What large sizes may come down to, and the least room for what networks compute.
SMALLER, LEAST_ROOM = (128, 96, 64, 48), 2**26


def sample(graph, *, positive=False, size=32, seed=0, largest=None):
    """Draws one batch for a model.

    Args:
        graph: `Graph` of the model.
        positive: bool, whether floats are drawn from (0.1, 1) instead of from the
            normal distribution, for logarithms, roots and the like.
        size: int, in place of unknown sizes.
        seed: int.
        largest: int, in place of larger sizes; None: they are as they are.

    Returns:
        A structure like `graph.inputs` of arrays; strings are tensors.
    """
    rng = np.random.default_rng(seed)
    reached = _limits(graph)

    def draw(tensor):
        sizes = [d or size for d in tensor.shape[1:]]
        sizes = [min(d, largest or d) for d in sizes]
        shape = (tensor.shape[0] or BATCH, *sizes)
        if tensor.dtype == "string":
            words = rng.choice(_words(graph), shape)
            return ops.convert_to_tensor(words.astype(object))
        return random_values(
            tensor.dtype, shape, rng, positive, reached.get(id(tensor))
        )

    return tree.map_structure(draw, graph.inputs)


def random_values(
    dtype: str,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    positive: bool = False,
    limit: int | None = None,
) -> np.ndarray:
    """Draws values that layers accept.

    Args:
        dtype: string, of the input; floats of less than float32 get that.
        shape: tuple of ints.
        rng: NumPy's generator.
        positive: as in `sample`.
        limit: int, above all whole numbers; None: 256 for bytes, else 2.
    """
    if limit is not None or "int" in dtype or dtype == "bool":
        most = limit or (256 if dtype == "uint8" else 2)
        return rng.integers(0, most, shape).astype(dtype)
    values = rng.uniform(0.1, 1, shape) if positive else rng.normal(size=shape)
    return values.astype("float64" if dtype == "float64" else "float32")


def has_unknown_sizes(graph):
    """Whether a model's inputs have sizes, but for the batch's, that are not fixed."""
    return any(None in t.shape[1:] for t in tree.flatten(graph.inputs))


def smaller_size(graph):
    """What large sizes of inputs should come down to where a network is tried out.

    A network for large images computes many times what its weights take. Nothing has to
    be as large as that to tell whether two networks are the same.

    Args:
        graph: `Graph`.

    Returns:
        An int, or None if the network may be tried as it is: what it computes then
        takes little, or at most half of what its weights do.
    """
    weights = {id(v): v for layer in graph.layers for v in layer.weights}
    room = max(2 * sum(_count(v.shape) for v in weights.values()), LEAST_ROOM)
    computed = sum(_count(t.shape) for call in graph.calls for t in call.outputs)
    taken = 4 * BATCH * computed
    inputs = [t.shape[1:] for t in tree.flatten(graph.inputs)]
    if taken <= room or any(None in shape for shape in inputs):
        return None
    most = max(inputs, key=_count)
    for size in SMALLER:
        if taken * _count(min(d, size) for d in most) <= room * _count(most):
            return size
    return SMALLER[-1]


def _count(shape):
    return math.prod(d or 1 for d in shape)


def _limits(graph):
    """Dict, id of an input -> how many whole numbers the layers it reaches know."""
    sources = {id(t): {id(t)} for t in tree.flatten(graph.inputs)}
    limits = {}
    for call in graph.calls:
        reached = set().union(*(sources.get(id(t), ()) for t in call.inputs))
        known = [getattr(call.operation, name, None) for name in _LIMITS]
        known = [n for n in known if isinstance(n, int)]
        if isinstance(call.operation, keras.layers.Embedding) or known:
            for source in reached:
                limits[source] = min([*known, limits.get(source, 2**31 - 1)])
        elif not getattr(call.operation, "weights", None):
            for tensor in call.outputs:
                sources[id(tensor)] = reached
    return limits


def _words(graph):
    """Words that the model's layers know, and one that they do not."""
    words = []
    for layer in graph.layers:
        if hasattr(layer, "get_vocabulary"):
            words += [str(word) for word in layer.get_vocabulary()[:1000]]
    return [*words, "unknown word"]
