"""The page: complete, self-contained, safe, and fit for a phone in a real browser."""

import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import zlib

import keras
import pytest

import tf_lossprune
from tf_lossprune import report
from tf_lossprune.compress import CompressionResult
from tf_lossprune.report import figures, svg

EVIL = '<script>alert("x")</script>&\''

REPORT = {
    "name": "ResNet-20",
    "method": "loss",
    "seed": 0,
    "created": "2026-11-22",
    "budget": {"macs": 0.5, "size_bytes": "80kB"},
    "limits": [
        {
            "resource": "macs",
            "dense": 2_000_000,
            "allowed": 1_000_000.0,
            "reached": 990_000,
            "kept": True,
        },
        {
            "resource": "size_bytes",
            "dense": 100_000,
            "allowed": 40_000,
            "reached": 45_000,
            "kept": False,
        },
    ],
    "dense": {
        "accuracy": 0.94,
        "loss": 0.2,
        "macs": 2_000_000,
        "tflite_bytes": 100_000,
    },
    "compact": {"accuracy": 0.93, "loss": 0.3, "macs": 990_000, "tflite_bytes": 45_000},
    "groups": [
        {
            "name": f"a_long_name_of_a_convolution_in_block_{k}",
            "kept": 8 + k,
            "total": 32,
            "ratio": (8 + k) / 32,
            "producers": [f"conv_{k}", f"shortcut_{k}"],
            "through": ["bn"],
            "consumers": ["next"],
        }
        for k in range(6)
    ],
    "layers": [
        {"name": f"conv_{k}", "kept": 8, "total": 32, "groups": [f"g{k % 4}"]}
        for k in range(20)
    ],
    "frozen": [{"layer": "head", "reason": "model output (head)"}],
    "training": [
        {"step": s, "part": "search", "macs": 1 - s / 40, "loss": 2 - s / 40}
        for s in range(1, 20)
    ]
    + [
        {"step": 20 + s, "part": "fine_tune", "accuracy": 0.9, "loss": 1.0}
        for s in range(20)
    ]
    + [{"step": 40, "part": "fine_tune", "val_accuracy": 0.93, "val_loss": 0.3}],
    "steps_per_epoch": 10,
    "seconds": {"search": 3.0, "fine_tune": 4000.0},
    "frontier": [
        {"budget": {"macs": 0.5}, "figures": {"macs": 990_000, "accuracy": 0.93}},
        {"budget": {"macs": 0.25}, "figures": {"macs": 480_000, "accuracy": 0.91}},
    ],
    "versions": {"keras": "3.15"},
}
HEADINGS = [
    "Before and after",
    "Learned widths",
    "Over training",
    "Frontier",
    "Left alone",
    "How it was made",
]


class Page(html.parser.HTMLParser):
    """Checks that tags are closed, and collects what the page holds."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text += data


def test_says_everything():
    page = Page(report.html_report(REPORT))
    for words in [
        *HEADINGS,
        "ResNet-20",
        "93.00 %",
        "-1.00 points",
        "0.495×",
        "45.0 kB",
        "broken",
        "a_long_name_of_a_convolution_in_block_0",
        "8 / 32 (25 %)",
        "conv_0, shortcut_0",
        "model output (head)",
        "67 min",
    ]:
        assert words in page.text, words
    assert page.tags.count("figure") == 5  # widths, three charts, frontier
    assert page.tags.count("polyline") >= 6


def test_needs_nothing_else():
    text = report.html_report(REPORT)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|//", text)
    assert not {"src", "href", "onload", "onclick"} & {
        name for name, _ in page.attributes
    }


def test_pictures_are_described():
    text = report.html_report(REPORT)
    for name in re.findall(r'role="img" aria-labelledby="(\w+)"', text):
        assert text.count(f'<title id="{name}">') == 1
    assert 'lang="en"' in text


def poisoned(value):
    """The same data with markup in every text and key that a user may choose."""
    if isinstance(value, dict):
        return {k: poisoned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v) for v in value]
    return EVIL if isinstance(value, str) else value


def test_texts_are_escaped():
    data = poisoned(
        {k: v for k, v in REPORT.items() if k not in ("limits", "training")}
    )
    data["dense"][EVIL] = data["compact"][EVIL] = 1.0
    data["versions"][EVIL] = EVIL
    data["budget"][EVIL] = 0.5
    page = Page(report.html_report(data, title=EVIL))
    assert "script" not in page.tags
    assert EVIL in page.text


@pytest.mark.parametrize("missing", sorted(set(REPORT) - {"dense", "compact"}))
def test_what_is_missing_is_left_out(missing):
    data = {key: value for key, value in REPORT.items() if key != missing}
    Page(report.html_report(data))


def test_little_is_enough():
    page = Page(report.html_report({"dense": {"macs": 0}, "compact": {"macs": 0}}))
    assert "Before and after" in page.text
    Page(report.html_report({"dense": {}, "compact": {}}))
    history = {"fine_tune": {"loss": [1.0, None, float("nan")]}}
    Page(report.html_report({"dense": {}, "compact": {}, "history": history}))


@pytest.mark.parametrize(
    ("path", "data", "error", "words"),
    [
        (3, REPORT, TypeError, "path ending in .html"),
        ("page.htm", REPORT, ValueError, "end in .html"),
        ("page.html", [], TypeError, "must be a dict"),
        ("page.html", {"dense": {}}, ValueError, "compact network"),
    ],
)
def test_wrong_arguments(tmp_path, path, data, error, words):
    path = path if path == 3 else tmp_path / path
    with pytest.raises(error, match=f"{words}.*Received: "):
        report.write_html(path, data)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.12, 0.97, [0, 0.25, 0.5, 0.75, 1.0]),
        (0, 100, [0, 25, 50, 75, 100]),
        (3.0, 3.0, [2.8, 2.9, 3.0, 3.1, 3.2]),
        (0, 0, [-0.5, -0.25, 0, 0.25, 0.5]),
    ],
)
def test_ticks_are_round_and_enclose(low, high, ticks):
    found = svg.nice_ticks(low, high)
    assert found == pytest.approx(ticks)
    assert found[0] <= low and high <= found[-1]


def test_figures():
    assert figures.text_of("macs", 40_812_544) == "40.81 M"
    assert figures.text_of("peak_memory_bytes", 12) == "12 B"
    assert figures.text_of("val_accuracy", 0.5) == "50.00 %"
    assert figures.text_of("macs", float("nan")) == "-"
    assert figures.change_of("macs", 0, 1) == "-"
    assert figures.change_of("loss", 1.0, 0.5) == "-0.5"
    assert figures.common({"loss": 1, "macs": 2, "auc": 1}, {"macs": 1, "auc": 1}) == [
        "auc",
        "macs",
    ]


def test_data_of_a_model(tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, name="first")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", name="second")(x) + x
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="head")(x))
    pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="uniform")
    compact = tf_lossprune.strip_pruning(pruned)
    result = CompressionResult.of(
        pruned.budget,
        pruned.kept_channels(),
        tf_lossprune.cost(model),
        {**tf_lossprune.cost(compact), "loss": float("nan")},
        {"search": {}, "fine_tune": {"loss": [float("inf"), 1.0]}},
        {"search": 1.0},
    )
    data = report.report_data(model, result, name="small", frontier=[result])
    path = report.write_json(tmp_path / "out" / "report.json", data)
    assert "NaN" not in (tmp_path / "out" / "report.json").read_text()
    again = report.read_json(path)
    assert again == json.loads(json.dumps(data))
    assert [layer["name"] for layer in again["layers"]] == ["first", "second"]
    assert again["groups"][0]["producers"] == ["first", "second"]
    assert again["frozen"] == [{"layer": "head", "reason": "model output (head)"}]
    assert again["limits"][0]["kept"] is True
    page = report.write_html(tmp_path / "report.html", again)
    assert "2 layers keep the same channels" in open(page).read()


def test_no_report(tmp_path):
    for text in ("{", "[]", '{"dense": {}}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(ValueError, match="Expected a report.json.*Received: "):
            report.read_json(tmp_path / "report.json")
    with pytest.raises(ValueError, match="Expected a report.json"):
        report.read_json(tmp_path / "none.json")


# In a browser.


def browser(*arguments):
    """Runs Chromium without a window; returns what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    flags = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # the sandbox does not work for root
    done = subprocess.run(
        [program, *flags, *arguments], capture_output=True, text=True, timeout=120
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


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(tmp_path, width):
    """The page is drawn, and nothing sticks out to the right.

    A frame of the width asked for, as windows cannot be as narrow as a phone.
    """
    report.write_html(tmp_path / "report.html", REPORT)
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<iframe id="f" src="report.html" style="width:{width}px;height:900px;'
        'border:0"></iframe><pre id="found"></pre><script>onload = () => {'
        'const page = document.getElementById("f").contentDocument, root = '
        "page.documentElement; const out = [...page.querySelectorAll('body *')]"
        ".filter(e => e.getBoundingClientRect().right > root.clientWidth + 1 && "
        "!e.closest('svg') && !e.closest('.wide')).map(e => e.className || e.tagName);"
        'document.getElementById("found").textContent = JSON.stringify({wide: '
        "root.scrollWidth, room: root.clientWidth, tall: root.scrollHeight, out, "
        "bars: [...page.querySelectorAll('.bar i')].map(e => e.offsetWidth)})}"
        "</script>"
    )
    dom = browser(
        "--allow-file-access-from-files",
        "--virtual-time-budget=3000",
        "--dump-dom",
        probe.as_uri(),
    )
    found = json.loads(
        html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S).group(1))
    )
    assert found["room"] == width
    assert found["wide"] <= found["room"], found["out"]
    assert not found["out"]
    assert found["tall"] > 1000
    # More channels, longer bars.
    assert found["bars"] == sorted(found["bars"]) and found["bars"][0] > 0

    picture = tmp_path / "page.png"
    url = (tmp_path / "report.html").as_uri()
    browser(f"--window-size={width},1400", f"--screenshot={picture}", url)
    _, height, rows = pixels(picture)
    assert height == 1400
    # A blank page would have rows that are all alike.
    assert len(set(rows)) > height / 10
