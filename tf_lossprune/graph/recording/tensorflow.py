"""Records calls as TensorFlow operations."""

import math

import keras
import tensorflow as tf

from tf_lossprune.graph.recording.base import (
    Recording,
    Step,
    depending,
    product,
    summarize,
)

#: Operations with work that is nowhere in the graph, and what they are.
HIDDEN = {
    "EagerPyFunc": "Python code (tf.py_function)",
    "PyFunc": "Python code (tf.numpy_function)",
    "PyFuncStateless": "Python code (tf.numpy_function)",
    "XlaCallModule": "a compiled XLA module",
    "XlaConv": "an XLA operation",
    "XlaConvV2": "an XLA operation",
    "XlaDot": "an XLA operation",
    "XlaDotV2": "an XLA operation",
    "XlaCustomCall": "an XLA operation",
    "XlaCustomCallV2": "an XLA operation",
}
#: What LiteRT computes with the operation before it, or not at all.
IN_PLACE = {
    "Identity", "StopGradient", "BiasAdd", "Relu", "Relu6", "Reshape", "ExpandDims",
    "Squeeze", "AddV2", "Add", "Sub", "Mul", "RealDiv", "FusedBatchNormV3",
    "PreventGradient", "EnsureShape", "Snapshot",
}  # fmt: skip
_FUNCTIONS = ("f", "then_branch", "else_branch", "branches")
_LOOPS = ("While", "StatelessWhile")


class TensorFlowRecorder:
    """Records into one graph that is never run."""

    def __init__(self):
        self._graph = tf.__internal__.FuncGraph("recorded")

    def record(self, function, given, read):
        """See `make_recorder`."""
        found = self._record(function, given, read)
        if _is_known(*found):
            return found
        # A function that was traced before knows the sizes of that time.
        eagerly = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            again = self._record(function, given, read)
        finally:
            tf.config.run_functions_eagerly(eagerly)
        return again if _is_known(*again) else found

    def _record(self, function, given, read):
        with self._graph.as_default():
            inputs = [tf.compat.v1.placeholder(d, shape=s) for s, d in given]
            before = len(self._graph.get_operations())
            with keras.StatelessScope():
                outputs = [tf.convert_to_tensor(t) for t in function(*inputs)]
            operations = self._graph.get_operations()[before:]
        wanted = [t for t, is_read in zip(outputs, read) if is_read]
        return _summary(operations, inputs, wanted), [_shape(t) for t in outputs]


def _is_known(work, shapes):
    return not math.isnan(work.macs) and not any(s is None or None in s for s in shapes)


def _shape(tensor):
    return None if tensor.shape.rank is None else tuple(tensor.shape)


def _elements(tensor):
    return product((None,) if _shape(tensor) is None else _shape(tensor))


def _summary(operations, given, read):
    """The `Recording` of some operations between some tensors."""
    given = [t.name for t in given]
    weights = _weights(operations)
    steps = _steps(operations, {*given, *weights})
    return summarize(steps, given, [t.name for t in read], weights)


def _weights(operations):
    """Names of the variables that some operations read."""
    tensors = (t for op in operations for t in op.inputs)
    return {t.name for t in tensors if t.dtype == tf.resource}


def _steps(operations, given):
    """The `Step`s of some operations, knowing which inputs change."""
    moving, found = set(given), []
    for op in operations:
        inputs = [t.name for t in op.inputs]
        outputs = {t.name: _elements(t) for t in op.outputs}
        work = Recording()
        if not moving.isdisjoint(inputs):
            moving.update(outputs)
            work = _work(op, [name in moving for name in inputs])
        found.append(Step(inputs, outputs, work, op.type in IN_PLACE))
    return found


def _work(op, moving):
    if op.type in HIDDEN:
        return Recording(unknown=f"it runs {HIDDEN[op.type]}")
    if op.type in _LOOPS:
        return _loop(op, moving)
    if op.type in MACS:
        if any(t.shape.rank is None for t in (*op.inputs, *op.outputs)):
            return Recording(float("nan"))
        return Recording(MACS[op.type](op))
    bodies = _bodies(op)
    if bodies:
        return _longest(op, bodies, moving)
    if not hasattr(tf.raw_ops, op.type):
        return Recording(unknown=f"it runs the custom operation {op.type}")
    return Recording()


def _bodies(op):
    """The graphs of the functions that an operation calls."""
    names = []
    for key in _FUNCTIONS:
        if key in op.node_def.attr:
            value = op.node_def.attr[key]
            names += [f.name for f in (value.func, *value.list.func) if f.name]
    return [_function(op, name) for name in names]


def _function(op, name):
    """The graph of a function that an operation calls."""
    # A graph that was imported does not have the functions' graphs.
    return getattr(op.graph, "imported_from", op.graph)._get_function(name).graph


def _longest(op, bodies, moving):
    found = []
    for body in bodies:
        # The condition of a branch is no input of its function.
        first = len(moving) - len(body.inputs)
        operations, inputs, outputs = _sized(body, op.inputs[first:])
        given = [t for t, flag in zip(inputs, moving[first:]) if flag]
        found.append(_summary(operations, given, outputs))
        for mine, theirs in zip(op.outputs, outputs):
            if len(bodies) == 1:
                mine.set_shape(theirs.shape)
    return Recording(
        max(work.macs for work in found),
        max(work.elements for work in found),
        next((work.unknown for work in found if work.unknown), None),
    )


def _sized(body, given):
    """Operations, inputs and outputs of a function for arguments of known sizes."""
    if all(map(_fits, body.inputs, given)):
        return body.get_operations(), body.inputs, body.outputs
    graph = tf.__internal__.FuncGraph("sized")
    graph.imported_from = body
    with graph.as_default():
        inputs = [tf.compat.v1.placeholder(t.dtype, t.shape, "given") for t in given]
        names = [t.name for t in body.inputs]
        tf.graph_util.import_graph_def(
            body.as_graph_def(), dict(zip(names, inputs)), name=""
        )
    for op in body.get_operations():  # what came from variables is known there
        for tensor in op.outputs:
            graph.get_tensor_by_name(tensor.name).set_shape(tensor.shape)
    outputs = [graph.get_tensor_by_name(t.name) for t in body.outputs]
    return graph.get_operations(), inputs, outputs


def _fits(declared, given):
    """Whether a function knows the sizes of an argument."""
    return given.dtype in (tf.resource, tf.variant) or declared.shape == given.shape


def _loop(op, moving):
    body = _function(op, op.get_attr("body").name)
    inputs = [t.name for t in body.inputs]
    outputs = [t.name for t in body.outputs]
    operations = body.get_operations()
    weights = _weights(operations)
    moving = list(moving)
    while True:  # what one turn changes, the next one reads
        given = [name for name, flag in zip(inputs, moving) if flag]
        steps = _steps(operations, {*given, *weights})
        changed = depending(steps, given)
        after = [flag or name in changed for flag, name in zip(moving, outputs)]
        if after == moving:
            break
        moving = after
    work = summarize(steps, given, outputs, weights)
    if not work.macs and not work.unknown:
        return work
    turns = _turns(op, body)
    if turns is None:
        return Recording(unknown="it runs a loop of unknown length")
    return Recording(turns * work.macs, work.elements, work.unknown)


def _turns(op, body):
    """How often a loop runs at most: from a counter's start to its limit."""
    condition = _function(op, op.get_attr("cond").name)
    places = {t.name: k for k, t in enumerate(condition.inputs)}

    def value(tensor):
        found = tf.get_static_value(tensor)
        if found is None and tensor.name in places:
            found = tf.get_static_value(op.inputs[places[tensor.name]])
        return None if found is None else int(found)

    found = []
    for less in condition.get_operations():
        if less.type not in ("Less", "LessEqual"):
            continue
        counter, limit = less.inputs
        place = places.get(counter.name)
        if place is None or not counter.dtype.is_integer or not _counts(body, place):
            continue
        start, end = value(counter), value(limit)
        if start is not None and end is not None:
            found.append(max(end - start + (less.type == "LessEqual"), 0))
    return min(found, default=None)


def _counts(body, place):
    """Whether a loop adds 1 to one of its variables at each turn."""
    made = body.outputs[place].op
    while made.type == "Identity":
        made = made.inputs[0].op
    if made.type not in ("AddV2", "Add"):
        return False
    step = [tf.get_static_value(t) for t in made.inputs]
    mine = [t.name == body.inputs[place].name for t in made.inputs]
    return any(m and s is not None and s == 1 for m, s in zip(mine, step[::-1]))


# Multiply-accumulates of one operation.


def _convolution(op):
    return _elements(op.outputs[0]) * product(_shape(op.inputs[1])[:-1])


def _depthwise(op):
    return _elements(op.outputs[0]) * product(_shape(op.inputs[1])[:2])


def _transposed(op):
    """Each input position is multiplied with the whole kernel of its channel."""
    return _elements(op.inputs[2]) * product(_shape(op.inputs[1])[:-1])


def _transposed_depthwise(op):
    return _elements(op.inputs[2]) * product(_shape(op.inputs[1])[:2])


def _matmul(op):
    attributes = op.node_def.attr
    turned = attributes["transpose_a"].b or attributes["adj_x"].b
    return _elements(op.outputs[0]) * product(
        [_shape(op.inputs[0])[-2 if turned else -1]]
    )


def _einsum(op):
    equation = op.get_attr("equation").decode()
    operands, result = equation.replace(" ", "").split("->")
    operands = operands.split(",")
    sizes = {}
    for letters, tensor in zip(operands, op.inputs):
        shape = list(_shape(tensor))
        before, dots, after = letters.partition("...")
        count = len(shape) - len(before) - len(after)
        # Axes under the dots are named from the right: they are broadcast.
        names = [*before, *(f".{k}" for k in range(count, 0, -1)), *after]
        for name, size in zip(names, shape):
            if sizes.get(name, 1) == 1:
                sizes[name] = size
    return product(sizes.values()) if len(operands) > 1 else 0.0


def _recurrent(op):
    """The weights of a fused recurrent layer or cell, at each step."""
    steps = _shape(op.inputs[1])[0] if "BlockLSTM" in op.type else 1
    at = {"LSTMBlockCell": 3, "GRUBlockCell": 2, "BlockLSTM": 4, "BlockLSTMV2": 4}
    kernels = [op.inputs[at[op.type]]]
    if op.type == "GRUBlockCell":
        kernels.append(op.inputs[3])
    batch = _shape(op.outputs[-1])[-2]
    return product([steps, batch]) * sum(_elements(kernel) for kernel in kernels)


MACS = {
    "Conv": _convolution,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed,
    "Conv2DBackpropInputV2": _transposed,
    "Conv3DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "DepthwiseConv2dNativeBackpropInput": _transposed_depthwise,
    "MatMul": _matmul,
    "SparseMatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BatchMatMulV3": _matmul,
    "Einsum": _einsum,
    "LSTMBlockCell": _recurrent,
    "GRUBlockCell": _recurrent,
    "BlockLSTM": _recurrent,
    "BlockLSTMV2": _recurrent,
}
HIDDEN.update(
    dict.fromkeys(
        ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "SparseTensorDenseMatMul"),
        "a fused operation without sizes",
    )
)
