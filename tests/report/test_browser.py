"""The page in a real browser: it is drawn, and fits a desk and a phone."""

import html
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib

import pytest

from tests.report.sample import REPORT
from tf_lossprune import report


def browser(*arguments):
    """Runs Chromium without a window; returns what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    flags = ["--headless", "--hide-scrollbars", "--no-first-run", "--disable-sync"]
    flags += ["--disable-gpu", "--disable-quic", "--disable-component-update"]
    flags += ["--disable-background-networking", "--allow-file-access-from-files"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # the sandbox does not work for root
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [program, *flags, f"--user-data-dir={profile}", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels(path):
    """Rows of RGB(A) bytes of a PNG of 8 bits, and the bytes of a pixel."""
    data = path.read_bytes()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert depth == 8
    size = {2: 3, 6: 4}[kind]
    packed, place = b"", 8
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        if name == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += length + 12
    lines, stride = zlib.decompress(packed), width * size + 1
    return width, height, [lines[i * stride : (i + 1) * stride] for i in range(height)]


# In a frame of the width asked for, as windows cannot be as narrow as a phone.
PROBE = """
<iframe id="f" src="report.html" style="width:%dpx;height:900px;border:0"></iframe>
<pre id="found"></pre>
<script>
onload = () => {
  const page = document.getElementById("f").contentDocument;
  const root = page.documentElement;
  const all = (what, within = page) => [...within.querySelectorAll(what)];
  const box = element => element.getBoundingClientRect();
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const sticks_out = all("body *").filter(
    e => box(e).right > root.clientWidth + 1 || box(e).left < -1);
  const touching = all("figure.plot").flatMap(figure => {
    const texts = all("text, .legend li", figure);
    return texts.flatMap((one, i) => texts.slice(i + 1)
      .filter(other => meet(box(one), box(other)))
      .map(other => one.textContent + " / " + other.textContent));
  });
  document.getElementById("found").textContent = JSON.stringify({
    room: root.clientWidth, wide: root.scrollWidth, tall: root.scrollHeight,
    out: sticks_out.map(e => e.outerHTML.slice(0, 200)), touching,
    cut: all(".wide").filter(e => e.scrollWidth > e.clientWidth + 1)
      .map(e => e.textContent.slice(0, 200)),
    bars: all(".bar i").map(e => e.offsetWidth)});
}
</script>
"""


def with_long_names(value):
    """The same data, in which each name of a layer is a long one without a space."""
    if isinstance(value, dict):
        return {key: with_long_names(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_long_names(entry) for entry in value]
    return value + 40 * "_block" if str(value).startswith("conv_") else value


@pytest.mark.parametrize("width", [1280, 390])
def test_all_is_visible_and_nothing_touches(tmp_path, width):
    data = {**with_long_names(REPORT), "name": 30 * "Network"}
    data["frozen"] = [{"layer": 40 * "head_", "reason": "model output"}]
    report.write_html(tmp_path / "report.html", data)
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE % width)
    dom = browser("--virtual-time-budget=3000", "--dump-dom", probe.as_uri())
    found = json.loads(
        html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S).group(1))
    )
    assert found["room"] == width
    assert not found["out"]
    assert found["wide"] <= found["room"]
    assert not found["touching"]
    assert not found["cut"]
    assert found["tall"] > 1000
    # More channels, longer bars.
    assert found["bars"] == sorted(found["bars"]) and found["bars"][0] > 0


def test_is_drawn(tmp_path):
    report.write_html(tmp_path / "report.html", REPORT)
    picture = tmp_path / "page.png"
    url = (tmp_path / "report.html").as_uri()
    browser("--window-size=1280,1400", f"--screenshot={picture}", url)
    _, height, rows = pixels(picture)
    assert height == 1400
    # A blank page would have rows that are all alike.
    assert len(set(rows)) > height / 10
