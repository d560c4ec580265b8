"""What the package takes from Keras without its promise, contract by contract.

Tried on the versions in `keras_internals.TRIED`, on TensorFlow and JAX. What fails here
with another Keras has to be mended in `keras_internals/`, and nowhere else.
"""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import layers, ops, tree
from keras.src.backend.common.masking import get_keras_mask

from tf_lossprune import keras_internals as internals

ROOT = pathlib.Path(internals.__file__).parents[2]
#: Names of Keras' own that no other file may use, in whatever way.
PRIVATE = (
    r"\._functional\b|_(in|out)puts_struct\b|_nodes_by_depth\b|_keras_history\b"
    r"|_(in|out)bound_nodes\b|_run_through_graph\b|_keras_mask\b|_flatten_layers\b"
    r"|\b_call_has_training_arg\b|_build_shapes_dict\b|\._clear_losses\b"
    r"|\b_tracker\b|\._layers\.|\._initialize\b|\._dtype_policy\b"
    r"|_(query|key|value|output|gate)_dense|_keep_axis\b|_symbolic_build\b"
    r"|\b_compile_config\b|\b_compile_loss\b|\b_fn_kwargs\b|_flat_losses\b"
    r"|_y_pred_build_structure\b|\b_loss_tracker\b|\._initial_epoch\b|\b_jax_state"
    r"|_update_metrics_variables\b|\._trainable_variables\b|\b_var_key\b"
    r"|_exclude_from_weight_decay\b|_resolve_auto_jit_compile\b"
    r"|_var_to_optimizer_idx|\b_self_|\._[rc]\b|\"_[rc]\"|\bOptimizerMap\b|keras\.src"
)
#: An attribute that an object keeps for itself, and those that are not of Keras.
FOREIGN = r"(?<!\bself)(?<!\bcls)\._[a-z]\w*"
NOT_OF_KERAS = r"\bos\._exit\b|\bsys\._getframe\b|\._get_function\("
#: Keras 2 and what builds on it, which change no more.
KERAS_2 = (
    "tf_lossprune/deploy/keras2_graph.py",
    "tf_lossprune/deploy/quantize.py",
)
FOLDERS = ("tf_lossprune", "benchmarks", "examples")


def network():
    inputs = keras.Input((8,), name="x")
    x = layers.Dense(6, activation="relu", name="first")(inputs)
    x = ops.multiply(x, 2.0)
    return keras.Model(inputs, layers.Dense(3, name="last")(x), name="net")


class Wrapper(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def compiled(optimizer="adam"):
    model = network()
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.random((4, 8)).astype("float32"), np.eye(3, dtype="float32")[
        [0, 1, 2, 0]
    ]


def test_no_other_file_uses_private_names():
    for path in [p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("tf_lossprune/keras_internals/") or name in KERAS_2:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            line = re.sub(NOT_OF_KERAS, "", line)
            found = re.search(f"{PRIVATE}|{FOREIGN}", line)
            assert not found, f"{name}:{number}: {line.strip()}"


class TestGraphs:
    def test_stock_operations(self):
        model = network()
        kinds = {type(op).__name__: type(op) for op in model.operations}
        assert internals.is_stock_operation(kinds["Multiply"])
        assert not internals.is_stock_operation(layers.Dense)
        assert internals.functional_class(model) is type(model)

    def test_a_sequential_model_has_a_functional_one(self):
        model = keras.Sequential([layers.Dense(2)])
        assert internals.functional_part(model) is None
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        assert isinstance(internals.functional_part(model), keras.Function)

    def test_structures_are_those_of_the_call(self):
        model = network()
        model = keras.Model({"x": model.input}, {"y": model.output})
        assert set(internals.input_structure(model)) == {"x"}
        assert set(internals.output_structure(model)) == {"y"}

    def test_nodes_come_behind_what_they_read(self):
        model, known = network(), set()
        names = []
        for node in internals.nodes_in_order(model):
            assert node.is_input or all(id(t) in known for t in node.input_tensors)
            known.update(id(t) for t in node.outputs)
            names += [] if node.is_input else [node.operation.name]
            args, _ = node.arguments.convert(lambda x: x)
            assert node.is_input or args
        assert (names[0], names[-1], len(names)) == ("first", "last", 3)

    def test_a_tensor_knows_where_it_comes_from(self):
        model = network()
        operation, node, output = internals.origin(model.outputs[0])
        assert (operation.name, output) == ("last", 0)
        (parent,) = internals.parents(operation, node)
        assert internals.origin(parent)[0].name != "last"
        assert internals.has_origin(parent)
        assert not internals.has_origin(np.zeros(3))

    def test_a_graph_is_run_with_other_operations(self):
        model, names = network(), []

        def call(operation, *args, **kwargs):
            names.append(operation.name)
            return operation(*args, **kwargs)

        x = ops.convert_to_tensor(data()[0])
        found = internals.run_graph(model, x, lambda op: op, call)
        np.testing.assert_allclose(found, model(x), rtol=1e-6)
        assert names[0] == "first" and names[-1] == "last"

    def test_masks_are_forgotten(self):
        x = layers.Masking()(keras.Input((3, 2)))
        assert get_keras_mask(x) is not None
        internals.forget_mask(x)
        assert get_keras_mask(x) is None

    def test_calls_are_told_instead_of_noted(self):
        seen = []
        dense = layers.Dense(3, name="dense")
        dense.build((None, 4))
        x = keras.KerasTensor((None, 4))

        def on_layer(layer, args, kwargs):
            seen.append((layer.name, len(args)))
            return layer.compute_output_spec(*args, **kwargs)

        def on_node(operation, args, kwargs, outputs):
            seen.append((type(operation).__name__, outputs.shape))

        before = keras.KerasTensor.__getitem__
        with internals.intercepted_calls(on_layer, on_node):
            ops.relu(dense(x))
            shapes = [y.shape for y in (x[None], x[1:], x[...])]
        assert shapes == [(1, None, 4), (None, 4), (None, 4)]
        assert before is keras.KerasTensor.__getitem__
        assert seen[:2] == [("dense", 1), ("Dense", (None, 3))]
        assert seen[2] == ("Relu", (None, 3))
        assert not dense._inbound_nodes and not internals.has_origin(x)
        y = keras.Input((4,))
        assert internals.has_origin(dense(y)) and len(seen) == 6

    def test_arguments_and_shapes_are_asked_for(self):
        x, dense = keras.KerasTensor((None, 4)), layers.Dense(3)

        def on_arguments(layer, args, kwargs):
            return (x,), kwargs

        def on_shape(tensor):
            return (7, *tensor.shape[1:])

        before = keras.layers.Layer.__call__, ops.shape
        with internals.intercepted_calls(
            lambda la, args, kwargs: la.compute_output_spec(*args, **kwargs),
            lambda *args: None,
            on_arguments,
            on_shape,
        ):
            y = dense(np.zeros((2, 4), "float32"))
            assert y.shape == (None, 3) and ops.shape(y) == (7, 3)
            assert ops.shape(np.zeros((2, 4))) == (2, 4)
        assert before == (keras.layers.Layer.__call__, ops.shape)
        internals.set_shape(y, (None, 5))
        assert y.shape == (None, 5)

    def test_outputs_are_told(self):
        model, seen = network(), []
        x = np.zeros((2, 8), "float32")
        with internals.told_outputs(lambda la, y: seen.append((la.name, y.shape[-1]))):
            model(x)
        model(x)
        assert seen == [("first", 6), ("last", 3), ("net", 3)]

    def test_draws_are_asked_for(self):
        before = keras.random.uniform
        seen = []

        def on_draw(name, args, kwargs):
            seen.append((name, args))
            return "drawn" if name == "uniform" else None

        with internals.intercepted_draws(on_draw):
            assert keras.random.uniform((2,)) == "drawn"
            assert keras.random.normal((2,)).shape == (2,)
            assert internals.random_function("uniform") is before
        assert seen == [("uniform", ((2,),)), ("normal", ((2,),))]
        assert keras.random.uniform is before

    @pytest.mark.parametrize("name", ["Tile", "Squeeze", "Reshape", "BroadcastTo"])
    def test_operations_by_name(self, name):
        assert internals.operation_class(name).__name__ == name

    def test_shapes_and_masks(self):
        model = network()
        dense = layers.Dense(3)
        assert not internals.shapes_at_build(dense)
        dense(np.zeros((2, 4), "float32"))
        assert [*internals.shapes_at_build(dense).values()] == [(2, 4)]
        assert internals.mask_of(model.inputs[0]) is None
        words = keras.Input((4,), dtype="int32")
        embedded = layers.Embedding(3, 2, mask_zero=True)(words)
        assert internals.mask_of(embedded).shape == (None, 4)
        assert internals.mask_of(internals.alias(embedded)).shape == (None, 4)

    def test_the_only_output_of_a_list_comes_bare(self):
        x = keras.Input((4,))
        y = layers.Dense(2)(x)
        for outputs in (y, [y]):
            model = keras.Model(x, outputs)
            spec = internals.spec_of_call(model, (keras.KerasTensor((3, 4)),))
            assert spec.shape == model(np.ones((3, 4))).shape == (3, 2)


class TestLayers:
    def test_all_layers_at_any_depth(self):
        inner = keras.Sequential([layers.Dense(2, name="a")])
        model = keras.Sequential([keras.Input((3,)), inner, layers.Dense(2, name="b")])
        found = internals.all_layers(model)
        assert {"a", "b", inner.name, model.name} <= {la.name for la in found}
        assert model not in internals.all_layers(model, include_self=False)

    def test_training_argument(self):
        assert internals.takes_training(layers.Dropout(0.5))
        assert not internals.takes_training(layers.Flatten())
        assert not internals.takes_training(network().operations[-2])

    def test_other_sizes_than_a_models_own(self):
        pooled = [keras.Input((8, 8, 2)), layers.GlobalAveragePooling2D()]
        inner = keras.Sequential([*pooled, layers.Dense(3)])
        inputs = keras.Input((8, 8, 2))
        inside = keras.Model(inputs, layers.Conv2D(2, 3, padding="same")(inputs))
        model = keras.Model(inputs, inner(inside(inputs)))
        model.input_spec = spec = model.input_spec
        x = np.ones((1, 5, 5, 2), "float32")
        for _ in range(2):
            with pytest.raises(ValueError):
                model(x)
            with internals.any_input_sizes(model):
                assert model(x).shape == (1, 3)
        assert model.input_spec[0] is spec[0]
        assert inside.input_spec[0].shape == (None, 8, 8, 2)

    def test_a_config_without_the_shapes_it_was_built_with(self):
        layer = layers.Dense(2)
        layer.build((None, 3))
        assert layer.get_build_config()
        internals.forget_build_shapes(layer)
        assert not layer.get_build_config()

    def test_another_layer_takes_an_inner_ones_place(self):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a")])
        wrapper = Wrapper(model)
        wrapper(np.ones((1, 3), "float32"))
        internals.untrack(wrapper, model)
        wrapper.inner = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
        assert [w.shape for w in wrapper.weights] == [(3, 1), (1,)]
        assert model not in internals.all_layers(wrapper)
        internals.untrack(wrapper, wrapper.inner)
        wrapper.inner = model  # as where what was put in its place is refused
        assert [w.shape for w in wrapper.weights] == [(3, 2), (2,)]

    def test_axes_with_statistics(self):
        layer = layers.Normalization(axis=-1)
        layer.build((None, 4, 3))
        assert tuple(internals.kept_axes(layer)) == (2,)

    def test_losses_are_dropped(self):
        layer = layers.Dense(2, activity_regularizer="l2")
        layer(np.ones((1, 2), "float32"))
        assert layer.losses
        internals.clear_losses(layer)
        assert not layer.losses

    def test_a_copy_owns_what_it_is_given(self):
        old = layers.Dense(2)
        old.build((None, 3))
        new = internals.blank(old)
        internals.begin_tracking(new)
        internals.forget_losses(new)
        copies = {id(v): internals.copy_variable(v, np.array(v)) for v in old.variables}
        pairs = list(internals.copy_tracked(old, new, lambda v: copies[id(v)]))
        assert len(pairs) == len(internals.tracked(old))
        assert internals.tracker_of(new) is not internals.tracker_of(old)
        for name, value in vars(old).items():
            if name not in internals.NOT_COPIED:
                vars(new)[name] = copies.get(id(value), value)
        assert "_kernel" in vars(new)
        internals.rename(old, new, "another")
        assert [v.path for v in new.variables] == ["another/kernel", "another/bias"]
        x = np.ones((1, 3), "float32")
        np.testing.assert_array_equal(new(x), old(x))
        new.kernel.assign(new.kernel + 1)
        assert not np.allclose(new(x), old(x))

    def test_copies_of_variables(self):
        variable = keras.Variable(np.zeros((2, 3)), dtype="float32", name="v")
        new = internals.copy_variable(variable, np.ones((1, 2)), shape=(1, 2))
        assert (new.shape, new.name) == ((1, 2), "v")
        np.testing.assert_array_equal(new, np.ones((1, 2)))
        half = internals.copy_variable(variable, np.zeros((2, 3)), dtype="float16")
        assert half.dtype == "float16" and variable.dtype == "float32"

    def test_policies(self):
        layer = layers.Dense(2)
        layer.build((None, 3))
        internals.set_policy(layer, "float64")
        assert layer.compute_dtype == "float64"

    def test_what_a_model_knows_of_its_training(self):
        model = compiled()
        model.fit(*data(), verbose=0)
        vars(model).update(internals.uncompiled())
        assert not model.compiled
        assert {"_losses", "_nodes"} <= internals.NOT_COPIED | internals.OF_THE_GRAPH
        assert internals.OF_TRAINING

    @pytest.mark.parametrize("trainable", [True, False])
    def test_layers_with_a_kernel(self, trainable):
        for make, shape in (
            (lambda: layers.Dense(3, use_bias=False), (2,)),
            (lambda: layers.Conv1D(3, 2, use_bias=False), (5, 2)),
            (lambda: layers.Conv2DTranspose(3, 2, use_bias=False), (5, 5, 2)),
            (lambda: layers.DepthwiseConv2D(2, use_bias=False), (5, 5, 2)),
            (lambda: layers.Embedding(4, 3), (2,)),
        ):
            wanted, x = make(), np.ones((4, *shape), "float32")
            expected = wanted(x)
            (kernel,) = wanted.weights
            kernel.trainable = trainable
            layer = internals.with_kernel(make(), kernel)
            np.testing.assert_allclose(layer(x), expected, 1e-6)
            assert layer.weights == [kernel] and layer.trainable == trainable

    def test_attention(self):
        layer = layers.MultiHeadAttention(2, 4)
        layer.build((None, 3, 8), (None, 3, 8))
        for name in (*internals.PROJECTIONS, internals.OUTPUT_PROJECTION):
            assert getattr(layer, name).kernel is not None
        assert internals.output_projection(layer).kernel.shape == (2, 4, 8)
        assert not hasattr(layer, internals.GATE_PROJECTION)
        x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
        heads = internals.without_output_projection(layer, x, x)
        assert tuple(heads.shape) == (2, 5, 2, 4)
        projected = internals.output_projection(layer)(heads)
        np.testing.assert_allclose(layer(x, x), projected, rtol=1e-5, atol=1e-6)


class TestTraining:
    def test_a_model_can_refuse_xla_where_nobody_asked_for_it(self):
        class Slow(internals.OwnCompilation, keras.Sequential):
            def wants_xla(self):
                return False

        model = Slow([keras.Input((2,)), layers.Dense(1)])
        for given, found in (("auto", False), (True, True), (False, False)):
            model.compile("sgd", "mse", jit_compile=given)
            assert model.jit_compile is found
        model.wants_xla = lambda: True
        model.compile("sgd", "mse")
        keras_own = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
        keras_own.compile("sgd", "mse")
        assert model.jit_compile is keras_own.jit_compile

    def test_variables_are_made_from_shapes(self):
        model = compiled()
        x, y = (keras.KerasTensor(a.shape, a.dtype) for a in data())
        internals.build_symbolically(model, (x, y))
        assert model.optimizer.built
        structure, parts = internals.loss_parts(model)
        ((path, loss, weight, _),) = parts
        assert len(tree.flatten(structure)) == 1 and path == () and weight is None
        assert internals.loss_function_options(loss)["from_logits"] is True
        assert internals.loss_tracker(model).name == "loss"

    def test_what_it_was_compiled_with(self):
        assert internals.compile_settings(network()) is None
        given = internals.compile_settings(compiled("sgd"))
        assert isinstance(given["optimizer"], keras.optimizers.SGD)

    def test_the_function_of_a_metric(self):
        metric = keras.metrics.MeanMetricWrapper(keras.losses.huber, delta=2.0)
        assert internals.wrapped_function(metric) == (
            keras.losses.huber,
            {"delta": 2.0},
        )

    def test_fit_starts_later(self):
        class Later(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                internals.start_at(self.model, 2)

        done = compiled().fit(*data(), epochs=3, callbacks=[Later()], verbose=0)
        assert done.epoch == [2]

    @pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's state")
    def test_metrics_of_a_step_without_state(self):
        model = compiled()
        model.fit(*data(), verbose=0)
        x, y = data()
        before = [ops.zeros_like(v.value) for v in model.metrics_variables]
        logs, after = internals.updated_jax_metrics(
            model, before, 2.5, x, y, model(x), None
        )
        assert float(logs["loss"]) == 2.5 and len(after) == len(before)

    @pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's state")
    def test_fit_goes_on_with_what_was_assigned(self):
        class Assign(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                self.model.jax_state_sync()
                self.model.get_layer("last").bias.assign([5.0, 5.0, 5.0])
                internals.refresh_jax_state(self.model)

        model = compiled(keras.optimizers.SGD(0.0))
        internals.refresh_jax_state(model)  # nothing runs
        model.fit(*data(), callbacks=[Assign()], verbose=0)
        np.testing.assert_array_equal(model.get_layer("last").bias, [5.0] * 3)


class TestOptimizers:
    def test_slots_are_in_the_order_of_the_weights(self):
        model = compiled(keras.optimizers.Adam(0.1))
        model.fit(*data(), verbose=0)
        optimizer = model.optimizer
        weights = internals.trained_variables(optimizer)
        assert [id(v) for v in weights] == [id(v) for v in model.trainable_variables]
        for kind, means in internals.MEANS_FROM_ZERO.items():
            if hasattr(keras.optimizers, kind):
                made = getattr(keras.optimizers, kind)(0.1)
                made.build(weights)
                for slot, decay in means.items():
                    slots = getattr(made, slot, None)
                    assert slots is None or len(slots) in (0, len(weights)), slot
                    assert isinstance(getattr(made, decay), float)
        assert int(internals.own_steps(optimizer).value) == 1
        names = internals.state_names(optimizer)
        assert {"_momentums", "_velocities"} <= set(names)
        for name in names:  # none of them holds the weights
            held = tree.flatten(getattr(optimizer, name))
            assert not {id(v) for v in held} & {id(v) for v in weights}, name

    def test_rates_and_schedules(self):
        rate = internals.rate_or_schedule(keras.optimizers.SGD(0.5))
        assert isinstance(rate, keras.Variable)
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
        found = internals.rate_or_schedule(keras.optimizers.SGD(schedule))
        assert found is schedule

    def test_weights_that_do_not_decay(self):
        model = network()
        optimizer = keras.optimizers.AdamW(0.1)
        assert internals.undecayed(optimizer) == ((), None)
        bias, kernel = model.get_layer("last").bias, model.get_layer("last").kernel
        optimizer.exclude_from_weight_decay([bias], ["first"])
        keys, pattern = internals.undecayed(optimizer)
        assert internals.key_of(optimizer, bias) in keys
        assert internals.key_of(optimizer, kernel) not in keys
        assert pattern.pattern == "first"

    @pytest.mark.skipif(
        not hasattr(keras.optimizers, "MultiOptimizer"), reason="newer than this Keras"
    )
    def test_optimizers_for_parts(self):
        weights = network().trainable_variables
        parts = [keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.1)]
        table = internals.optimizer_map(parts[0], {weights[0].path: parts[1]})
        optimizer = keras.optimizers.MultiOptimizer(table)
        optimizer.build(weights)
        chosen = [
            optimizer.optimizers[internals.part_of(optimizer, v)] for v in weights
        ]
        assert chosen == [parts[1], *[parts[0]] * (len(weights) - 1)]

    def test_factors_of_squares(self):
        weights = network().trainable_variables
        optimizer = keras.optimizers.Adafactor(0.1)
        optimizer.build(weights)
        rows, columns = internals.factored_squares(optimizer)
        assert (rows[0].shape, columns[0].shape) == ((8,), (6,))
        assert all(hasattr(optimizer, name) for name in internals.FACTORED_SQUARES)
