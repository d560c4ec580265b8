"""tf_lossprune: the task loss chooses the widths, under a kept budget."""

import typing

from tf_lossprune import start
from tf_lossprune.version import __version__

if not start.STATE.postponed:  # the command line reads its arguments first
    from tf_lossprune import (
        callbacks,
        constraints,
        deploy,
        importances,
        methods,
        report,
        resources,
        rules,
        samplers,
        testing,
        thresholds,
        training,
    )
    from tf_lossprune.allocation import Schedule
    from tf_lossprune.budget import Budget
    from tf_lossprune.compression import CompressionResult, compress
    from tf_lossprune.deploy import compare, to_litert
    from tf_lossprune.errors import DifferenceError, InfeasibleBudgetError
    from tf_lossprune.frontier import compress_frontier
    from tf_lossprune.gates import Importance
    from tf_lossprune.inspection import inspect_model
    from tf_lossprune.prune import prune_model, strip_pruning
    from tf_lossprune.replacement import with_network
    from tf_lossprune.resources import cost
    from tf_lossprune.training import PrunedModel
elif not typing.TYPE_CHECKING:

    def __getattr__(name):
        """Makes the imports for whoever asks before the command line does."""
        if start.STATE.postponed and not name.startswith("_"):
            start.load()
            return getattr(start.package(), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Budget",
    "CompressionResult",
    "DifferenceError",
    "Importance",
    "InfeasibleBudgetError",
    "PrunedModel",
    "Schedule",
    "__version__",
    "callbacks",
    "compare",
    "compress",
    "compress_frontier",
    "constraints",
    "cost",
    "deploy",
    "importances",
    "inspect_model",
    "methods",
    "prune_model",
    "report",
    "resources",
    "rules",
    "samplers",
    "strip_pruning",
    "testing",
    "thresholds",
    "to_litert",
    "training",
    "with_network",
]


def __dir__():
    """What users need; the other modules are not theirs."""
    return __all__
