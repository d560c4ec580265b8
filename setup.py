"""For tools that ask for this file; everything is in pyproject.toml."""

import setuptools

setuptools.setup()
