"""The command line `lossprune`; `main` finds and runs the commands."""

from tf_lossprune.cli.main import main, run

__all__ = ["main", "run"]
