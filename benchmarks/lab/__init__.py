"""Experiments behind the defaults of tf_lossprune; README.md says what they found."""
