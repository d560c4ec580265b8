"""Records calls as JAX expressions."""

import jax
import keras
from jax.extend import core

from tf_lossprune.graph.recording.base import (
    Recording,
    Step,
    product,
    summarize,
)

#: Primitives with work that is nowhere in the expression, and what they are.
HIDDEN = {
    "pure_callback": "Python code (jax.pure_callback)",
    "io_callback": "Python code (io_callback)",
    "pallas_call": "a kernel of its own (Pallas)",
    "ffi_call": "a foreign function",
    "call_tf": "a TensorFlow function",
    "call_exported": "an exported function",
}
#: What a runtime computes with the operation before it, or not at all.
IN_PLACE = {
    "reshape", "squeeze", "expand_dims", "copy", "convert_element_type", "add", "sub",
    "mul", "div", "max", "stop_gradient", "broadcast_in_dim",
}  # fmt: skip
#: Functions inside which products only interpolate between neighbours.
INTERPOLATION = ("_resize", "resize")


class JaxRecorder:
    """Traces each call; nothing is computed."""

    def record(self, function, given, read):
        """See `make_recorder`."""
        specs = [jax.ShapeDtypeStruct(tuple(s), jax.numpy.dtype(d)) for s, d in given]

        def stateless(*tensors):
            with keras.StatelessScope():
                return list(function(*tensors))

        expression = jax.make_jaxpr(stateless)(*specs).jaxpr
        inputs = [id(v) for v in expression.invars]
        weights = [id(v) for v in expression.constvars]
        steps = _steps(expression, {*inputs, *weights})
        wanted = [id(v) for v, is_read in zip(expression.outvars, read) if is_read]
        shapes = [tuple(v.aval.shape) for v in expression.outvars]
        return summarize(steps, inputs, wanted, weights), shapes


def _shape(variable):
    return tuple(getattr(variable.aval, "shape", ()))


def _elements(variable):
    return product(_shape(variable))


def _steps(expression, given):
    """The `Step`s of an expression, knowing which inputs a sample changes."""
    moving, found = set(given), []
    for equation in expression.eqns:
        inputs = [id(v) for v in equation.invars]
        outputs = {id(v): _elements(v) for v in equation.outvars}
        work = Recording()
        if not moving.isdisjoint(inputs):
            moving.update(outputs)
            work = _work(equation, [key in moving for key in inputs])
        in_place = equation.primitive.name in IN_PLACE or _is_relu(equation)
        found.append(Step(inputs, outputs, work, in_place))
    return found


def _is_relu(equation):
    return equation.params.get("name") in ("relu", "relu6")


def _work(equation, moving):
    name = equation.primitive.name
    if name in HIDDEN:
        return Recording(unknown=f"it runs {HIDDEN[name]}")
    if name in MACS:
        return Recording(MACS[name](equation))
    if name == "while":
        return _loop(equation, moving)
    bodies = [b for value in equation.params.values() for b in _expressions(value)]
    if not bodies:
        return Recording()
    if name == "scan":  # what one turn changes, the next one reads
        first = equation.params["num_consts"]
        moving[first : first + equation.params["num_carry"]] = [
            True for _ in range(equation.params["num_carry"])
        ]
    found = [_body(body, moving) for body in bodies]
    turns = equation.params["length"] if name == "scan" else 1
    macs = turns * max(work.macs for work in found)
    if equation.params.get("name") in INTERPOLATION:
        macs = 0.0
    return Recording(
        macs,
        max(work.elements for work in found),
        next((work.unknown for work in found if work.unknown), None),
    )


def _expressions(value):
    """The expressions in a parameter of a primitive."""
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, core.Jaxpr):
        return [value]
    if isinstance(value, (tuple, list)):
        return [body for entry in value for body in _expressions(entry)]
    return []


def _body(body, moving):
    # The condition of a branch is no input of its function.
    flags = moving[len(moving) - len(body.invars) :]
    given = [id(v) for v, flag in zip(body.invars, flags) if flag]
    return summarize(_steps(body, given), given, [id(v) for v in body.outvars])


def _loop(equation, moving):
    skipped = equation.params["cond_nconsts"]
    body = equation.params["body_jaxpr"].jaxpr
    given = [id(v) for v, flag in zip(body.invars, moving[skipped:]) if flag]
    given += [id(v) for v in body.invars[equation.params["body_nconsts"] :]]
    work = summarize(_steps(body, given), given, [id(v) for v in body.outvars])
    if not work.macs and not work.unknown:
        return work
    turns = _turns(equation)
    if turns is None:
        return Recording(unknown="it runs a loop of unknown length")
    return Recording(turns * work.macs, work.elements, work.unknown)


def _turns(equation):
    """How often a loop runs at most: from a counter's start to its limit."""
    params = equation.params
    condition, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    first = params["cond_nconsts"] + params["body_nconsts"]
    start = dict(
        zip(map(id, condition.invars), equation.invars[: params["cond_nconsts"]])
    )
    carried = condition.invars[params["cond_nconsts"] :]
    start.update(zip(map(id, carried), equation.invars[first:]))
    places = {id(v): k for k, v in enumerate(carried)}

    def value(variable):
        variable = start.get(id(variable), variable)
        return int(variable.val) if isinstance(variable, core.Literal) else None

    found = []
    for less in condition.eqns:
        if less.primitive.name not in ("lt", "le"):
            continue
        counter, limit = less.invars
        place = places.get(id(counter))
        if place is None or not _counts(body, place, params["body_nconsts"]):
            continue
        begin, end = value(counter), value(limit)
        if begin is not None and end is not None:
            found.append(max(end - begin + (less.primitive.name == "le"), 0))
    return min(found, default=None)


def _counts(body, place, consts):
    """Whether a loop adds 1 to one of its variables at each turn."""
    mine = body.invars[consts + place]
    for equation in body.eqns:
        if equation.outvars[0] is body.outvars[place]:
            ones = [v for v in equation.invars if isinstance(v, core.Literal)]
            return (
                equation.primitive.name == "add"
                and any(v is mine for v in equation.invars)
                and any(v.val == 1 for v in ones)
            )
    return False


# Multiply-accumulates of one primitive.


def _product(equation):
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = _shape(equation.invars[0])
    return _elements(equation.outvars[0]) * product(shape[d] for d in contracted)


def _convolution(equation):
    """Each output position reads the kernel, or each input position spreads it."""
    params = equation.params
    kernel = _shape(equation.invars[1])
    out, given = params["dimension_numbers"].rhs_spec[:2]
    window = product(kernel)
    gathered = _elements(equation.outvars[0]) * window / kernel[out]
    groups = params["feature_group_count"]
    spread = _elements(equation.invars[0]) * window / (kernel[given] * groups)
    if any(d > 1 for d in params["lhs_dilation"]):
        return spread
    if any(s > 1 for s in params["window_strides"]):
        return gathered
    return min(gathered, spread)


MACS = {
    "dot_general": _product,
    "conv_general_dilated": _convolution,
}
