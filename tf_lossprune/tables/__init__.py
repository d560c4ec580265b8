"""Plain-text tables that several stages print; it imports nothing of the others."""

from tf_lossprune.tables.text import aligned, comparison_table, ratio_table, read_groups

__all__ = ["aligned", "comparison_table", "ratio_table", "read_groups"]
