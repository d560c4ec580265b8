"""What each kind of layer does with channels; one family of layers per file."""

from tf_lossprune.graph.rules import (  # noqa: F401  (they register themselves)
    convolution,
    dense,
    elementwise,
    merging,
    movement,
    normalization,
    pooling,
)
from tf_lossprune.graph.rules.registry import find_rule, register_rule

__all__ = ["find_rule", "register_rule"]
