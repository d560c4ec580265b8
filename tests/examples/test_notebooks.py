"""The notebooks run from top to bottom, and hold no output of an earlier run."""

import json
import pathlib

import pytest

from examples.notebook_pages import page

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert not cell["outputs"] and cell["execution_count"] is None
        compile("".join(cell["source"]), path.name, "exec")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_of_the_site_shows_this_notebook(path):
    """The same cells, with outputs: python -m examples.notebook_pages."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    shown = (ROOT / "docs" / "notebooks" / f"{path.stem}.md").read_text("utf-8")
    place = 0
    for cell in notebook["cells"]:
        place = shown.index("".join(cell["source"]).rstrip(), place)
    assert shown.count("```text") > 2
    notebook["cells"][1]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": ["one\n"] * 99},
        {"output_type": "stream", "name": "stderr", "text": ["warning"]},
        {"output_type": "execute_result", "data": {"text/plain": ["(3,)"]}},
    ]
    text = page(notebook, path.name)
    assert "...\n" in text and "(3,)" in text and "warning" not in text


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    # The kernel is a process of its own, which inherits this.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("EPOCHS", "3")
    monkeypatch.setenv("IMAGES", "2000")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises at the first cell that fails
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert "compact / dense" in text
