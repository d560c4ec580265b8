"""The picture of the widths."""

import builtins
import struct
import sys

import pytest

from tf_lossprune.report import plot_ratios

GROUPS = [
    {"name": "stem_conv", "kept": 8, "total": 16, "ratio": 0.5},
    {"name": "block_conv", "kept": 24, "total": 32},
]


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_writes_a_png_that_grows_with_the_groups(tmp_path):
    pytest.importorskip("matplotlib")
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    assert plot_ratios(GROUPS, small) == str(small)
    plot_ratios([{**GROUPS[0], "name": f"g{i}"} for i in range(12)], large)
    assert png_size(small)[0] == png_size(large)[0]
    assert png_size(small)[1] < png_size(large)[1]


def test_many_groups_stay_printable(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "many.png"
    plot_ratios([{**GROUPS[0], "name": f"g{i}"} for i in range(110)], path)
    assert png_size(path)[1] < 4000


def test_leaves_pyplot_alone(tmp_path):
    pytest.importorskip("matplotlib")
    loaded = "matplotlib.pyplot" in sys.modules
    plot_ratios(GROUPS, tmp_path / "ratios.svg")
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert "50" in (tmp_path / "ratios.svg").read_text()


def test_wrong_groups(tmp_path):
    with pytest.raises(ValueError, match="at least one group"):
        plot_ratios([], tmp_path / "ratios.png")


def test_a_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r"pip install tf_lossprune\[report\]"):
        plot_ratios(GROUPS, tmp_path / "ratios.png")
