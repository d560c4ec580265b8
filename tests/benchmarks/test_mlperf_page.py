"""The page of MLPerf Tiny says what the lines say."""

import pathlib

from benchmarks import common, mlperf_page

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES = ROOT / "benchmarks" / "results" / "mlperf_tiny.jsonl"


def test_the_page_is_made_of_the_lines():
    text = (ROOT / "docs" / "mlperf_tiny.md").read_text(encoding="utf-8")
    assert text == mlperf_page.page(common.read_lines(LINES))


def test_every_network_is_there_and_smaller_ones_cost_less():
    rows = [row for row in common.read_lines(LINES) if row["by"] == "macs"]
    for name in mlperf_page.NETWORKS:
        dense, half, quarter = (row for row in rows if row["name"] == name)
        assert (half["share"], quarter["share"]) == (0.5, 0.25)
        for cost in ("macs", "int8_bytes", "tflm_arena_bytes"):
            assert dense[cost] > half[cost] > quarter[cost], (name, cost)
        assert half["macs"] <= 0.5 * dense["macs"]
        assert quarter["macs"] <= 0.25 * dense["macs"]
