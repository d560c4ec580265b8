"""What a network costs, counted without the code under test.

MACs are counted from the operations of the model's LiteRT file: whatever a custom
layer hides is there. Nothing here imports tf_lossprune.
"""

import math

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if k[0] != "_"}
#: Operations whose work is nowhere in their shapes.
_UNKNOWN = (
    "STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL", "STABLEHLO_WHILE",
    "STABLEHLO_COMPOSITE", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "RNN", "SVDF",
)  # fmt: skip


class ConversionError(Exception):
    """TensorFlow's converter fails on a network."""


def convert(model):
    """The float32 file of a model in inference mode, by TensorFlow's own converter.

    Args:
        model: built `keras.Model` with static shapes.

    Returns:
        bytes.
    """
    import tensorflow as tf

    functional = not isinstance(model, keras.Sequential)
    struct = model._inputs_struct if functional else model.inputs[0]
    specs = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in model.inputs]

    def call(*tensors):
        given = keras.tree.pack_sequence_as(struct, list(tensors))
        return model(given, training=False)

    function = tf.function(call, autograph=False).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    try:
        return converter.convert()
    except Exception as error:  # its own kinds are private
        raise ConversionError(str(error)) from error


def macs(model):
    """Multiply-accumulates of one sample.

    Args:
        model: `keras.Model`, or the path or the bytes of a `.tflite` file.

    Returns:
        int.

    Raises:
        ValueError: for a file whose work cannot be told from its shapes.
    """
    return _File(_content(model)).macs(0, {})


def written_twice(model):
    """Whether the file computes a product of the same tensors twice.

    The converter copies a product to merge an activation into one of the copies.

    Args:
        model: as in `macs`.
    """
    file = _File(_content(model)).model
    kinds = [code.builtinCode for code in file.operatorCodes]
    products = schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.CONV_2D
    found = [
        tuple(op.inputs)
        for op in file.subgraphs[0].operators
        if kinds[op.opcodeIndex] in products
    ]
    return len(set(found)) < len(found)


def _content(model):
    if isinstance(model, keras.Model):
        model = convert(model)
    if not isinstance(model, (bytes, bytearray)):
        with open(model, "rb") as file:
            model = file.read()
    return model


class _File:
    def __init__(self, content):
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)

    def macs(self, index, given):
        """MACs of a subgraph; `given`: its inputs' values, where they are known."""
        graph = self.model.subgraphs[index]
        known = {i: given.get(k) for k, i in enumerate(graph.inputs)}
        return sum(self._operation(graph, op, known) for op in graph.operators or ())

    def _operation(self, graph, op, known):
        code = self.model.operatorCodes[op.opcodeIndex]
        name = _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
        options, ins = op.builtinOptions, list(op.inputs)

        def shape(index):
            found = graph.tensors[index].shape
            found = () if found is None else tuple(int(d) for d in found)
            if any(d <= 0 for d in found):
                raise ValueError(f"Expected static shapes. Received: {name} {found}")
            return found

        if name == "WHILE":
            values = {k: self._value(graph, i, known) for k, i in enumerate(ins)}
            trips = self._trips(options.condSubgraphIndex, values)
            return trips * self.macs(options.bodySubgraphIndex, values)
        if name == "IF":
            branches = options.thenSubgraphIndex, options.elseSubgraphIndex
            return max(self.macs(k, {}) for k in branches)
        if name in ("CONV_2D", "CONV_3D"):
            # Kernels are out, h, w, in / groups; in 3-D d, h, w, in, out.
            kernel = shape(ins[1])
            window = kernel[1:] if name == "CONV_2D" else kernel[:-1]
            return math.prod(shape(op.outputs[0])) * math.prod(window)
        if name == "DEPTHWISE_CONV_2D":
            return math.prod(shape(op.outputs[0])) * math.prod(shape(ins[1])[1:3])
        if name in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
            # Each input position is multiplied with the whole kernel of its channel.
            return math.prod(shape(ins[2])) * math.prod(shape(ins[1])[:-1])
        if name == "FULLY_CONNECTED":
            return math.prod(shape(op.outputs[0])) * shape(ins[1])[-1]
        if name == "BATCH_MATMUL":
            inner = shape(ins[0])[-2 if options.adjX else -1]
            return math.prod(shape(op.outputs[0])) * inner
        if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            steps = shape(ins[0])[0 if options.timeMajor else 1]
            return steps * sum(math.prod(shape(i)) for i in ins[1:9] if i >= 0)
        if name == "CUSTOM" and code.customCode.startswith(b"Flex"):
            shapes = [
                [graph.tensors[i].shape for i in side] for side in (ins, op.outputs)
            ]
            return _tensorflow_operation(op, *shapes)
        if name in _UNKNOWN:
            raise ValueError(f"Cannot count this operation. Received: {name}")
        return 0

    def _value(self, graph, index, known):
        """A constant integer tensor's value; None if it has none."""
        if known.get(index) is not None:
            return known[index]
        tensor = graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.INT32 or data is None or len(data) != 4:
            return None
        return int(np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32)[0])

    def _trips(self, index, given):
        """How often a loop runs: from a counter's start to its constant limit."""
        graph = self.model.subgraphs[index]
        known = {i: given.get(k) for k, i in enumerate(graph.inputs)}
        found = []
        for op in graph.operators:
            code = self.model.operatorCodes[op.opcodeIndex]
            if _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)] == "LESS":
                start, limit = (self._value(graph, i, known) for i in op.inputs)
                if limit is not None:
                    found.append(limit - (start or 0))
        if not found:
            raise ValueError("Expected a loop with a constant limit. Received: another")
        return min(found)


def _tensorflow_operation(op, inputs, outputs):
    """MACs of an operation that LiteRT leaves to TensorFlow."""
    import tensorflow as tf

    parts = flexbuffers.Loads(bytes(bytearray(op.customOptions)))
    content = parts[1]  # text, where its bytes happen to be some
    content = content.encode() if isinstance(content, str) else bytes(content)
    node = tf.compat.v1.NodeDef.FromString(content)
    out = math.prod(map(int, outputs[0]))
    if node.op == "Einsum":
        equation = node.attr["equation"].s.decode()
        if "." in equation:
            raise ValueError(f"Cannot count this product. Received: {equation}")
        operands = equation.split("->")[0].split(",")
        sizes = dict(zip("".join(operands), (int(d) for s in inputs for d in s)))
        return math.prod(sizes.values()) if len(operands) > 1 else 0
    if node.op in ("Conv2D", "Conv3D"):
        return out * math.prod(map(int, inputs[1][:-1]))
    if node.op == "DepthwiseConv2dNative":
        return out * math.prod(map(int, inputs[1][:2]))
    if node.op == "Conv3DBackpropInputV2":
        return math.prod(map(int, inputs[2])) * math.prod(map(int, inputs[1][:-1]))
    if node.op in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        turned = node.attr["transpose_a"].b or node.attr["adj_x"].b
        return out * int(inputs[0][-2 if turned else -1])
    if node.op in ("While", "StatelessWhile", "PartitionedCall", "XlaCallModule"):
        raise ValueError(f"Cannot count this operation. Received: {node.op}")
    return 0
