"""`python -m tf_lossprune`, the same as `lossprune`."""

from tf_lossprune.cli import run

if __name__ == "__main__":
    run()
