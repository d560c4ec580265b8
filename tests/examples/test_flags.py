"""Tests of the flags that examples and benchmarks share."""

import keras
import pytest

import tf_lossprune
from examples import flags, models


@pytest.mark.parametrize(
    "text, expected",
    [
        ("macs=0.5", {"macs": 0.5}),
        ("macs=0.5,params=0.4", {"macs": 0.5, "params": 0.4}),
        (" macs = 1 , params=.25", {"macs": 1.0, "params": 0.25}),
    ],
)
def test_budget(text, expected):
    assert flags.parse_budget(text) == expected


@pytest.mark.parametrize(
    "text", ["", "macs", "macs=", "=0.5", "macs=half", "macs=0.5,macs=0.4", "macs=1,"]
)
def test_bad_budget(text):
    with pytest.raises(ValueError, match="Expected a budget.*Received: "):
        flags.parse_budget(text)


def test_format_budget_is_the_inverse():
    text = "macs=0.125,params=0.4"
    assert flags.format_budget(flags.parse_budget(text)) == text
    assert flags.format_budget({"params": 0.4, "macs": 0.125}) == text


def test_options():
    assert flags.parse_options("") == {}
    assert flags.parse_options('{"min_channels": 2}') == {"min_channels": 2}


def test_options_are_what_prune_model_takes():
    options = flags.parse_options(
        '{"schedule": {"class_name": "Schedule", "config": {"search": 0.3}},'
        ' "ratio_optimizer": {"class_name": "SGD"}, "importance": "l1"}'
    )
    model = models.digits_resnet(width=8)
    found = tf_lossprune.prune_model(model, {"macs": 0.5}, **options).options
    assert isinstance(found.schedule, tf_lossprune.Schedule)
    assert found.schedule.search == 0.3
    assert isinstance(found.make_ratio_optimizer(), keras.optimizers.SGD)
    assert isinstance(found.importance, tf_lossprune.importances.L1)


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "{",
        '{"schedule": {"class_name": "no_such_module.No"}}',
        '{"schedule": {"class_name": "json.No"}}',
    ],
)
def test_bad_options(text):
    with pytest.raises(ValueError, match="Received: "):
        flags.parse_options(text)


def test_methods_of_other_modules():
    text = '{"class_name": "benchmarks.lab.variants.Fisher", "config": {"rate": 0.005}}'
    method = flags.parse_method(text)
    assert method.get_config()["rate"] == 0.005
    assert flags.parse_method("loss") == "loss"
