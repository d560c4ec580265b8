"""The page: complete, self-contained, and safe whatever names the data holds."""

import copy
import html.parser
import json
import pathlib
import re
from unittest import mock

import jinja2
import keras
import pytest

import tf_lossprune
from tests.report.sample import REPORT
from tf_lossprune import report
from tf_lossprune.compression import CompressionResult
from tf_lossprune.report import geometry
from tf_lossprune.report import html as html_module
from tf_lossprune.report.curves import charts
from tf_lossprune.report.page import verdict
from tf_lossprune.tables import figures

EVIL = '<script>alert("x")</script>&\'{{ 7001 * 7 }}'

HEADINGS = [
    "Before and after",
    "Learned widths",
    "Accuracy per class",
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
        "exceeded",
        "a_long_name_of_a_convolution_in_block_0",
        "8 / 32 (25 %)",
        "conv_0, shortcut_0",
        "model output (head)",
        "67 min",
        "int8 accuracy",
        "time per sample (Some Processor 9000 @ 3.00GHz, 1 thread)",
        "Compared with uniform widths at the same budget",
        "Costs of each layer",
        "0 ankle boot",
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
    labels = re.findall(r'role="img"\s+aria-label="([^"]+)"', text)
    assert len(labels) == len(set(labels)) == 5
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
    assert EVIL in page.text and "49007" not in page.text


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


NAMES = [
    "a<b",
    "<i>",
    "R&D &amp; more",
    'say "hi" it\'s',
    "</style></svg></title>",
    "{{ title }}{% raw %}",
    "畳み込み/конв/café/\U0001f600",
    "block_" * 80,
    "",
]


def named(name):
    data = copy.deepcopy(REPORT)
    data["name"] = data["data"] = name
    data["groups"][0].update(name=name, producers=[name], through=[name, name])
    data["layers"][0].update(name=name, groups=[name])
    data["layers"][2].update(name=name, groups=[name])
    data["frozen"] = [{"layer": name, "reason": f"output ({name})"}]
    return Page(report.html_report(data))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(name):
    page = named(name)
    assert page.tags == named("plain").tags
    for words in (name, f"{name}, {name}", f"output ({name})", f"{name}: 8 of 32"):
        assert words in page.text


def test_a_folder_whose_name_is_no_text(tmp_path):
    folder = b"caf\xe9".decode("utf-8", "surrogateescape")
    path = report.write_html(tmp_path / "report.html", {**REPORT, "data": folder})
    assert "caf\\udce9" in pathlib.Path(path).read_text("utf-8")


@pytest.mark.parametrize(
    "history",
    [
        None,
        {},
        {"search": {}, "fine_tune": {}},
        {"search": None},
        {"fine_tune": {"loss": []}},
        {"fine_tune": {"loss": [float("nan"), None]}},
        {"search": {"loss": [float("inf")], "macs": [float("nan")]}},
    ],
)
def test_empty_and_broken_histories_draw_nothing(history):
    data = {**REPORT, "training": [], "history": history, "frontier": []}
    page = Page(report.html_report(data))
    assert "polyline" not in page.tags
    assert "nan" not in page.text and "inf" not in page.text


def test_figures_that_are_no_numbers():
    data = copy.deepcopy(REPORT)
    for side in ("dense", "compact"):
        data[side].update(accuracy=float("nan"), auc=None, note="text", f1=True)
    data["limits"][0].update(allowed=None, reached=float("nan"), kept=None)
    data["frontier"][0]["figures"] = {"macs": None}
    data["training"][3]["loss"] = float("inf")
    data["seconds"]["search"] = None
    page = Page(report.html_report(data))
    assert "nan" not in page.text and "inf" not in page.text
    assert "0.495×" in page.text


def test_one_sentence_of_verdict():
    def say(dense, compact, **more):
        return verdict({"dense": dense, "compact": compact, **more})

    assert verdict(REPORT) == (
        "Accuracy falls from 94.00 % to 93.00 % (-1.00 points) at 49.5 % of the MACs "
        "and 45.0 % of the .tflite file; the budget on .tflite file is exceeded."
    )
    met = [{"resource": "params", "kept": True}]
    figures = {"macs": 100, "params": 10}
    compact = {"macs": 80, "params": 5}
    assert say(figures, compact, budget={"params": 0.5}, limits=met) == (
        "The compact network has 50.0 % of the parameters; the budget is met."
    )
    assert say({"loss": 1.0, "macs": 100}, {"loss": 1.5, "macs": 50}) == (
        "Loss rises from 1 to 1.5 (+0.5) at 50.0 % of the MACs."
    )
    assert say({"accuracy": 0.9}, {"accuracy": 0.9}) == "Accuracy stays at 90.00 %."
    assert say({"val_AUC": 0.5}, {"val_AUC": 0.6}).startswith("Val AUC rises from")
    assert say({}, {}, limits=met) == ""


def test_uniform_widths_stand_beside_ours():
    page = report.html_report(REPORT)
    assert page.count('<b style="left:50.0%">') == 6
    assert "995 k" in page
    without = report.html_report({**REPORT, "uniform": {}})
    assert "uniform" not in without and "left:50" not in without


def test_of_many_classes_those_that_lost_the_most():
    count = 30
    classes = {"names": [f"c{k}" for k in range(count)], "count": [50] * count}
    classes |= {"dense": [50] * count, "compact": [*range(20, 20 + count)]}
    page = Page(report.html_report({**REPORT, "classes": classes}))
    assert "c0" in page.text and "c29" not in page.text
    assert "10 more are in report.json" in page.text


def test_a_page_of_a_frontier(tmp_path):
    reports = [
        {
            **REPORT,
            "budget": {"macs": share},
            "compact": {**REPORT["compact"], "macs": 2e6 * share, "accuracy": accuracy},
            "shared_training": True,
        }
        for share, accuracy in ((0.25, 0.91), (0.5, 0.93))
    ]
    path = tmp_path / "new" / "frontier.html"
    assert report.write_frontier_html(path, reports, links=["b.html", "a.html"])
    text = path.read_text()
    page = Page(text)
    for words in (
        "Accuracy: 94.00 % dense, 93.00 % at 50.0 % of the MACs, 91.00 % at 25.0 %",
        "Channels of each group",
        "trained together",
        "a_long_name_of_a_convolution_in_block_5",
    ):
        assert words in page.text
    assert text.index("a.html") < text.index("b.html")  # the loosest budget first
    table = report.networks_table(reports).splitlines()
    assert table[1].startswith("dense") and "50.0 %" in table[2]
    Page(report.html_report(reports[0]))
    evil = [poisoned(entry) for entry in reports]
    report.write_frontier_html(path, evil, title=EVIL, links=[EVIL, EVIL])
    assert "script" not in Page(path.read_text()).tags
    with pytest.raises(ValueError, match="at least one report"):
        report.write_frontier_html(path, [])
    alone = {"dense": {}, "compact": {}}
    report.write_frontier_html(path, [alone])
    Page(path.read_text())


def test_the_frontier_says_which_network_is_which():
    page = Page(report.html_report(REPORT))
    for words in (
        "compact networks",
        "the network of this page",
        "dense network",
        "compact networks: 91 %",
        "the network of this page: 93 %",
    ):
        assert words in page.text


def test_the_curve_ends_at_the_cost_of_this_network():
    """Of a frontier, the search goes on to tighter budgets than this network's."""
    points = [
        {"step": s, "part": "search", "macs": 1 - s / 10, "loss": 1.0}
        for s in range(1, 10)
    ]
    points.append({"step": 20, "part": "fine_tune", "loss": 1.0})
    data = {**REPORT, "training": points, "shared_training": True}
    ((name, chart), *_) = charts(data)
    curve = chart["series"][0]["path"].split()
    heights = [float(place.split(",")[1]) for place in curve]
    assert name == "Resources"
    assert heights[-1] == heights[-2] == pytest.approx(chart["height"] * 0.505)
    assert max(heights) < chart["height"] * 0.61  # 10 % would be far below
    assert "trained together" in Page(report.html_report(data)).text


def test_the_templates_escape_and_miss_nothing():
    environment = html_module._template("report.html.j2").environment
    assert environment.autoescape is True
    assert environment.undefined is jinja2.StrictUndefined
    names = environment.list_templates()
    pages = ["base.html.j2", "frontier.html.j2", "macros.html.j2", "report.html.j2"]
    assert names == [*pages, "style.css"]
    for name in names:
        assert "|safe" not in environment.loader.get_source(environment, name)[0]


@pytest.mark.parametrize(
    ("path", "data", "error", "words"),
    [
        (3, REPORT, TypeError, "path ending in .html"),
        ("page.htm", REPORT, ValueError, "ending in .html"),
        ("page.html", [], TypeError, "report as a dict"),
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
    found = geometry.nice_ticks(low, high)
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
    run = mock.Mock(
        distillation=None,
        dense_figures=tf_lossprune.cost(model),
        figures=lambda model, costs: {**costs, "loss": float("nan")},
    )
    result = CompressionResult.of(
        run,
        pruned,
        compact,
        {"search": {}, "fine_tune": {"loss": [float("inf"), 1.0]}},
        {"search": 1.0},
    )
    data = report.report_data(result, name="small", frontier=[result])
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
