"""Whether two networks compute the same, and which layer is the first that does not.

Two programs of one network differ by rounding, and some networks enlarge that without
bound. So a difference is looked at again in float64, where what remains is a fault.
Random layers draw from the same states on both sides; where they have none, only what
does not depend on them is compared. Networks for large inputs are compared on smaller
ones: where they agree there, that is enough, and whatever else happens is looked at
anew on inputs of their own size.
"""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.differences import as_array, relative_error
from tf_lossprune.gates import ungated
from tf_lossprune.graph import Call, Graph, replay, trace
from tf_lossprune.samples import SIZES, has_unknown_sizes, sample, smaller_size
from tf_lossprune.surgery import copy_graph
from tf_lossprune.training.program import as_program, double_precision, full_precision

#: Largest relative difference by the type that networks compute in.
TOLERANCE = {"float32": 1e-3, "float64": 1e-6}
LOW_PRECISION_TOLERANCE = 5e-2
#: How far inputs are moved to see how much a network enlarges small differences.
NOISE = {"float32": 1e-6, "float64": 1e-14}


@dataclasses.dataclass
class Network:
    """One side of a comparison.

    Attributes:
        model: functional or Sequential `keras.Model`.
        inputs: function from a sample to what the model is called with.
        name: function from an operation of the model to the name by which the other
            side knows it.
        part: function `(name, number, values)` from an operation's name, the number
            of its call and its outputs to what the other side has of them; or None.
        graph: its `Graph`, or None until it is needed.
        call: function `(model, inputs)` that runs the model in inference.
    """

    model: keras.Model
    inputs: Callable = lambda x: x
    name: Callable = lambda operation: operation.name
    part: Callable = lambda name, number, values: values
    graph: Graph | None = None
    call: Callable = lambda model, x: model(x, training=False)

    def traced(self) -> Graph:
        if self.graph is None:
            self.graph = trace(self.model)
        return self.graph


@dataclasses.dataclass
class Difference:
    """What two networks differ in.

    Attributes:
        error: float, relative to the largest value that was expected.
        layer: string or None, the first layer whose output differs.
        kind: string or None, that layer's class.
    """

    error: float
    layer: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        where = f", from {self.layer!r} ({self.kind}) on" if self.layer else ""
        return f"relative difference {self.error:.1e}{where}"


def find_difference(
    graph: Graph, expected: Network, actual: Network
) -> Difference | None:
    """Compares two networks in inference on random input.

    Args:
        graph: `Graph` whose inputs both networks take.
        expected, actual: `Network`s.

    Returns:
        A `Difference`, or None if they compute the same, as far as that can be told
        (a warning says what was not compared).
    """
    tolerance = tolerance_of(graph)
    with full_precision():
        if _agree_in_small(graph, expected, actual, tolerance):
            return None
        for positive in (False, True):
            x, wanted = _first_run(graph, expected, positive)
            if x is None:
                return None
            error = relative_error(wanted, _outputs(actual, x))
            if error > tolerance:
                return _examine(expected, actual, x, wanted, error, tolerance)
            if all(np.isfinite(y).all() for y in _floats(wanted)):
                return None
    if not any(np.isfinite(y).any() for y in _floats(wanted)):
        _warn(f"all outputs of {graph.name!r} are NaN or infinite on random input")
    return None


def tolerance_of(graph: Graph) -> float:
    """The difference that rounding may make in a network."""
    types = {layer.compute_dtype for layer in graph.layers}
    if types <= set(TOLERANCE):
        return max((TOLERANCE[t] for t in types), default=TOLERANCE["float32"])
    return LOW_PRECISION_TOLERANCE


def _agree_in_small(
    graph: Graph, expected: Network, actual: Network, tolerance: float
) -> bool:
    """Whether two networks compute the same on inputs smaller than their own."""
    size = smaller_size(graph)
    if size is None:
        return False
    x = sample(graph, largest=size)
    try:
        with internals.any_input_sizes(expected.model, actual.model):
            wanted = _outputs(expected, x)
            found = _run(actual, functools.partial(_call_each, actual), x)
    except Exception:  # what a layer of fixed sizes does not take
        return False
    if not all(y.size and np.isfinite(y).all() for y in _floats(wanted)):
        return False
    return relative_error(wanted, found) <= tolerance


def _call_each(network: Network, given: Any) -> Any:
    """A network's outputs, call by call; raises where a value has no entries left."""

    def call_fn(call: Call, args: Any, kwargs: Any) -> Any:
        outputs = _called(call, args, kwargs)
        if any(0 in y.shape for y in tree.flatten(outputs)):
            raise ValueError(
                "Expected values of at least one entry from inputs of this size. "
                f"Received: none from {call.operation.name!r}"
            )
        return outputs

    return replay(network.traced(), given, call_fn)


def _called(call: Call, args: Any, kwargs: Any) -> Any:
    """The outputs of a call in inference."""
    if internals.takes_training(call.operation):
        kwargs = {**kwargs, "training": False}
    return call.operation(*args, **kwargs)


def _first_run(graph: Graph, network: Network, positive: bool) -> tuple[Any, Any]:
    """A sample on which a network runs, and its outputs; or None twice."""
    sizes = SIZES if has_unknown_sizes(graph) else SIZES[:1]
    for size in sizes:
        x = sample(graph, positive=positive, size=size)
        try:
            return x, _outputs(network, x)
        except Exception as error:  # what a layer of the user's does not take
            failed = error
    _warn(f"{graph.name!r} does not run on random input ({failed})")
    return None, None


def _examine(
    expected: Network,
    actual: Network,
    x: Any,
    wanted: Any,
    error: float,
    tolerance: float,
) -> Difference | None:
    """What to make of outputs that differ by more than the tolerance."""
    if relative_error(wanted, _outputs(expected, x)) > tolerance / 10:
        return _compare_what_is_fixed(expected, actual, x, tolerance)
    difference, decisive = _in_float64(expected, actual, x)
    if decisive:
        return difference
    moved = relative_error(wanted, _outputs(expected, _moved(x)))
    if 10 * moved >= error:
        _warn(
            f"the outputs of {expected.model.name!r} move by {moved:.0e} for a change "
            f"of its input by {NOISE['float32']:.0e}, and by {error:.0e} here"
        )
        return None
    return difference or _first(expected, actual, x, tolerance, error)


def _in_float64(
    expected: Network, actual: Network, x: Any
) -> tuple[Difference | None, bool]:
    """The `Difference` in float64 or None, and whether that decides."""
    if expected.traced().opened:
        return None, False  # the twin would compute what was noted, right or wrong
    try:
        with double_precision():
            twins = [_twin(expected), _twin(actual)]
            wanted, found = (_outputs(twin, x) for twin in twins)
            error = relative_error(wanted, found)
            if error <= TOLERANCE["float64"]:
                return None, True
            moved = _outputs(twins[0], _moved(x, "float64"))
            if 10 * relative_error(wanted, moved) >= error:
                return None, False
            difference = _first(twins[0], twins[1], x, TOLERANCE["float64"], error)
            return difference, all(_is_clean(twin.traced()) for twin in twins)
    except Exception:  # a layer that insists on another type
        return None, False


def _twin(network: Network) -> Network:
    graph = network.traced()
    model, names = copy_graph(graph, "float64")
    theirs = {
        names[id(call.operation)]: network.name(call.operation) for call in graph.calls
    }

    def inputs(x: Any) -> Any:
        return tree.map_structure(_as_float64, network.inputs(x))

    return Network(model, inputs, lambda o: theirs[o.name], network.part)


def _is_clean(graph: Graph) -> bool:
    """Whether all of a network computes in float64, as far as its types say."""
    quantized = any(getattr(la, "quantization_mode", None) for la in graph.layers)
    types = {t.dtype for call in graph.calls for t in call.outputs}
    return not quantized and not any(
        keras.backend.is_float_dtype(t) and t != "float64" for t in types
    )


def _compare_what_is_fixed(
    expected: Network, actual: Network, x: Any, tolerance: float
) -> Difference | None:
    """Compares the layers that do not depend on chance."""
    one, two = _recorded(expected, x), _recorded(expected, x)
    fixed = {
        key: outputs
        for key, outputs in one.items()
        if relative_error(outputs, two[key]) <= tolerance / 10
    }
    found = _first_of(fixed, _recorded(actual, x), expected, tolerance)
    if found is None:
        name = next(key[0] for key in one if key not in fixed)
        _warn(f"{name!r} is random without a `SeedGenerator`: it and what follows it")
    return found


def _first(
    expected: Network, actual: Network, x: Any, tolerance: float, error: float
) -> Difference:
    """The `Difference` with the first layer in which two networks differ."""
    wanted, found = _recorded(expected, x), _recorded(actual, x)
    return _first_of(wanted, found, expected, tolerance) or Difference(error)


def _first_of(
    wanted: dict, found: dict, expected: Network, tolerance: float
) -> Difference | None:
    kinds = {
        expected.name(call.operation): type(ungated(call.operation)).__name__
        for call in expected.traced().calls
    }
    for (name, number), values in wanted.items():
        part = expected.part(name, number, values)
        if part is None or (name, number) not in found:
            continue
        error = relative_error(part, found[name, number])
        if error > tolerance:
            return Difference(error, name, kinds[name])
    return None


# Running a network.


def _outputs(network: Network, x: Any) -> Any:
    return _run(network, lambda given: network.call(network.model, given), x)


def _recorded(network: Network, x: Any) -> dict[tuple[str, int], list[np.ndarray]]:
    """Dict, (name, number of the call) -> the outputs of each operation."""
    graph, keys = network.traced(), []

    def function(given: Any) -> list:
        found, counts = [], {}
        keys.clear()

        def call_fn(call: Call, args: Any, kwargs: Any) -> Any:
            outputs = _called(call, args, kwargs)
            name = network.name(call.operation)
            counts[name] = counts.get(name, -1) + 1
            keys.append((name, counts[name]))
            found.append(tree.flatten(outputs))
            return outputs

        replay(graph, given, call_fn)
        return found

    values = _run(network, function, x)
    return {key: [as_array(y) for y in ys] for key, ys in zip(keys, values)}


def _run(network: Network, function: Callable, x: Any) -> Any:
    model = network.model
    given = tree.map_structure(ops.convert_to_tensor, network.inputs(x))
    channels_first = any(
        getattr(layer, "data_format", None) == "channels_first"
        for layer in internals.all_layers(model)
    )
    with _same_random_states(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what layers say to samples is of no use
        return as_program(function, model, channels_first=channels_first)(given)


@contextlib.contextmanager
def _same_random_states(model: keras.Model) -> Iterator[None]:
    """Sets the states that layers draw from; puts them back afterwards."""
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    before = [ops.convert_to_numpy(v) for v in states]
    for variable in states:
        variable.assign(np.array([1, 0]).astype(variable.dtype))
    try:
        yield
    finally:
        for variable, value in zip(states, before):
            variable.assign(value)


def _floats(struct: Any) -> list[np.ndarray]:
    arrays = [as_array(y) for y in tree.flatten(struct)]
    return [a for a in arrays if a.dtype == np.float64]


def _as_float64(x: Any) -> Any:
    dtype = keras.backend.standardize_dtype(x.dtype)
    return ops.cast(x, "float64") if keras.backend.is_float_dtype(dtype) else x


def _moved(x: Any, dtype: str = "float32") -> Any:
    rng = np.random.default_rng(1)

    def move(v: Any) -> Any:
        if not isinstance(v, np.ndarray) or v.dtype.kind != "f":
            return v
        factor = 1 + NOISE[dtype] * rng.choice([-1, 1], v.shape)
        return (v.astype(dtype) * factor).astype(dtype)

    return tree.map_structure(move, x)


def _warn(reason: str) -> None:
    warnings.warn(
        f"Whether the networks compute the same could not be fully checked: {reason}. "
        "Evaluate both on your own data.",
        stacklevel=5,
    )
