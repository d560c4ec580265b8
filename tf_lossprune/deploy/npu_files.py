"""Files of a single int8 operation, written without a converter."""

from typing import Any

import numpy as np

from tf_lossprune.resources.npu_operation import NpuOperation

#: Any scale will do: it does not change how long an operation takes.
_SCALE, _WEIGHT_SCALE = 0.05, 0.01


def operation_file(operation: NpuOperation, given: int, made: int) -> bytes:
    """The LiteRT file of one operation.

    Args:
        operation: `NpuOperation`.
        given: int, channels of its input.
        made: int, channels of its output.

    Returns:
        bytes.
    """
    file = _File()
    build = getattr(file, f"add_{operation.kind}")
    return file.finish(build(operation, given, made))


def incompressible(content: bytes) -> bytes:
    """A LiteRT file with int8 kernels of the same shapes that cannot be compressed.

    Args:
        content: bytes of a `.tflite` file.
    """
    from ai_edge_litert import schema_py_generated as schema

    changed, rng = bytearray(content), np.random.default_rng(0)
    model = schema.Model.GetRootAsModel(changed, 0)
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        given = {graph.Inputs(i) for i in range(graph.InputsLength())}
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            data = model.Buffers(tensor.Buffer()).DataAsNumpy()
            kernel = tensor.Type() == schema.TensorType.INT8 and number not in given
            if kernel and tensor.ShapeLength() > 1 and isinstance(data, np.ndarray):
                # A view of the file's bytes.
                data[:] = rng.integers(-127, 128, data.size, np.int8).view(np.uint8)
    return bytes(changed)


class _File:
    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._tensors: list = []
        self._buffers = [schema.BufferT()]
        self._inputs: list[int] = []
        self._operator: Any = None
        self._code: Any = None
        self._rng = np.random.default_rng(0)

    def add_convolution(self, operation: NpuOperation, given: int, made: int) -> int:
        options = self._window("Conv2DOptions", operation)
        # Each group reads its own part; what is written is as wide.
        given = max(given // operation.groups, 1)
        options.dilationHFactor, options.dilationWFactor = operation.dilation
        sources = [
            self._input((*operation.source, given)),
            self._kernel((made, *operation.kernel, given), made, 0),
            self._bias(made),
        ]
        return self._operation("CONV_2D", 3, options, sources, operation, made)

    def add_depthwise(self, operation: NpuOperation, given: int, made: int) -> int:
        options = self._window("DepthwiseConv2DOptions", operation)
        options.dilationHFactor, options.dilationWFactor = operation.dilation
        options.depthMultiplier = max(made // given, 1)
        made = given * options.depthMultiplier
        sources = [
            self._input((*operation.source, given)),
            self._kernel((1, *operation.kernel, made), made, 3),
            self._bias(made),
        ]
        return self._operation(
            "DEPTHWISE_CONV_2D", 3, options, sources, operation, made
        )

    def add_dense(self, operation: NpuOperation, given: int, made: int) -> int:
        options = self._schema.FullyConnectedOptionsT()
        sources = [
            self._input((given,)),
            self._kernel((made, given), 1, 0),
            self._bias(1, made),
        ]
        return self._operation("FULLY_CONNECTED", 4, options, sources, None, made)

    def add_pooling(self, operation: NpuOperation, given: int, made: int) -> int:
        options = self._window("Pool2DOptions", operation)
        options.filterHeight, options.filterWidth = operation.kernel
        sources = [self._input((*operation.source, made))]
        return self._operation("AVERAGE_POOL_2D", 2, options, sources, operation, made)

    def add_sum(self, operation: NpuOperation, given: int, made: int) -> int:
        options = self._schema.AddOptionsT()
        sources = [self._input((*operation.source, made)) for _ in range(2)]
        return self._operation("ADD", 2, options, sources, operation, made)

    def add_copy(self, operation: NpuOperation, given: int, made: int) -> int:
        sources = [self._input((*operation.source, made))]
        return self._operation("LOGISTIC", 2, None, sources, operation, made)

    def finish(self, output: int) -> bytes:
        import flatbuffers

        schema = self._schema
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=self._inputs,
            outputs=[output],
            operators=[self._operator],
            name="main",
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=[self._code],
            subgraphs=[graph],
            description="probe",
            buffers=self._buffers,
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _window(self, name: str, operation: NpuOperation) -> Any:
        options = getattr(self._schema, f"{name}T")()
        padding = self._schema.Padding
        options.padding = padding.SAME if operation.same else padding.VALID
        options.strideH, options.strideW = operation.strides
        return options

    def _operation(
        self,
        name: str,
        version: int,
        options: Any,
        sources: list[int],
        operation: NpuOperation | None,
        made: int,
    ) -> int:
        schema = self._schema
        size = () if operation is None else operation.target
        scale = 1 / 256 if name == "LOGISTIC" else _SCALE
        output = self._tensor((1, *size, made), schema.TensorType.INT8, [scale])
        if name == "LOGISTIC":
            self._tensors[output].quantization.zeroPoint = [-128]
        code = getattr(schema.BuiltinOperator, name)
        self._code = schema.OperatorCodeT(
            deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version
        )
        self._operator = schema.OperatorT(inputs=sources, outputs=[output])
        if options is not None:
            kind = type(options).__name__[:-1]
            self._operator.builtinOptions = options
            self._operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        return output

    def _input(self, shape: tuple) -> int:
        found = self._tensor((1, *shape), self._schema.TensorType.INT8, [_SCALE])
        self._inputs.append(found)
        return found

    def _kernel(self, shape: tuple, scales: int, axis: int) -> int:
        # Incompressible, so that what the compiler makes of it is the most.
        data = self._rng.integers(-127, 128, shape, np.int8)
        kind = self._schema.TensorType.INT8
        return self._tensor(shape, kind, [_WEIGHT_SCALE] * scales, data, axis)

    def _bias(self, scales: int, size: int | None = None) -> int:
        data = self._rng.integers(-1000, 1000, size or scales, np.int32)
        scale = [_SCALE * _WEIGHT_SCALE] * scales
        return self._tensor(data.shape, self._schema.TensorType.INT32, scale, data)

    def _tensor(
        self,
        shape: tuple,
        kind: int,
        scale: list[float],
        data: np.ndarray | None = None,
        axis: int = 0,
    ) -> int:
        schema = self._schema
        buffer = 0
        if data is not None:
            buffer = len(self._buffers)
            self._buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        quantization = schema.QuantizationParametersT(
            scale=scale, zeroPoint=[0] * len(scale), quantizedDimension=axis
        )
        self._tensors.append(
            schema.TensorT(
                shape=[int(size) for size in shape],
                type=kind,
                buffer=buffer,
                name=f"tensor_{len(self._tensors)}",
                quantization=quantization,
            )
        )
        return len(self._tensors) - 1
