"""Rules for layers of your own: what they do with channels.

`register_rule` registers a function of a `Context` and a layer; `docs/custom_layers.md`
explains how to write one, and `tf_lossprune.testing.check_rule` tests it.
"""

from tf_lossprune.graph.context import Context
from tf_lossprune.graph.rules import register_rule

__all__ = ["Context", "register_rule"]
