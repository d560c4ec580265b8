import collections
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune
from tf_lossprune import report
from tf_lossprune.graph import groups, opening, tracing

X = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
Y = np.arange(32) % 4


def network():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = layers.Dropout(0.1)(x)
    x = layers.Conv2D(8, 3, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="last")(x), name="small")


@pytest.fixture
def read(monkeypatch):
    """Counts per model how often it is traced, and the analyses."""
    counts, models = collections.Counter(), []
    check_model, work = tracing.check_model, groups.Work

    def counted(model, *args, **kwargs):
        models.append(model)  # or another one may get its id
        counts[id(model)] += 1
        check_model(model, *args, **kwargs)

    def analyzed(*args):
        counts["analyses"] += 1
        return work(*args)

    for module in (tracing, opening):
        monkeypatch.setattr(module, "check_model", counted)
    monkeypatch.setattr(groups, "Work", analyzed)
    return counts


def taught():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"loss": loss, "epochs": 1, "batch_size": 8, "verbose": 0}
    return {**options, "optimizer": "sgd"}


def pruned(fitted=False):
    model = tf_lossprune.prune_model(
        network(), {"macs": 0.5}, method="loss" if fitted else "uniform"
    )
    if fitted:
        model.compile("sgd", "mse")
        model.fit(X, np.eye(4)[Y], epochs=4, batch_size=2, verbose=0)
        assert model.is_compact
    return model


ANALYSES = {
    "prune_model": (lambda m: tf_lossprune.prune_model(m, {"macs": 0.5}), 1),
    "prune_model_at_once": (
        lambda m: tf_lossprune.prune_model(
            m, {"macs": 0.7}, method="uniform", exclude="first"
        ),
        1,
    ),
    "inspect_model": (lambda m: tf_lossprune.inspect_model(m, exclude="first"), 1),
    "cost": (lambda m: tf_lossprune.cost(m, per_layer=True), 1),
    # The compact model is another, of which the costs are counted anew.
    "compress": (
        lambda m: tf_lossprune.compress(m, {"macs": 0.5}, (X, Y), **taught()),
        2,
    ),
    "compress_frontier": (
        lambda m: tf_lossprune.compress_frontier(m, [0.7, 0.5], (X, Y), **taught()),
        3,
    ),
}


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.filterwarnings("ignore:The search for the widths has")
def test_no_public_call_traces_a_model_twice(read, name):
    call, analyses = ANALYSES[name]
    model = network()
    read.clear()
    call(model)
    assert read.pop("analyses") == analyses
    assert read[id(model)] == 1
    assert set(read.values()) == {1}


@pytest.mark.parametrize("fitted", [False, True])
def test_stripping_traces_a_model_once_at_most(read, fitted):
    model = pruned(fitted)
    read.clear()
    tf_lossprune.strip_pruning(model)
    assert "analyses" not in read
    assert set(read.values()) <= {1}


def test_a_report_traces_no_model(read):
    model = network()
    _, result = tf_lossprune.compress(
        model, {"macs": 0.5}, (X, Y), method="uniform", **taught()
    )
    read.clear()
    report.report_data(result)
    assert not read


def test_loading_traces_the_template_once(read, tmp_path):
    model = pruned()
    model.save(tmp_path / "pruned.keras")
    read.clear()
    again = keras.models.load_model(tmp_path / "pruned.keras")
    assert read.pop("analyses") == 1
    assert set(read.values()) == {1}
    assert again.problem.space == model.problem.space
    np.testing.assert_allclose(again(X), model(X), rtol=1e-5, atol=1e-6)


def test_excluded_layers_of_equal_names_are_told_apart():
    """A layer of a nested model stays, another of the same name does not."""
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="same")])
    inputs = keras.Input((6,))
    x = layers.Dense(6, name="same")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(inner(layers.ReLU()(x))))
    stays = inner.layers[-1]
    pruned = tf_lossprune.prune_model(
        model, {"params": 0.8}, method="uniform", exclude=lambda layer: layer is stays
    )
    found = tf_lossprune.inspect_model(model, exclude=lambda layer: layer is stays)
    assert len(pruned.groups) == len(found.groups) == 1
    again = type(pruned).from_config(pruned.get_config())
    assert [g.name for g in again.groups] == [g.name for g in pruned.groups]


def chain(seed=1):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((12,), name="features")
    x = layers.Dense(16, activation="relu", name="wide")(inputs)
    x = layers.Dense(12, activation="relu", name="middle")(x)
    x = layers.Dense(8, activation="relu", name="narrow")(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x), name="chain")


def skipping():
    inputs = keras.Input((8,))
    x = layers.Dense(8, name="stem")(inputs)
    y = layers.Dense(16, activation="relu", name="up")(x)
    y = layers.Dense(16, activation="relu", name="more")(y)
    x = layers.Add()([x, layers.Dense(8, name="down")(y)])
    return keras.Model(inputs, layers.Dense(3)(x))


def shapes(model):
    return [tuple(w.shape) for w in model.weights]


@pytest.mark.parametrize("method", ["loss", "magnitude"])
def test_widths_by_hand_are_the_widths(method):
    """Also where they are multiples of nothing and fewer than `min_channels`."""
    pruned = tf_lossprune.prune_model(
        chain(), {"params": 0.6}, method=method, channel_multiple=4, min_channels=4
    )
    widths = {"wide": 7, "middle": 3, "narrow": 1}
    pruned.decide(widths)
    assert pruned.widths == widths
    compact = tf_lossprune.strip_pruning(pruned)
    assert [la.units for la in compact.layers[1:]] == [7, 3, 1, 3]
    assert compact.count_params() == 13 * 7 + 8 * 3 + 4 * 1 + 2 * 3


@pytest.mark.parametrize(
    "fixed", [{"middle": 3}, {"wide": 15}, {"wide": 5, "narrow": 8}]
)
@pytest.mark.parametrize("multiple", [1, "auto"])
def test_the_others_are_chosen_around_widths_by_hand(fixed, multiple):
    pruned = tf_lossprune.prune_model(
        chain(), {"params": 0.6}, method="magnitude", channel_multiple=multiple
    )
    pruned.decide(fixed)
    found = pruned.widths
    assert fixed.items() <= found.items()
    compact = tf_lossprune.strip_pruning(pruned)
    allowed = 0.6 * chain().count_params()
    assert compact.count_params() <= allowed
    steps = pruned.problem.steps
    for k, (name, width) in enumerate(found.items()):
        larger = {**found, name: width + steps[k]}
        if name not in fixed and larger[name] <= pruned.groups[k].size:
            with pytest.raises(tf_lossprune.InfeasibleBudgetError):
                pruned.decide(larger)
    pruned.decide()  # the method's own choice comes back
    assert compact.count_params() <= allowed and pruned.widths != found


def test_widths_by_hand_that_break_the_budget_are_an_error_with_figures():
    pruned = tf_lossprune.prune_model(chain(), {"params": 0.5}, method="uniform")
    before = pruned.widths
    for widths in (dict.fromkeys(before, 8), {"wide": 16, "middle": 12}):
        with pytest.raises(
            tf_lossprune.InfeasibleBudgetError, match=r"params=0\.\d+ .*Received: {"
        ):
            pruned.decide(widths)
    assert pruned.widths == before


WRONG = {
    "unknown": ({"wid": 4}, ValueError, "did you mean 'wide'"),
    "too_many": ({"wide": 17}, ValueError, "from 1 to 16"),
    "none": ({"wide": 0}, ValueError, "remove_blocks=True"),
    "negative": ({"wide": -1}, ValueError, "from 1 to 16"),
    "broken": ({"wide": 4.5}, TypeError, "'wide' as a whole number"),
    "a_float": ({"wide": 4.0}, TypeError, "'wide' as a whole number"),
    "bool": ({"wide": True}, TypeError, "'wide' as a whole number"),
    "text": ({"wide": "4"}, TypeError, "'wide' as a whole number"),
    "number": ({3: 4}, ValueError, "groups among"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_widths_by_hand(name):
    widths, error, message = WRONG[name]
    pruned = tf_lossprune.prune_model(chain(), {"params": 0.6}, method="uniform")
    with pytest.raises(error, match=f"(?s){message}.*Received: "):
        pruned.decide(widths)


def test_blocks_are_removed_and_kept_by_hand():
    def fresh():
        return tf_lossprune.prune_model(
            skipping(), {"params": 0.7}, method="uniform", remove_blocks=True
        )

    pruned = fresh()
    pruned.decide({"up": 0})
    assert (pruned.widths["up"], pruned.widths["more"]) == (0, 0)
    assert "more" not in [la.name for la in tf_lossprune.strip_pruning(pruned).layers]
    pruned = fresh()
    pruned.decide({"up": 1, "stem": 8})
    assert pruned.widths["up"] == 1 and pruned.widths["more"] >= 1
    tf_lossprune.strip_pruning(pruned)
    with pytest.raises(ValueError, match="one block.*Received: .*'more': 2"):
        fresh().decide({"up": 0, "more": 2})


def test_widths_go_through_json_to_a_fresh_model():
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    compact, result = tf_lossprune.compress(
        chain(), {"params": 0.5}, (x, np.arange(64) % 3), **{**taught(), "epochs": 4}
    )
    widths = json.loads(json.dumps(result.widths))
    assert widths == {g["name"]: g["kept"] for g in result.groups}
    pruned = tf_lossprune.prune_model(chain(seed=2), {"params": 0.5})
    pruned.decide(widths)
    found = tf_lossprune.strip_pruning(pruned)
    assert pruned.widths == result.widths and shapes(found) == shapes(compact)
    scratch = keras.models.clone_model(found)
    assert shapes(scratch) == shapes(compact)
    # Or all of `fit` trains the compact network.
    pruned.compile("sgd", "mse")
    pruned.fit(x, np.zeros((64, 3)), epochs=1, verbose=0)
    assert pruned.is_compact
    assert shapes(tf_lossprune.strip_pruning(pruned)) == shapes(compact)


@pytest.mark.parametrize("method", ["loss", "magnitude", "netadapt"])
def test_a_model_is_made_with_given_widths(method, tmp_path):
    widths = {"wide": 7, "middle": np.int64(3), "narrow": 1}
    pruned = tf_lossprune.prune_model(chain(), 1.0, method=method, widths=widths)
    assert pruned.phase == "fixed" and pruned.widths == widths
    pruned.decide()  # what the method finds is given, too
    assert pruned.widths == widths
    pruned.save(tmp_path / "pruned.keras")
    again = keras.models.load_model(tmp_path / "pruned.keras")
    again.decide()
    compact = tf_lossprune.strip_pruning(again)
    assert [la.units for la in compact.layers[1:]] == [7, 3, 1, 3]
    assert tf_lossprune.prune_model(chain(), 1.0, method="uniform").widths != widths


def test_of_given_widths_the_others_are_chosen_without_training_or_not_at_all():
    given = {"middle": 3}
    pruned = tf_lossprune.prune_model(
        chain(), {"params": 0.6}, method="magnitude", widths=given
    )
    by_hand = tf_lossprune.prune_model(chain(), {"params": 0.6}, method="magnitude")
    by_hand.decide(given)
    assert pruned.widths == by_hand.widths
    with pytest.raises(ValueError, match=r"'uniform'.*without \['wide', 'narrow'\]"):
        tf_lossprune.prune_model(chain(), 0.6, widths=given)
    with pytest.raises(TypeError, match="dict from names of groups.*Received: 'w"):
        tf_lossprune.prune_model(chain(), 0.6, widths="widths.json")
    with pytest.raises(ValueError, match="did you mean 'wide'"):
        tf_lossprune.prune_model(chain(), 0.6, widths={"wid": 3})
    with pytest.raises(tf_lossprune.InfeasibleBudgetError, match="Received: {'wide'"):
        tf_lossprune.prune_model(
            chain(),
            {"params": 0.5},
            method="uniform",
            widths={"wide": 16, "middle": 12},
        )


@pytest.mark.parametrize(
    "filters", ["^(wide|narrow)$", ["wide", "narrow"], lambda la: la.name != "middle"]
)
def test_filters_choose_the_layers_that_lose_channels(filters, tmp_path):
    found = tf_lossprune.inspect_model(chain(), filters=filters)
    assert found.pruned == ["wide", "narrow"]
    assert dict(found.skipped)["middle"] == "not among the filters (middle)"
    pruned = tf_lossprune.prune_model(chain(), 0.7, method="uniform", filters=filters)
    pruned.save(tmp_path / "pruned.keras")
    for model in (pruned, keras.models.load_model(tmp_path / "pruned.keras")):
        compact = tf_lossprune.strip_pruning(model)
        assert compact.get_layer("middle").units == 12
        assert compact.get_layer("wide").units < 16 and [*model.widths] == [
            "wide",
            "narrow",
        ]


def test_filters_and_exclude_go_together_and_what_is_shared_stays():
    both = tf_lossprune.inspect_model(
        chain(), exclude="narrow", filters=["wide", "narrow"]
    )
    assert both.pruned == ["wide"]
    # The normalisation and the sum make no channels of their own.
    inputs = keras.Input((8,))
    x = layers.BatchNormalization()(layers.Dense(6, name="first")(inputs))
    x = layers.Add()([x, layers.Dense(6, name="second")(x)])
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert tf_lossprune.inspect_model(model, filters="first|second").pruned
    alone = tf_lossprune.inspect_model(model, filters="first")
    assert not alone.pruned and "second" in dict(alone.skipped)["first"]
    with pytest.raises(ValueError, match="prunable channels.*Received: "):
        tf_lossprune.prune_model(
            chain(), 0.7, method="uniform", filters=lambda _: False
        )
    with pytest.raises(ValueError, match="in filters to match.*Received: 'nothing'"):
        tf_lossprune.prune_model(chain(), 0.7, filters="nothing")
    with pytest.raises(TypeError, match="Expected filters as .*Received: 3"):
        tf_lossprune.prune_model(chain(), 0.7, filters=3)


def test_filters_see_the_layers_inside_opened_ones():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.up, self.down = (
                layers.Dense(12, name="up"),
                layers.Dense(8, name="down"),
            )

        def call(self, x):
            return x + self.down(keras.ops.relu(self.up(x)))

    inputs = keras.Input((8,))
    x = layers.Dense(8, name="stem")(inputs)
    block = Block()
    model = keras.Model(inputs, layers.Dense(2)(block(x)))
    for filters in ("up$", lambda layer: layer is block.up):
        assert tf_lossprune.inspect_model(model, filters=filters).pruned == ["block.up"]
        pruned = tf_lossprune.prune_model(
            model, {"params": 0.8}, method="uniform", filters=filters
        )
        assert [*pruned.widths] == ["block.up"]


def test_blocks_that_are_given_as_gone_stay_gone():
    pruned = tf_lossprune.prune_model(
        skipping(), 1.0, method="uniform", remove_blocks=True, widths={"up": 0}
    )
    looser = pruned.with_budget(0.9)
    looser.decide()
    for model in (pruned, looser):
        assert (model.widths["up"], model.widths["more"]) == (0, 0)


@pytest.mark.parametrize(
    "method", ["loss", pytest.param("netadapt", marks=pytest.mark.long)]
)
def test_compress_trains_given_widths_from_the_first_step(method):
    x = np.random.default_rng(0).normal(size=(16, 12)).astype("float32")
    widths = {"wide": 5, "middle": 4, "narrow": 3}
    compact, result = tf_lossprune.compress(
        chain(), 0.9, (x, np.arange(16) % 3), method=method, widths=widths, **taught()
    )
    assert result.widths == widths and result.seconds["search"] == 0
    assert not result.history["search"] and len(result.history["fine_tune"]["loss"])
    assert compact.count_params() == 13 * 5 + 6 * 4 + 5 * 3 + 4 * 3


def test_names_of_groups_are_the_same_in_another_process():
    code = (
        "import keras, json, tf_lossprune\n"
        "from tests.test_problem import chain\n"
        "keras.layers.Dense(3)\n"
        "budget = {'params': 0.5}\n"
        "pruned = tf_lossprune.prune_model(chain(), budget, method='uniform')\n"
        "print(json.dumps(pruned.widths))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout
    pruned = tf_lossprune.prune_model(chain(), {"params": 0.5}, method="uniform")
    assert json.loads(out.splitlines()[-1]) == pruned.widths


def test_a_result_tells_kept_channels_and_scores():
    model = chain()
    compact, result = tf_lossprune.compress(
        model,
        {"params": 0.5},
        (np.zeros((16, 12), "float32"), np.zeros(16, int)),
        method="magnitude",
        importance="l1",
        **{**taught(), "optimizer": keras.optimizers.SGD(0.0)},
    )
    assert json.loads(json.dumps(result.to_dict()))["groups"] == result.groups
    wide = next(g for g in result.groups if g["name"] == "wide")
    assert len(wide["channels"]) == wide["kept"] and len(wide["scores"]) == 16
    kernel = np.asarray(model.get_layer("wide").get_weights()[0])
    np.testing.assert_allclose(
        compact.get_layer("wide").get_weights()[0],
        kernel[:, wide["channels"]],
        rtol=1e-6,
    )
    best = np.argsort(wide["scores"])[-wide["kept"] :]
    assert sorted(best.tolist()) == wide["channels"]


def test_wide_layers_have_wide_steps_which_bar_no_budget():
    inputs = keras.Input((64,))
    x = layers.Dense(512, activation="relu", name="wide")(inputs)
    model = keras.Model(inputs, layers.Dense(10)(x))
    more = tf_lossprune.prune_model(model, {"params": 0.63}, method="magnitude")
    assert more.widths == {"wide": 320}
    least = tf_lossprune.prune_model(model, {"params": 0.02}, method="magnitude")
    assert 8 <= least.widths["wide"] <= 10
    inputs = keras.Input((784,))
    x = layers.Dense(512, activation="relu", name="wide")(inputs)
    model = keras.Model(inputs, layers.Dense(10)(layers.Dense(512)(x)))
    for share in (0.01, 0.03, 0.1):
        for method in ("uniform", "magnitude"):
            found = tf_lossprune.prune_model(model, {"macs": share}, method=method)
            compact = tf_lossprune.strip_pruning(found, check=False)
            share_left = tf_lossprune.cost(compact)["macs"]
            share_left /= tf_lossprune.cost(model)["macs"]
            assert 0.95 * share < share_left <= share
