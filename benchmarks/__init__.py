"""Benchmarks of tf_lossprune."""
