r"""Runs the notebooks and writes them, with outputs, as pages of the documentation.

python -m examples.notebook_pages           # docs/notebooks/*.md; some minutes
"""

import os
import pathlib
import tempfile

from absl import app

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PAGES = ROOT / "docs" / "notebooks"
#: Says to the tests of the documentation that a block has been run.
RUN = "<!-- not run: the notebook is -->"
#: Of a longer output, so many lines at the beginning and at the end are shown.
LINES = 20
#: How a line begins that TensorFlow logs.
LOGGED = ("INFO:", "Saved artifact")


def page(notebook, name):
    """The text of a page.

    Args:
        notebook: dict, a notebook in the format of nbformat 4.
        name: string, its file's.

    Returns:
        Markdown.
    """
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"{RUN}\n```python\n{source}\n```")
        printed = "".join(map(text_of, cell["outputs"])).rstrip()
        if printed:
            parts.append(f"```text\n{shortened(printed)}\n```")
    parts.insert(1, f"This page is `examples/{name}` with its outputs.")
    return "\n\n".join(parts) + "\n"


def text_of(output):
    """What a cell has printed or returned, as text; no warnings."""
    if output["output_type"] == "stream":
        return "".join(output["text"]) if output["name"] == "stdout" else ""
    return "".join(output.get("data", {}).get("text/plain", "")) + "\n"


def shortened(text):
    """The beginning and the end of a long output, without what TensorFlow logs."""
    lines = [line for line in text.splitlines() if not line.startswith(LOGGED)]
    if len(lines) > 2 * LINES + 1:
        lines = [*lines[:LINES], "...", *lines[-LINES:]]
    return "\n".join(line.rstrip() for line in lines)


def executed(path):
    """A notebook with its outputs, run in a folder that goes away.

    Args:
        path: path of the notebook.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(
            notebook, timeout=3600, kernel_name="python3", resources=resources
        ).execute()
    return notebook


def main(argv):
    """Writes the pages of all notebooks, or of those that are named."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    PAGES.mkdir(exist_ok=True)
    for path in NOTEBOOKS:
        if not argv[1:] or path.stem in argv[1:]:
            text = page(executed(path), path.name)
            (PAGES / f"{path.stem}.md").write_text(text, encoding="utf-8")
            print(f"{path.stem}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    app.run(main)
