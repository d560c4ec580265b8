"""tf_lossprune: the task loss chooses the widths, under a kept budget."""

import typing

from tf_lossprune import start
from tf_lossprune.version import __version__

if not start.STATE.postponed:  # the command line reads its arguments first
    from tf_lossprune import constraints, importances, methods, samplers, thresholds
    from tf_lossprune.allocation import Schedule
    from tf_lossprune.budget import Budget
    from tf_lossprune.callbacks import (
        BudgetEarlyStopping,
        BudgetModelCheckpoint,
        PruningTensorBoard,
        SafeBackupAndRestore,
    )
    from tf_lossprune.compress import CompressionResult, compress
    from tf_lossprune.deploy import (
        calibrate_latency,
        compare,
        export_probes,
        from_tf_keras,
        to_litert,
    )
    from tf_lossprune.errors import DifferenceError, InfeasibleBudgetError
    from tf_lossprune.frontier import compress_frontier
    from tf_lossprune.gates import Importance
    from tf_lossprune.inspection import Inspection, inspect_model
    from tf_lossprune.prune import prune_model, strip_pruning
    from tf_lossprune.resources import (
        Latency,
        LatencyTable,
        LayerTable,
        PeakMemory,
        Resource,
        SizeBytes,
        cost,
        register_resource,
    )
    from tf_lossprune.rules import register_rule
    from tf_lossprune.testing import check_rule
    from tf_lossprune.training import PrunedModel, reestimate_statistics
elif not typing.TYPE_CHECKING:

    def __getattr__(name):
        """Makes the imports for whoever asks before the command line does."""
        if start.STATE.postponed and not name.startswith("_"):
            start.load()
            return getattr(start.package(), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Budget",
    "BudgetEarlyStopping",
    "BudgetModelCheckpoint",
    "CompressionResult",
    "DifferenceError",
    "Importance",
    "InfeasibleBudgetError",
    "Inspection",
    "Latency",
    "LatencyTable",
    "LayerTable",
    "PeakMemory",
    "PrunedModel",
    "PruningTensorBoard",
    "Resource",
    "SafeBackupAndRestore",
    "Schedule",
    "SizeBytes",
    "__version__",
    "calibrate_latency",
    "check_rule",
    "compare",
    "compress",
    "compress_frontier",
    "constraints",
    "cost",
    "export_probes",
    "from_tf_keras",
    "importances",
    "inspect_model",
    "methods",
    "prune_model",
    "reestimate_statistics",
    "register_resource",
    "register_rule",
    "samplers",
    "strip_pruning",
    "thresholds",
    "to_litert",
]
