"""Installation of tf_lossprune."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent


def read_version():
    """Reads the version without importing the package and what it needs."""
    text = (ROOT / "tf_lossprune" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


JAX = ["jax>=0.4.34"]
TEST = [
    *JAX,
    "build>=1.2",
    "hypothesis>=6.100",
    "import-linter>=2.12",
    "ipykernel>=6.29",
    "keras-hub>=0.18",
    "matplotlib>=3.8",
    "mypy>=1.10",
    "nbclient>=0.10",
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "tensorboard>=2.16",
    "scikit-learn>=1.4",
    "scipy>=1.11",
]
REPORT = ["matplotlib>=3.8"]
DEMO = ["matplotlib>=3.8", "scikit-learn>=1.4"]

setuptools.setup(
    name="tf_lossprune",
    version=read_version(),
    description=(
        "Structured pruning of Keras models to a budget, "
        "with layer widths learned from the task loss"
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["tf_lossprune", "tf_lossprune.*"]),
    # Said outright, an editable install puts the whole checkout on the path, so that
    # the examples can be run from anywhere.
    package_dir={"": "."},
    package_data={
        "tf_lossprune": ["py.typed"],
        "tf_lossprune.report": ["templates/*"],
    },
    python_requires=">=3.10",
    entry_points={"console_scripts": ["lossprune = tf_lossprune.cli:run"]},
    install_requires=[
        "absl-py>=1.4",
        "ai-edge-litert>=1.2",
        "jinja2>=3.1",
        "keras>=3.12,<4",
        "numpy>=1.26",
        "tensorflow>=2.18,<3",
        "tensorflow-model-optimization>=0.8",
        "tf_keras>=2.18,<3",
    ],
    extras_require={
        "test": TEST,
        "jax": JAX,
        "report": REPORT,
        "demo": DEMO,
        "benchmarks": DEMO,
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.25"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    keywords="keras tensorflow pruning compression litert tflite",
)
