"""Finds the Python blocks of a page, and what is said about them."""

import dataclasses
import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A block may be indented, as in a list, and the line before it may say why it is
# not run: <!-- not run: needs a phone -->
_BLOCK = re.compile(
    r"(?:^[ ]*<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r"^(?P<indent>[ ]*)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of Python.

    Attributes:
        page: string, the file's path from the root.
        line: int, the first line of the code.
        code: string.
        reason: why it is not run, or None.
    """

    page: str
    line: int
    code: str
    reason: str | None

    def compiled(self):
        """The code; an error in it, and `inspect`, find the page's lines."""
        filled = "\n" * (self.line - 1) + self.code
        return compile(filled, str(ROOT / self.page), "exec")


def pages():
    """Paths of all pages that users read, from the root."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks_of(page):
    """The blocks of a page, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            textwrap.dedent(match["code"]),
            match["reason"],
        )
        for match in _BLOCK.finditer(text)
    ]
