"""Every Python block of the README and of docs/ is run as it is printed."""

import importlib.util

import pytest
from absl.testing import parameterized

from tests.docs import preludes
from tests.docs.blocks import ROOT, blocks_of, pages

# What the reader of a page has before its first block.
SHORT = {
    "docs/backends.md": preludes.compressed,
    "docs/cli.md": preludes.common,
    "docs/custom_layers.md": preludes.common,
    "docs/your_own_code.md": preludes.common,
    "docs/methods.md": preludes.common,
    "docs/recipes.md": preludes.common,
}
LONG = {
    "README.md": preludes.common,
    "docs/budgets.md": preludes.common,
    "docs/index.md": preludes.common,
    "docs/latency.md": preludes.latency,
    "docs/migration.md": preludes.keras2,
    "docs/quantization.md": preludes.keras2,
    **{
        path.relative_to(ROOT).as_posix(): preludes.recipes
        for path in (ROOT / "docs" / "recipes").glob("*.md")
    },
    "docs/recipes/own_loop.md": preludes.common,
    "docs/training.md": preludes.common,
}
# Reasons that a package may be missing; where it is installed, the block is run.
PACKAGES = {"needs keras-hub": "keras_hub"}


def is_run(block):
    if block.reason is None:
        return True
    package = PACKAGES.get(block.reason)
    return package is not None and importlib.util.find_spec(package) is not None


def run(page, prelude):
    """Runs the blocks of a page in order, in one namespace."""
    names = {"__name__": page, **prelude()}
    for block in blocks_of(page):
        if is_run(block):
            exec(block.compiled(), names)
    return names


class CodeBlocksTest(parameterized.TestCase):
    @pytest.fixture(autouse=True)
    def in_a_folder_of_its_own(self, tmp_path, monkeypatch):
        """The blocks write files."""
        monkeypatch.chdir(tmp_path)

    @parameterized.parameters(*SHORT.items())
    def test_page(self, page, prelude):
        run(page, prelude)

    @parameterized.parameters(*LONG.items())
    @pytest.mark.long
    def test_page_that_trains(self, page, prelude):
        run(page, prelude)

    def test_no_page_is_forgotten(self):
        with_code = {
            page
            for page in pages()
            # The notebooks are run by tests of their own.
            if blocks_of(page) and not page.startswith("docs/notebooks/")
        }
        self.assertEqual(with_code, {*SHORT, *LONG})
        self.assertEmpty(SHORT.keys() & LONG.keys())

    def test_every_fence_is_seen(self):
        for page in pages():
            with self.subTest(page):
                fences = (ROOT / page).read_text("utf-8").count("```python")
                self.assertLen(blocks_of(page), fences)

    def test_what_is_not_run_is_python_too(self):
        for page in pages():
            for block in blocks_of(page):
                block.compiled()
