"""What pruning bought: tables and pictures."""

from tf_lossprune.report.frontier import frontier_table, plot_frontier
from tf_lossprune.report.plot import plot_ratios
from tf_lossprune.report.table import comparison_table, ratio_table

__all__ = [
    "comparison_table",
    "frontier_table",
    "plot_frontier",
    "plot_ratios",
    "ratio_table",
]
