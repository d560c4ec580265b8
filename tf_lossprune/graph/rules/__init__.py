"""What each kind of layer does with channels; one family of layers per file."""

import keras

from tf_lossprune.graph.rules import (  # noqa: F401  (they register themselves)
    attention,
    convolution,
    dense,
    einsum_dense,
    elementwise,
    embedding,
    frozen,
    indexing,
    joining,
    merging,
    normalization,
    own_weight,
    pooling,
    products,
    recurrent,
    reduction,
    shape,
    spatial,
    spectral,
)
from tf_lossprune.graph.rules.registry import (
    EFFECTS,
    Rule,
    all_rules,
    find_rule,
    register_rule,
)

#: The rule of what leaves each element where it is.
PASSING = all_rules()[keras.layers.Identity]

__all__ = ["EFFECTS", "PASSING", "Rule", "all_rules", "find_rule", "register_rule"]
