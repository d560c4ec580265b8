"""Tries one batch before a training, so that what cannot work is refused at once."""

import contextlib
import warnings

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.training.losses import compiled_losses

_PARTS = ("inputs", "targets", "sample weights")


def try_batch(model, batch, targets=None):
    """Computes outputs, loss and metrics on one batch.

    Args:
        model: compiled functional `keras.Model`; its weights stay as they are.
        batch: tuple `(x, y)` or `(x, y, sample_weight)` of arrays or tensors.
        targets: the targets of all samples, where they are at hand, or None.

    Returns:
        The outputs.

    Raises:
        ValueError: if data, model, loss and metrics do not fit together, or if the
            data hold NaN which reaches the loss.
    """
    batch = as_in_fit(batch)
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    with _told(batch):
        # Symbolic first, as what trains is compiled: it sees shapes, not values.
        internals.build_symbolically(model, batch)
    if weight is None:  # otherwise they may be those of samples that do not count
        _check_labels(model, y if targets is None else targets)
    with _told(batch):
        outputs = model(x, training=False)
        loss = model.compute_loss(
            x=x, y=y, y_pred=outputs, sample_weight=weight, training=False
        )
        model.compute_metrics(x, y, outputs, sample_weight=weight)
        loss = float(ops.convert_to_numpy(loss))
    model.reset_metrics()
    if not np.isfinite(loss):
        _explain(loss, batch)
    return outputs


@contextlib.contextmanager
def _told(batch):
    """Turns whatever fails into an error that says what was tried."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            "Expected data, loss and metrics that fit the model, but its first batch "
            f"fails: {type(error).__name__}: {' '.join(str(error).split())}. "
            f"Received: {_text(batch)}"
        ) from error


def _check_labels(model, y):
    """Raises `ValueError` for class numbers that the outputs do not have.

    A number too large is NaN on one device, an error or nothing on another.

    Args:
        model: compiled functional `keras.Model` whose loss is built.
        y: targets, of a batch or of all samples.
    """
    for loss in compiled_losses(model):
        if loss.name != "sparse_categorical_crossentropy":
            continue
        classes = model.outputs[loss.index].shape[loss.options.get("axis", -1)]
        labels = loss.of(y)
        if labels is None or classes is None or not hasattr(labels, "shape"):
            continue
        labels = np.asarray(ops.convert_to_numpy(labels)).ravel()
        ignored = loss.options.get("ignore_class")
        if ignored is not None:
            labels = labels[labels != ignored]
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(
                f"Expected class numbers from 0 to {classes - 1} as the targets of "
                f"{model.output_names[loss.index]!r}. Received: {wrong[0]}"
            )


def check_class_weight(model, batch):
    """Raises `ValueError` where Keras cannot turn class weights into sample weights.

    Args:
        model: functional `keras.Model`.
        batch: tuple of arrays or tensors, the first one.
    """
    _, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if weight is not None:
        raise ValueError(
            "Expected class_weight or sample weights, not both. Received: class_weight "
            "and data with sample weights"
        )
    if tree.is_nested(y) or len(model.outputs) != 1:
        raise ValueError(
            "Expected class_weight with a single output. Received: "
            f"{len(model.outputs)} outputs and targets {_text(y)}"
        )
    most = 2  # (samples,) or (samples, classes)
    if len(getattr(y, "shape", ())) > most:
        raise ValueError(
            "Expected class_weight with one class for each sample; otherwise use "
            f"sample weights: data (x, y, sample_weight). Received: targets {_text(y)}"
        )


def complete_class_weight(model, weights):
    """Class weights with those of 1, which Keras looks up in vain in a `tf.data`.

    Args:
        model: functional `keras.Model` with one output.
        weights: dict, class -> weight.
    """
    classes = max(2, model.outputs[0].shape[-1] or 0, max(weights) + 1)
    return {number: float(weights.get(number, 1.0)) for number in range(classes)}


def as_in_fit(batch):
    """A batch with its arrays as `fit` hands them on.

    Args:
        batch: tuple of arrays or tensors, in any structure.
    """
    return tuple(tree.map_structure(_as_in_fit, part) for part in batch)


def _as_in_fit(leaf):
    """An array as `fit` hands it on: floats of the default precision."""
    if leaf is None or keras.backend.is_keras_tensor(leaf):
        return leaf
    if hasattr(leaf, "numpy") and keras.backend.backend() == "tensorflow":
        return leaf
    if not hasattr(leaf, "dtype") or isinstance(leaf, np.ndarray):
        leaf = np.asarray(leaf)
        floating = np.issubdtype(leaf.dtype, np.floating)
        return leaf.astype(keras.config.floatx()) if floating else leaf
    return ops.convert_to_tensor(leaf)


def _explain(loss, batch):
    broken = [name for name, part in zip(_PARTS, batch) if not _finite(part)]
    if broken:
        raise ValueError(
            f"Expected data without NaN and Inf, since the loss is {loss} with them; "
            f"they are in the first batch's {' and '.join(broken)}. "
            f"Received: {_text(batch)}"
        )
    warnings.warn(
        f"The loss of the model is {loss} on the first batch, although the data are "
        "finite: the weights or the loss are at fault.",
        stacklevel=2,
    )


def _finite(part):
    for leaf in tree.flatten(part):
        if leaf is not None and "float" in keras.backend.standardize_dtype(leaf.dtype):
            if not np.isfinite(ops.convert_to_numpy(ops.cast(leaf, "float32"))).all():
                return False
    return True


def _text(part):
    def one(leaf):
        if leaf is None:
            return "None"
        shape = tuple(getattr(leaf, "shape", ()))
        return f"{keras.backend.standardize_dtype(leaf.dtype)}{shape}"

    return str(tree.map_structure(one, part)).replace("'", "")
