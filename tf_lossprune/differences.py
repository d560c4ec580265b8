"""How far the values that two networks compute lie apart."""

from typing import Any

import numpy as np
from keras import ops, tree


def relative_error(expected: Any, actual: Any, smallest: float = 1e-6) -> float:
    """The largest difference of two structures, relative to the largest value.

    Equal infinities are equal, and so are two NaN.

    Args:
        expected, actual: structures of arrays or tensors.
        smallest: what the largest value is taken for where it is smaller.

    Returns:
        Infinity where shapes, texts, or places of NaN and infinities differ.
    """
    worst = 0.0
    for a, b in zip(tree.flatten(expected), tree.flatten(actual), strict=True):
        a, b = as_array(a), as_array(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return np.inf
        same = a == b
        if a.dtype == np.float64:
            same |= np.isnan(a) & np.isnan(b)
        if same.all():
            continue
        if a.dtype != np.float64 or not np.isfinite([a[~same], b[~same]]).all():
            return np.inf
        largest = np.abs(a[np.isfinite(a)]).max(initial=smallest)
        worst = max(worst, np.abs(a - b)[~same].max() / largest)
    return float(worst)


def as_array(x: Any) -> np.ndarray:
    """An array of a tensor; floats of any precision become float64."""
    x = np.asarray(x if isinstance(x, np.ndarray) else ops.convert_to_numpy(x))
    if x.dtype.kind in "fV" or "float" in x.dtype.name:  # V: bfloat16 and its like
        return x.astype("float64")
    return x
