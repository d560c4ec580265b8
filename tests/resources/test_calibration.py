"""Budgets in milliseconds without a table; the clock is a formula."""

import json
import os
import pathlib
import re
import threading
from unittest import mock

import keras
import numpy as np
import pytest

import tf_lossprune
from tf_lossprune.graph import analyze
from tf_lossprune.resources import Latency, LatencyTable, cache_folder
from tf_lossprune.resources.latency_cache import keep_table
from tf_lossprune.resources.measurer import Measurer


@keras.saving.register_keras_serializable(package="test_calibration")
class Machine(Measurer):
    """Its files hold what the time follows from: a microsecond for each 100 weights."""

    verbose = False

    def __init__(self, name="this one"):
        self.name = name
        self.networks = self.operations = 0

    def get_config(self):
        return {"name": self.name}

    def convert(self, model, path, precision):
        self.networks += 1
        self._write(model, path)

    def convert_operation(self, model, path, precision):
        self.operations += 1
        self._write(model, path)

    def _write(self, model, path):
        elements = sum(np.prod(t.shape[1:]) for t in model.inputs + model.outputs)
        us = 1.0 + model.count_params() / 100 + elements / 1000
        pathlib.Path(path).write_text(str(us / 1000))

    def times(self, paths, threads, turns):
        times = [float(pathlib.Path(path).read_text()) for path in paths]
        return np.tile(times, (turns, 1))

    def device(self):
        return {"name": self.name}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def network(width=8):
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 3))
    y = keras.layers.Conv2D(width, 3, activation="relu", name="first")(x)
    y = keras.layers.Conv2D(width, 3, activation="relu", name="second")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, keras.layers.Dense(2, name="head")(y), name="small")


@pytest.fixture(scope="module")
def model():
    return network()


def bound(model, machine, exclude=None, **latency):
    """The resource of a budget, when a model has been wrapped."""
    latency = Latency(measurer=machine, **latency)
    return latency.bind(analyze(model, exclude))


def pruned_for(model, machine, share=0.5, **latency):
    budget = tf_lossprune.Budget(
        {"latency_ms": share}, [Latency(measurer=machine, **latency)]
    )
    return tf_lossprune.prune_model(model, budget, method="uniform")


def test_a_share_of_the_time_needs_no_table(model):
    machine = Machine()
    pruned = pruned_for(model, machine)
    assert machine.operations > 5
    assert 0.4 < max(pruned.usage().used.values()) <= 1.0
    compact = tf_lossprune.strip_pruning(pruned)
    latency = pruned.budget.resource("latency_ms")
    assert latency.measure(compact, pruned.channel_graph) <= 0.5 * latency.dense
    assert latency.table.device == {
        "name": "this one",
        "precision": "fp32",
        "threads": 1,
    }


def test_by_default_this_machine_is_timed_in_litert():
    latency = tf_lossprune.Budget({"latency_ms": 0.5}).resource("latency_ms")
    assert isinstance(latency, Latency) and latency.measured
    assert (latency.precision, latency.threads, latency.table) == ("fp32", 1, None)


def test_a_second_process_finds_the_table(model):
    bound(model, Machine())
    machine = Machine()
    bound(network(), machine)
    bound(model, machine, exclude="first")  # which needs no other probes
    assert machine.operations == 0


@pytest.mark.parametrize(
    "other",
    [
        {"machine": Machine("another one")},
        {"precision": "fp16"},
        {"threads": 2},
        {"model": 12},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_machine_precision_or_network_is_calibrated_anew(model, other):
    bound(model, Machine())
    first = next(cache_folder().iterdir()).read_text()
    if "model" in other:
        other = {"model": network(other["model"])}
    asked = {"model": model, "machine": Machine(), **other}
    bound(**asked)
    assert asked["machine"].operations > 5
    assert len([*cache_folder().iterdir()]) == 2
    assert first in [path.read_text() for path in cache_folder().iterdir()]


@pytest.mark.parametrize("fault", ["torn", "list", "foreign", "times", "folder", "old"])
def test_files_that_are_broken_or_foreign_are_made_anew(model, fault):
    bound(model, Machine())
    (path,) = cache_folder().iterdir()
    good = path.read_text()
    content = json.loads(good)
    if fault == "foreign":
        content["device"]["name"] = "another one"
    if fault == "times":
        content["rows"][3][-1] = None
    if fault == "old":
        content["version"] = 0
    texts = {"torn": good[:100], "list": "[1, 2]"}
    path.write_text(texts.get(fault, json.dumps(content)))
    if fault == "folder":
        path.unlink()
        path.mkdir()
        with pytest.warns(UserWarning, match="could not be saved.*XDG_CACHE_HOME"):
            bound(model, Machine())
        return
    machine = Machine()
    bound(model, machine)
    assert machine.operations > 5
    assert path.read_text() == good


def _write_often(path, number):
    table = LatencyTable([("overhead", 1, 1, 0, number)] * 500, {})
    for _ in range(30):
        keep_table(path, table)


def test_two_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "table.json"
    writers = [
        threading.Thread(target=_write_often, args=(path, number)) for number in (1, 2)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert len(json.loads(path.read_text())["rows"]) == 500
    assert [entry.name for entry in tmp_path.glob("*table*")] == ["table.json"]
    assert not list(tmp_path.glob("*.part"))


def test_the_folder_follows_xdg_cache_home(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "tf_lossprune" / "latency"
    for text in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", text)
        home = pathlib.Path(os.path.expanduser("~"))
        assert cache_folder() == home / ".cache" / "tf_lossprune" / "latency"


def test_progress_is_shown_and_says_where_the_table_is(model, capsys):
    machine = Machine()
    machine.verbose = True
    bound(model, machine)
    text = capsys.readouterr().out
    assert re.search(r"making files to time: (\d+)/\1 in ", text)
    assert re.search(r"Timing \d+ files: 5/5 in ", text)
    assert str(cache_folder()) in text
    machine.verbose = False
    bound(model, Machine("another one"))
    assert not capsys.readouterr().out


def test_compress_shows_as_much_as_verbose_says(model):
    seen = []

    def stop(channels, measurer, *others):
        seen.append(measurer.verbose)
        raise KeyboardInterrupt

    where = "tf_lossprune.resources.latency.table_of_this_machine"
    x = np.zeros((8, 6, 6, 3), "float32")
    for verbose in (0, 1):
        with mock.patch(where, stop), pytest.raises(KeyboardInterrupt):
            tf_lossprune.compress(
                model, {"latency_ms": 0.5}, epochs=0, calibration=x, verbose=verbose
            )
    assert seen == [False, True]


def test_sums_are_timed_in_int8_too():
    x = keras.Input((4, 4, 3))
    y = keras.layers.Conv2D(8, 1)(x)
    y = keras.layers.Add()([y, keras.layers.Conv2D(8, 3, padding="same")(y)])
    residual = keras.Model(x, keras.layers.Conv2D(2, 1)(y))
    latency = bound(residual, Machine(), precision="int8")
    assert '"Add"' in str([row[0] for row in latency.table.rows])
    assert latency.function(analyze(residual)).dense == pytest.approx(latency.dense)


def test_inspect_tells_milliseconds_without_a_table(model):
    latency = Latency(measurer=Machine())
    found = tf_lossprune.inspect_model(model, resources=["macs", latency])
    assert found.cost["latency_ms"] > 0
    assert 0 < found.smallest["latency_ms"] < 1


def test_what_cannot_be_timed_is_an_error_that_names_the_cure(model):
    class Broken(Machine):
        def convert_operation(self, model, path, precision):
            if "dense" in str(path):
                raise RuntimeError("no such kernel")
            super().convert_operation(model, path, precision)

    class Elsewhere(Machine):
        def missing(self):
            return "ai-edge-litert is not installed: pip install ai-edge-litert"

    with pytest.raises(ValueError, match="(?s)one by one in fp16.*no such kernel"):
        bound(model, Broken(), precision="fp16")
    with pytest.raises(ValueError, match="(?s)lossprune calibrate.*pip install ai"):
        bound(model, Elsewhere())
    x = keras.Input((None, None, 3))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(x))
    unsized = keras.Model(x, keras.layers.Dense(2)(y))
    with pytest.raises(ValueError, match="known sizes.*None"):
        bound(unsized, Machine())
    with pytest.raises(ValueError, match="precision.*int4"):
        Latency(precision="int4")
    table = LatencyTable([("overhead", 1, 1, 0, 1.0)], {"precision": "int8"})
    with pytest.raises(ValueError, match="precision='fp32'.*Received.*int8"):
        Latency(table, precision="fp32")


def test_a_saved_model_needs_no_calibration(model, tmp_path):
    machine = Machine()
    pruned = pruned_for(model, machine)
    pruned.save(tmp_path / "pruned.keras")
    again = keras.models.load_model(tmp_path / "pruned.keras")
    assert again.cost() == pruned.cost()
    assert again.budget.resource("latency_ms").table.rows
