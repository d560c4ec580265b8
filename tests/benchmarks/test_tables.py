"""The tables of the documentation are what the benchmarks' lines say."""

import pathlib

import pytest

from benchmarks import common, tables
from examples.flags import parse_budget

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    page
    for page in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "benchmarks").rglob("*.md")),
    ]
    if "<!-- TABLE " in page.read_text(encoding="utf-8")
]


def test_there_are_tables():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert tables.renewed(text, ROOT) == text, f"python -m benchmarks.tables {page}"


def test_every_delivered_network_keeps_its_budget():
    files = (ROOT / "benchmarks").rglob("results/*.jsonl")
    rows = [row for path in files for row in common.read_lines(path)]
    rows = [row for row in rows if isinstance(row.get("cell", {}).get("budget"), str)]
    assert len(rows) > 200
    for row in rows:
        for name, share in parse_budget(row["cell"]["budget"]).items():
            assert row["fraction"][name] <= share, row["cell"]


def test_tables_are_made_anew(tmp_path):
    for seed, final in ((0, 0.9), (1, 0.92)):
        row = {
            "cell": {"arch": "a", "method": "m", "budget": "macs=0.5", "seed": seed},
            "accuracy": {"final": final},
            "seconds": {"total": 60.0},
        }
        common.append_line(tmp_path / "runs.jsonl", row)
    options = "runs.jsonl --methods --where=arch=a"
    page = f"Before.\n<!-- TABLE {options} -->\nold\n<!-- /TABLE -->\nAfter.\n"
    new = tables.renewed(page, tmp_path)
    assert "old" not in new
    assert "| m | 91.00 ± 1.41 | 91.00 |" in new
    assert new.startswith("Before.\n") and new.endswith("\nAfter.\n")
    assert tables.renewed(new, tmp_path) == new
    timed = tables.renewed(
        page.replace("--methods", "--methods --shown=seconds"), tmp_path
    )
    assert "| m | 60 | 60 |" in timed


def test_lines_of_any_benchmark_are_rows(tmp_path):
    row = {"arch": "vit", "ratio": 0.9876, "quartiles": [0.951, 1.0], "other": 1}
    common.append_line(tmp_path / "steps.jsonl", row)
    found = tables.table("steps.jsonl --columns=arch,ratio,quartiles", tmp_path)
    assert found.splitlines()[0] == "| arch | ratio | quartiles |"
    assert found.splitlines()[-1] == "| vit | 0.988 | 0.951 to 1 |"
