"""Keras 2 (tf_keras) and tensorflow-model-optimization, on which weights are clustered.

That package works on Keras 2 models. A Keras 3 model is carried there
(`to_tf_keras`), a `tf_keras.Model` is handed out to train, and the result is taken
out again. This is the only file that imports Keras 2, and only in functions.

Importing tensorflow-model-optimization sets `TF_USE_LEGACY_KERAS`, which turns
`tf.keras` into Keras 2 for the whole process if nothing has used it before. Here
`tf.keras` is resolved first, to what it would have become, and the variable is put
back afterwards; so a program's `tf.keras` stays what it is.
"""

import importlib
import os
import warnings
from typing import Any

import keras

from tf_lossprune.config import check_count
from tf_lossprune.deploy.crossing import from_tf_keras, to_keras2
from tf_lossprune.deploy.litert import check_convertible

_VARIABLE = "TF_USE_LEGACY_KERAS"


def to_tf_keras(model: keras.Model) -> Any:
    """Carries a Keras 3 model to Keras 2 (tf_keras), with its weights.

    Nested models are flattened, mixed precision becomes float32, and what Keras 2
    lacks is put together from its stock layers where that is possible (`relu6`,
    `hard_silu`). Both models are run on random input, and their outputs compared.

    Args:
        model: Built functional or Sequential `keras.Model` of stock layers, such as
            what `strip_pruning` returns; not changed.

    Returns:
        A functional `tf_keras.Model`.

    Raises:
        ImportError: If tf_keras is missing.
        TypeError: If `model` is not a functional or Sequential Keras 3 model.
        ValueError: If the model is still being pruned, or if a layer or operation has
            no counterpart in Keras 2 or computes something else there; the message
            names it.

    Example:

    ```python
    old = tf_lossprune.deploy.to_tf_keras(compact)
    old.save("compact.h5")
    ```
    """
    check_convertible(model)
    return to_keras2(model, import_tf_keras())


def cluster_weights(model: keras.Model, number_of_clusters: int = 16) -> Any:
    """A copy of a model whose kernels learn to hold only a few distinct values.

    The values are shared within a kernel and learned (k-means++ to start with); files
    of such weights compress well. Depthwise kernels and kernels with no more weights
    than clusters stay as they are.

    Args:
        model: As in `to_tf_keras`; not changed.
        number_of_clusters: int >= 2, distinct values of a kernel.

    Returns:
        A `tf_keras.Model`. Compile it as that of `quantize_aware`, fit it for an epoch
        or so, at a low learning rate, and take the result out with
        `strip_clustering`.

    Raises:
        ImportError: If tensorflow-model-optimization is missing.
        TypeError: As `to_tf_keras`; if `number_of_clusters` is not a whole number.
        ValueError: As `to_tf_keras`; if `number_of_clusters` is below 2, or weights
            of a layer cannot be clustered; the message names it.

    Example:

    ```python
    learner = tf_lossprune.deploy.cluster_weights(compact, 16)
    learner.compile("adam", "sparse_categorical_crossentropy")
    learner.fit(train, epochs=1)
    clustered = tf_lossprune.deploy.strip_clustering(learner)  # Keras 3 again
    ```

    References:
        Han et al., Deep Compression, ICLR 2016 (arXiv 1510.00149).
        https://www.tensorflow.org/model_optimization/guide/clustering
    """
    check_count("number_of_clusters", number_of_clusters, least=2)
    check_convertible(model)
    clustering = import_tfmot().clustering.keras
    plain = to_tf_keras(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*enough weights")  # as documented
        try:
            return clustering.cluster_weights(
                plain,
                number_of_clusters,
                clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
                # Sums over all weights of a cluster are hundreds of times as large
                # as other weights' gradients.
                cluster_gradient_aggregation="GradientAggregation.AVG",
            )
        except ValueError as error:  # of a layer with weights of an unknown kind
            raise ValueError(
                f"Expected layers whose weights can be clustered. Received: {error}"
            ) from error


def strip_clustering(model: Any) -> keras.Model:
    """The Keras 3 model with the clustered weights of a `cluster_weights` model.

    Args:
        model: The trained `tf_keras.Model`; not changed.

    Returns:
        A functional `keras.Model`, for `to_litert` in any precision.

    Raises:
        TypeError: If `model` is not from `cluster_weights`.

    Example:
        >>> clustered = strip_clustering(learner)
        >>> len(np.unique(clustered.get_layer("stem_conv").kernel)) <= 16
        True
    """
    layers = getattr(model, "layers", ())
    if not any(type(layer).__name__.startswith("ClusterWeights") for layer in layers):
        raise TypeError(
            "Expected a `tf_keras.Model` from `cluster_weights`. "
            f"Received: {type(model).__module__}.{type(model).__name__}"
        )
    return from_tf_keras(import_tfmot().clustering.keras.strip_clustering(model))


def import_tf_keras() -> Any:
    """The module tf_keras, or an error that says how to get it."""
    try:
        import tf_keras
    except ImportError as error:
        raise ImportError(
            "Converting models to Keras 2 needs tf_keras: pip install tf_keras"
        ) from error
    return tf_keras


def import_tfmot() -> Any:
    """Imports tensorflow-model-optimization and leaves `tf.keras` as it was."""
    # Resolved here, before the variable is set; the submodules are those that
    # tensorflow-model-optimization imports, which hide the ones of `tf.compat`.
    for name in ("tensorflow", "tensorflow.compat.v1", "tensorflow.compat.v2"):
        dir(importlib.import_module(name).keras)
    before = os.environ.get(_VARIABLE)
    try:
        import tensorflow_model_optimization as tfmot
    except ImportError as error:
        raise ImportError(
            "This needs tensorflow-model-optimization: "
            "pip install tensorflow-model-optimization"
        ) from error
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
    return tfmot


def import_quantization() -> tuple[Any, Any]:
    """The quantisation of tensorflow-model-optimization.

    Returns:
        The module `tfmot.quantization.keras`, and the class of a `QuantizeConfig`
        that gives a layer's output a range and leaves all else as it is.
    """
    tfmot = import_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras import (
        default_8bit,
    )

    configs = importlib.import_module(
        f"{default_8bit.__name__}.default_8bit_quantize_configs"
    )
    return tfmot.quantization.keras, configs.Default8BitOutputQuantizeConfig
