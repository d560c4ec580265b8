"""What each kind of layer does with channels; one family of layers per file."""

from tf_lossprune.graph.rules import (  # noqa: F401  (they register themselves)
    attention,
    convolution,
    dense,
    elementwise,
    embedding,
    frozen,
    indexing,
    joining,
    merging,
    normalization,
    own_weight,
    pooling,
    recurrent,
    reduction,
    shape,
    spatial,
)
from tf_lossprune.graph.rules.registry import (
    EFFECTS,
    Rule,
    all_rules,
    find_rule,
    register_rule,
)

__all__ = ["EFFECTS", "Rule", "all_rules", "find_rule", "register_rule"]
