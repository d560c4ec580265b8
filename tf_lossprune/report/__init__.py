"""What pruning bought: tables, pictures and a page."""

from tf_lossprune.report.classes import class_figures
from tf_lossprune.report.costs import cost_table
from tf_lossprune.report.data import read_json, report_data, write_json
from tf_lossprune.report.frontier import frontier_table, plot_frontier
from tf_lossprune.report.frontier_page import networks_table
from tf_lossprune.report.html import html_report, write_frontier_html, write_html
from tf_lossprune.report.plot import plot_ratios
from tf_lossprune.report.training import TrainingLog
from tf_lossprune.tables import comparison_table, ratio_table

__all__ = [
    "TrainingLog",
    "class_figures",
    "comparison_table",
    "cost_table",
    "frontier_table",
    "html_report",
    "networks_table",
    "plot_frontier",
    "plot_ratios",
    "ratio_table",
    "read_json",
    "report_data",
    "write_frontier_html",
    "write_html",
    "write_json",
]
