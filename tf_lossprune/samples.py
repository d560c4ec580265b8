"""Inputs to compare networks on: of the right type, and within what layers accept."""

import keras
import numpy as np
from keras import ops, tree

#: What unknown sizes are tried as, in this order.
SIZES = (32, 64, 16, 8, 128, 224, 4)
#: Of two samples, what is meant for two channels may be taken for them.
BATCH = 3
#: Arguments by which layers say how many whole numbers they know.
_LIMITS = ("input_dim", "num_tokens")


def sample(graph, *, positive=False, size=32, seed=0):
    """Draws one batch for a model.

    Args:
        graph: `Graph` of the model.
        positive: bool, whether floats are drawn from (0.1, 1) instead of from the
            normal distribution, for logarithms, roots and the like.
        size: int, in place of unknown sizes.
        seed: int.

    Returns:
        A structure like `graph.inputs` of arrays; strings are tensors.
    """
    rng = np.random.default_rng(seed)
    reached = _limits(graph)

    def draw(tensor):
        shape = (tensor.shape[0] or BATCH, *(d or size for d in tensor.shape[1:]))
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
