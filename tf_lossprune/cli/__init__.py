"""The command line `lossprune`; `main` finds and runs the commands.

What is imported before the arguments are in order must not import Keras: `main`,
`command`, `commands`, `flags`, `checks`, `hooks`, `words` and `quiet`.
"""

from tf_lossprune.cli.main import main, run

__all__ = ["main", "run"]
