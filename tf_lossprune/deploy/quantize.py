"""Training that knows of int8, and its files."""

from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.litert import (
    check_convertible,
    checked_path,
    write_litert,
)
from tf_lossprune.deploy.samples import calibration_samples
from tf_lossprune.deploy.standalone import as_convolutions
from tf_lossprune.deploy.tfmot import (
    import_quantization,
    import_tf_keras,
    to_tf_keras,
)
from tf_lossprune.precision import check_precision
from tf_lossprune.types import Path

#: Layers without weights of which only the output needs a range.
_OUTPUT_ONLY = {"Average", "Maximum", "Minimum", "Multiply", "Subtract"}
#: Layers that the default scheme turns into, or takes up in, other ones.
_TAKEN_UP = {"BatchNormalization", "SeparableConv1D", "SeparableConv2D"}
#: Activations with an int8 form, inside of a layer or alone.
_ACTIVATIONS = {"linear", "relu", "swish", "gelu", "sigmoid", "softmax", "tanh"}
#: Samples that pass at once while ranges are found.
_BATCH = 64


def quantize_aware(model: keras.Model, representative_data: Any) -> Any:
    """A copy of a model that learns to be quantised: it computes as in 8 bits.

    Weights and activations are rounded in the forward pass to what int8 can hold;
    gradients pass through the rounding. The ranges of the activations are found
    before the training (tensorflow-model-optimization alone starts them all at
    [-6, 6], from where they take thousands of steps), so an epoch at a low learning
    rate is enough.

    Batch normalisations that follow no convolution become depthwise convolutions over
    single pixels, which have an int8 form; their statistics are fixed.

    Args:
        model: As in `to_tf_keras`, with one input; not changed.
        representative_data: As in `to_litert`: typical inputs, for the ranges.

    Returns:
        A `tf_keras.Model`. Compile it with losses and optimizers of tf_keras (or
        their names), fit it, and write it with `quantized_to_litert`.

    Raises:
        ImportError: If tensorflow-model-optimization is missing.
        TypeError: As `to_tf_keras`.
        ValueError: As `to_tf_keras`; for data that do not fit; for layers that have
            no int8 form to be trained; the message names them.

    Example:

    ```python
    import tf_keras

    learner = tf_lossprune.deploy.quantize_aware(compact, x_train)
    learner.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(True))
    learner.fit(train, epochs=1)
    tf_lossprune.deploy.quantized_to_litert(learner, "compact_int8.tflite")
    ```

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, CVPR 2018 (arXiv 1712.05877).
        https://www.tensorflow.org/model_optimization/guide/quantization/training
    """
    check_convertible(model)
    if len(model.inputs) != 1:
        raise ValueError(
            "Training for int8 takes models with one input. Received: "
            f"{len(model.inputs)} inputs (model {model.name!r})"
        )
    found = calibration_samples(model, representative_data)
    samples = [x for sample in found for x in sample.values()]
    quantization, output_range = import_quantization()
    plain = to_tf_keras(as_convolutions(model))
    registry = quantization.default_8bit.Default8BitQuantizeRegistry()
    unknown = []

    def annotate(layer: Any) -> Any:
        if _has_int8_form(registry, layer):
            return quantization.quantize_annotate_layer(layer)
        if type(layer).__name__ in _OUTPUT_ONLY and not layer.weights:
            return quantization.quantize_annotate_layer(layer, output_range())
        unknown.append(f"{layer.name!r} ({type(layer).__name__})")
        return layer

    annotated = import_tf_keras().models.clone_model(plain, clone_function=annotate)
    if unknown:
        raise _no_int8_form(", ".join(unknown))
    try:
        with quantization.quantize_scope():
            learner = quantization.quantize_apply(annotated)
    except RuntimeError as error:  # names a layer without a rule
        raise _no_int8_form(error) from error
    _find_ranges(learner, samples)
    return learner


def quantized_to_litert(model: Any, path: Path, precision: str = "int8") -> str:
    """Writes the int8 file of a model from `quantize_aware`, once it is trained.

    Args:
        model: The trained `tf_keras.Model`; not changed.
        path: As in `to_litert`.
        precision: `"int8"` or, with float32 input and output, `"int8_fp32_io"`.

    Returns:
        The path, a string.

    Raises:
        TypeError: If `model` is not from `quantize_aware`, or `path` is not a path.
        ValueError: If `path` does not end in `.tflite`, for another precision, or if
            LiteRT lacks an operation.

    Example:
        >>> path = quantized_to_litert(learner, "compact_int8.tflite")
    """
    path = checked_path(path)
    if not check_precision(precision).startswith("int8"):
        raise ValueError(
            "Expected precision as 'int8' or 'int8_fp32_io', which the model was "
            f"trained for. Received: {precision!r}"
        )
    layers = getattr(model, "layers", ())
    if not any(type(layer).__name__.startswith("QuantizeWrapper") for layer in layers):
        raise TypeError(
            "Expected a `tf_keras.Model` from `quantize_aware`. "
            f"Received: {type(model).__module__}.{type(model).__name__}"
        )
    import tensorflow as tf

    @tf.function
    def function(*inputs: Any) -> Any:
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    specs = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in model.inputs]

    def make_converter() -> Any:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function(*specs)], model
        )
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "int8":
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        return converter

    return write_litert(make_converter, path, model.name)


def _has_int8_form(registry: Any, layer: Any) -> bool:
    """Whether the default scheme quantises a layer, or takes it up in another one."""
    activation = getattr(layer, "activation", None)
    if activation is not None and activation.__name__ not in _ACTIVATIONS:
        return False
    return type(layer).__name__ in _TAKEN_UP or registry.supports(layer)


class _Recorder:
    """Stands in for a quantizer: sets its range to what passes, and lets it pass."""

    def __init__(self) -> None:
        self._seen = set()

    def __call__(
        self, x: Any, training: bool, weights: dict[str, Any], **kwargs: Any
    ) -> Any:
        low, high = float(np.min(x)), float(np.max(x))
        # Zero has to be a number of the quantised range.
        low, high = min(low, 0.0), max(high, 0.0)
        least, most = weights["min_var"], weights["max_var"]
        if id(least) in self._seen:
            low, high = min(low, float(least)), max(high, float(most))
        self._seen.add(id(least))
        least.assign(low)
        most.assign(high)
        return x


def _unchanged(x: Any, training: bool, weights: dict[str, Any]) -> Any:
    return x


def _find_ranges(learner: Any, samples: list) -> None:
    """Sets the ranges of all weights, and of the activations over the samples."""
    recorder, restore = _Recorder(), []

    def replace(owner: Any, name: str, value: Any) -> None:
        restore.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    for layer in learner.layers:
        if getattr(layer, "quantizer", None) is not None:  # of an input
            replace(layer, "quantizer", recorder)
        for weight, quantizer, variables in getattr(layer, "_weight_vars", ()):
            quantizer(weight, True, weights=variables)
        if hasattr(layer, "_weight_vars"):
            kept = [(w, _unchanged, found) for w, _, found in layer._weight_vars]
            replace(layer, "_weight_vars", kept)
            if layer._output_quantizers:
                replace(layer, "_output_quantizers", [recorder])
            for activation in layer._quantize_activations:
                replace(activation, "quantizer", recorder)
    try:
        for start in range(0, len(samples), _BATCH):
            learner(np.concatenate(samples[start : start + _BATCH]), training=False)
    finally:
        for owner, name, value in restore:
            setattr(owner, name, value)


def _no_int8_form(received: Any) -> ValueError:
    return ValueError(
        "Expected layers with an int8 form that can be trained; quantise after the "
        "training instead (`to_litert` with representative data). "
        f"Received: {received}"
    )
