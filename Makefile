# make demo         prune a small network and compare it before and after
# make test         the tests that run in minutes
# make test-jax     what runs on the JAX backend; several devices
# make test-long    all tests
# make test-nightly what is taken from Keras without its promise, on keras-nightly
# make lint         style, types and layers of the Python files, style of the Bazel files
# make docs         the documentation as pages, in out/site
# make wheel        build the wheel, and run the README's code from it alone
# make bench        the short benchmarks (step time, scaling)
# make clean        remove what the runs wrote, and the environment
#
# Needs make and Python 3.10 or later, nothing else: the first target that is made
# creates .venv. Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
BUILDIFIER := @bazel/buildifier@8.2.1

# The library is for Keras on TensorFlow; TensorFlow's start-up notes hide results.
export KERAS_BACKEND := tensorflow
export TF_CPP_MIN_LOG_LEVEL := 2

.DELETE_ON_ERROR:
.PHONY: help demo test test-jax test-long test-nightly lint docs wheel bench clean install

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Needs Python 3.10 or later: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -e '.[test,demo,report,benchmarks]'
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -e '.[micro,onnx,openvino,quantizer]'  # some have no wheel for every Python
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m examples.digits_demo

test: $(STAMP)
	$(BIN)/python -m pytest -q -n auto

# What else but LiteRT and TensorFlow's own runs on JAX. Left out for the time that JAX
# takes to compile them: large networks, random graphs, speed switches; and what only
# counts, such as the guarantee.
JAX_TESTS := tests/allocation tests/gates tests/methods tests/report \
  tests/graph/test_blocks.py tests/graph/test_groups.py tests/graph/test_opening.py \
  tests/graph/test_rules.py \
  tests/graph/test_structures.py tests/resources/test_model.py tests/resources/test_opaque.py \
  tests/resources/test_resources.py \
  tests/training/test_distillation.py tests/training/test_feed.py tests/training/test_forms_of_data.py tests/training/test_teaching.py \
  tests/training/test_keras_features.py tests/training/test_learning.py \
  tests/training/test_masked_losses.py \
  tests/training/test_not_finite.py tests/training/test_program.py \
  tests/training/test_repair.py \
  tests/training/test_resume.py tests/training/test_saving.py \
  tests/training/test_shrinking.py \
  tests/test_backup.py tests/test_bad_input.py tests/test_budget.py \
  tests/test_callbacks.py tests/test_compression.py tests/test_frontier.py \
  tests/test_keras_internals.py tests/test_refused_early.py

test-jax: export KERAS_BACKEND := jax
# Most of the time goes into compiling the same small programs in every process.
test-jax: export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/out/jax
test-jax: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
test-jax: $(STAMP)
	$(BIN)/python -m pytest -q -n auto -m 'long or not long' tests/backends
	$(BIN)/python -m pytest -q -n auto $(JAX_TESTS)

test-long: $(STAMP)
	$(BIN)/python -m pytest -q -n auto -m 'long or not long'
	@echo 'make test-nightly runs the contracts with Keras on its next version.'

# In an environment of its own, which is thrown away.
test-nightly:
	rm -rf out/nightly
	$(PYTHON) -m venv out/nightly
	out/nightly/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	out/nightly/bin/python -m pip uninstall --quiet --yes keras
	out/nightly/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --pre keras-nightly
	out/nightly/bin/python -m pytest -q tests/test_keras_internals.py
	KERAS_BACKEND=jax out/nightly/bin/python -m pytest -q tests/test_keras_internals.py
	rm -rf out/nightly

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@if command -v npx >/dev/null; then \
	  echo 'buildifier -mode=check -lint=warn BUILD MODULE.bazel'; \
	  npx --yes $(BUILDIFIER) -mode=check -lint=warn BUILD MODULE.bazel; \
	else echo 'npx is not installed: BUILD is not checked'; fi

$(VENV)/docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet -d out/site

# In an environment of its own, outside of the checkout: what a user gets.
wheel: $(STAMP)
	rm -rf out/wheel out/dist
	$(BIN)/python -m build --wheel --outdir out/dist .
	$(PYTHON) -m venv out/wheel/venv
	out/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check \
	  out/dist/*.whl
	out/wheel/venv/bin/python -m pip check
	cp tests/wheel_readme.py README.md out/wheel
	cd out/wheel && venv/bin/python wheel_readme.py README.md
	out/wheel/venv/bin/lossprune --version
	rm -rf out/wheel build

bench: $(STAMP)
	$(BIN)/python -m benchmarks.step_time --out=out/step_time.json
	$(BIN)/python -m benchmarks.scale --out=out/scale.json

clean:
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
