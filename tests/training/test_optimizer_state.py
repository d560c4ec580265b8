"""The optimizer after a cut: its state is what is left of the one before."""

import functools

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples.models import randomize
from tests.training import small
from tf_lossprune.cut_variables import cut_variables
from tf_lossprune.training.fresh_optimizer import ShiftedSchedule, fresh_optimizer
from tf_lossprune.training.optimizer_state import cut_optimizer, join_optimizers

optimizers = keras.optimizers
RATE = 0.01


def decay():
    return optimizers.schedules.ExponentialDecay(RATE, 2, 0.5)


def without_decay():
    made = optimizers.AdamW(RATE, weight_decay=0.5)
    made.exclude_from_weight_decay(var_names=["bias", "beta"])
    return made


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(decay()),
    "momentum": lambda: optimizers.SGD(decay(), momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(decay(), amsgrad=True),
    "adamw": without_decay,
    "rmsprop": lambda: optimizers.RMSprop(RATE, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(RATE),
    "adadelta": lambda: optimizers.Adadelta(RATE),
    "adamax": lambda: optimizers.Adamax(RATE),
    "nadam": lambda: optimizers.Nadam(RATE),
    "ftrl": lambda: optimizers.Ftrl(RATE),
    "lion": lambda: optimizers.Lion(decay()),
    "lamb": lambda: optimizers.Lamb(RATE),
    "adafactor": lambda: optimizers.Adafactor(decay()),
    "accumulation": lambda: optimizers.Adam(decay(), gradient_accumulation_steps=3),
    "averages": lambda: optimizers.Adam(RATE, use_ema=True, ema_momentum=0.7),
    "clipping": lambda: optimizers.SGD(RATE, momentum=0.9, global_clipnorm=0.1),
    "loss_scale": lambda: optimizers.LossScaleOptimizer(
        optimizers.Adam(decay(), use_ema=True, gradient_accumulation_steps=2),
        initial_scale=4.0,
        dynamic_growth_steps=3,
    ),
}
for name in ("Muon", "ScheduleFreeAdamW"):  # of recent versions of Keras
    if hasattr(optimizers, name):
        OPTIMIZERS[name.lower()] = functools.partial(getattr(optimizers, name), RATE)
#: These look at all entries of a weight at once: with more zeros, they step otherwise.
OF_ALL_ENTRIES = ("lamb", "adafactor", "muon")


def array(variable):
    return np.array(ops.convert_to_numpy(variable.value))


def apply(optimizer, gradients, variables):
    """One step of an optimizer that was built for these variables."""
    gradients = [ops.convert_to_tensor(g) for g in gradients]
    if keras.backend.backend() != "jax":
        optimizer.apply(gradients, variables)
        return
    state = [[v.value for v in group] for group in (optimizer.variables, variables)]
    values, state = optimizer.stateless_apply(state[0], gradients, state[1])
    for variable, value in zip([*variables, *optimizer.variables], [*values, *state]):
        variable.assign(value)


def cut_network(seed=0):
    """Convolutions with and without a normalisation, at 0.4 of their MACs."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(8, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(12, 3, name="next")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
    randomize(model, seed)
    pruned = tf_lossprune.prune_model(
        model, {"macs": 0.4}, method="uniform", channel_multiple=1
    )
    compact = tf_lossprune.strip_pruning(pruned)
    return pruned, compact, cut_variables(pruned.channel_graph, compact)


class History:
    """The same steps for a model with gates at zero and for its compact one."""

    def __init__(self, pieces, seed=0):
        self.pieces = [p for p in pieces if p.target.trainable]
        self.sources = [p.source for p in self.pieces]
        self.targets = [p.target for p in self.pieces]
        self._rng = np.random.default_rng(seed)
        for piece in self.pieces:  # what is gated off plays no part
            value = self._rng.normal(size=piece.source.shape).astype("float32")
            piece.source.assign(self.hidden(piece, value))
            piece.target.assign(piece.cut(value))

    def hidden(self, piece, value):
        """The value with zeros in all that goes away."""
        for axis, kept in piece.axes.items():
            shape = [1] * value.ndim
            shape[axis] = -1
            value = value * kept.reshape(shape)
        return value.astype("float32")

    def step(self, full=None, cut=None, factor=1.0):
        """One step with the gradients that a closed gate lets through: zeros."""
        drawn = [self._rng.normal(size=v.shape) for v in self.sources]
        gradients = [
            factor * self.hidden(p, g) for p, g in zip(self.pieces, drawn, strict=True)
        ]
        if full is not None:
            apply(full, gradients, self.sources)
        for optimizer in cut or []:
            parts = [p.cut(g) for p, g in zip(self.pieces, gradients, strict=True)]
            apply(optimizer, parts, self.targets)

    def restart(self, values, seed=7):
        """Puts the compact weights to values; then comes the seed's next step."""
        self._rng = np.random.default_rng(seed)
        for variable, value in zip(self.targets, values, strict=True):
            variable.assign(value)

    def after(self):
        return [array(v) for v in self.targets]


class CutOptimizerTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pruned, cls.compact, cls.pieces = cut_network()

    @parameterized.parameters(*OPTIMIZERS)
    def test_goes_on_as_if_it_had_always_been_small(self, name):
        """As an optimizer does that was the small one's from the start."""
        history = History(self.pieces)
        full, reference = OPTIMIZERS[name](), OPTIMIZERS[name]()
        full.build(history.sources)
        reference.build(history.targets)
        for _ in range(5):
            history.step(full, [reference])
        whole = [p.cut(array(p.source)) for p in history.pieces]
        if name not in OF_ALL_ENTRIES:
            for a, b in zip(whole, history.after(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        found = cut_optimizer(full, history.pieces, history.targets)
        self.assertIs(type(found), type(full))
        self.check_same_state(found, reference)
        # One further step, from the same weights.
        ends = []
        for optimizer in (found, reference):
            history.restart(whole)
            history.step(cut=[optimizer])
            ends.append(history.after())
        for a, b in zip(*ends, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    def check_same_state(self, found, expected):
        self.assertLen(found.variables, len(expected.variables))
        for a, b in zip(found.variables, expected.variables, strict=True):
            self.assertEqual(a.shape, b.shape, b.path)
            np.testing.assert_allclose(
                array(a), array(b), rtol=1e-4, atol=1e-6, err_msg=b.path
            )

    def test_what_went_away_was_not_zero(self):
        """Slots of all kinds are slices of what they were, also of open channels."""
        history = History(self.pieces)
        full = optimizers.Adam(RATE)
        full.build(history.sources)
        rng = np.random.default_rng(0)
        for _ in range(3):
            full.apply([rng.normal(size=v.shape) for v in history.sources])
        found = cut_optimizer(full, history.pieces, history.targets)
        shrunk = 0
        for slots in ("_momentums", "_velocities"):
            for a, b, p in zip(
                getattr(full, slots), getattr(found, slots), history.pieces
            ):
                value = array(a)
                for axis, kept in p.axes.items():
                    value = np.take(value, np.flatnonzero(kept), axis)
                np.testing.assert_array_equal(array(b), value)
                shrunk += value.size < array(a).size
        self.assertGreater(shrunk, 6)
        self.assertEqual(int(found.iterations), 3)

    def test_adafactor_keeps_what_its_means_stand_for(self):
        """Of `r c / mean(r)`, the part that stays; with the means of that part."""
        history = History(self.pieces)
        full = optimizers.Adafactor(RATE)
        full.build(history.sources)
        rng = np.random.default_rng(0)
        for _ in range(3):
            full.apply([rng.normal(size=v.shape) for v in history.sources])
        found = cut_optimizer(full, history.pieces, history.targets)
        for place, piece in enumerate(history.pieces):
            if len(piece.source.shape) < 2:
                continue
            r, c = array(full._r[place]), array(full._c[place])
            whole = (r / r.mean(-1, keepdims=True))[..., None] * c[..., None, :]
            part = piece.cut(whole)
            np.testing.assert_allclose(array(found._r[place]), part.mean(-1), rtol=1e-5)
            np.testing.assert_allclose(array(found._c[place]), part.mean(-2), rtol=1e-5)

    def test_a_rate_that_was_set_stays(self):
        full = optimizers.SGD(RATE)
        full.build(self.pruned.trainable_variables)
        full.learning_rate = 0.125
        found = cut_optimizer(full, self.pieces, self.compact.trainable_variables)
        self.assertEqual(float(found.learning_rate), 0.125)

    def test_a_rate_of_a_function_stays(self):
        full = optimizers.SGD(lambda: 0.25)
        full.build(self.pruned.trainable_variables)
        found = cut_optimizer(full, self.pieces, self.compact.trainable_variables)
        self.assertEqual(float(found.learning_rate), 0.25)

    def test_weights_that_do_not_decay(self):
        history = History(self.pieces)
        full = optimizers.AdamW(RATE, weight_decay=0.5)
        full.exclude_from_weight_decay(var_list=history.sources[:1])
        full.build(history.sources)
        found = cut_optimizer(full, history.pieces, history.targets)
        decays = [found._use_weight_decay(v) for v in history.targets]
        self.assertEqual(decays, [False] + [True] * (len(decays) - 1))

    def test_several_optimizers_in_one(self):
        if not hasattr(optimizers, "MultiOptimizer"):
            self.skipTest("this Keras has none")
        history = History(self.pieces)
        parts = [optimizers.Adam(RATE), optimizers.SGD(RATE, momentum=0.9)]
        full = optimizers.MultiOptimizer(lambda v: parts["kernel" in v.path])
        full.build(history.sources)
        for _ in range(3):
            history.step(full)
        found = cut_optimizer(full, history.pieces, history.targets)
        self.assertEqual(int(found.optimizers[0].iterations), 3)
        before = {id(p.source): p for p in history.pieces}
        for a, b in zip(full.optimizers, found.optimizers, strict=True):
            self.assertIs(type(a), type(b))
            self.assertLen(b._trainable_variables, len(a._trainable_variables))
            for v, w in zip(a._trainable_variables, b._trainable_variables):
                self.assertIs(before[id(v)].target, w)
            slots = a._momentums if hasattr(a, "_momentums") else a.momentums
            others = b._momentums if hasattr(b, "_momentums") else b.momentums
            for v, x, y in zip(a._trainable_variables, slots, others):
                np.testing.assert_array_equal(before[id(v)].cut(array(x)), array(y))

    def test_an_unknown_optimizer_starts_anew_where_the_schedule_was(self):
        class Odd(optimizers.SGD):
            """Has slots of a shape of its own."""

            def build(self, variables):
                super().build(variables)
                self._odd = [self.add_variable((3,), name="odd") for _ in variables]

        history = History(self.pieces)
        full = Odd(decay(), momentum=0.9)
        full.build(history.sources)
        for _ in range(4):
            history.step(full)
        found = cut_optimizer(full, history.pieces, history.targets)
        self.assertEqual(int(found.iterations), 0)
        self.assertEqual(np.abs(array(found.momentums[0])).max(), 0.0)
        self.assertAlmostEqual(float(found.learning_rate), RATE / 4, places=6)
        again = optimizers.schedules.deserialize(
            optimizers.schedules.serialize(found._learning_rate),
            {"ShiftedSchedule": ShiftedSchedule},
        )
        self.assertAlmostEqual(float(again(2)), RATE / 8, places=6)

    def test_joined_optimizers_know_how_far_each_has_come(self):
        """Means of fewer steps look like those of more: corrected, they are equal."""
        for kind in (optimizers.Adam, optimizers.Adamax, optimizers.Lamb):
            history = History(self.pieces)
            made = []
            for steps in (3, 9):
                full = kind(RATE)
                full.build(history.sources)
                for _ in range(steps):
                    history.step(full)
                made.append(cut_optimizer(full, history.pieces, history.targets))
            first, last = made
            copies = [keras.Variable(array(v), name="copy") for v in history.targets]
            pieces = [type(p)(p.target, c, {}) for p, c in zip(history.pieces, copies)]
            moved = cut_optimizer(last, pieces, copies)
            joined = join_optimizers([first, moved], [*history.targets, *copies])
            self.assertEqual(int(joined.iterations), 9)
            count = len(copies)
            name = "_m" if kind is optimizers.Adamax else "_momentums"
            for place in range(count):
                early, late = (array(getattr(o, name)[place]) for o in made)
                found = [array(getattr(joined, name)[place + k]) for k in (0, count)]
                np.testing.assert_allclose(found[1], late, rtol=1e-6)
                np.testing.assert_allclose(
                    found[0] / (1 - 0.9**9), early / (1 - 0.9**3), rtol=1e-5
                )

    def test_other_models_are_refused(self):
        with self.assertRaisesRegex(ValueError, "strip_pruning.*Received"):
            cut_variables(self.pruned.channel_graph, small.network())
        other = small.prune(small.network())
        with self.assertRaisesRegex(ValueError, "channels.*Received"):
            cut_variables(other.channel_graph, self.compact)

    def test_not_built_yet(self):
        found = cut_optimizer(optimizers.Adam(decay()), self.pieces)
        self.assertTrue(found.built)
        self.assertEqual(int(found.iterations), 0)
        self.assertFalse(fresh_optimizer(found).built)


class TrainedTest(parameterized.TestCase):
    """The same with the networks' own gradients, through Keras' training."""

    def test_one_further_step_is_the_same_in_both(self):
        keras.utils.set_random_seed(0)
        model = small.network()
        randomize(model, 0)
        pruned = small.compile_model(small.prune(model), optimizers.Adam(0.02))
        x, y = small.data(small.BATCH)
        pruned.begin(12)
        for step in range(12):
            pruned.train_on_batch(x, y)
            if step + 1 == pruned.search_end:
                pruned.decide()  # and the gated network trains on
        compact = tf_lossprune.strip_pruning(pruned)
        pieces = cut_variables(pruned.channel_graph, compact)
        own = cut_optimizer(pruned.optimizer, pieces, compact.trainable_variables)
        small.compile_model(compact, own)
        before = [array(p.target) for p in pieces]
        pruned.train_on_batch(x, y)
        compact.train_on_batch(x, y)
        for piece, start in zip(pieces, before, strict=True):
            expected = piece.cut(array(piece.source))
            np.testing.assert_allclose(
                array(piece.target), expected, rtol=1e-3, atol=1e-5
            )
            self.assertGreater(np.abs(expected - start).max(), 1e-4)


class CompressTest(parameterized.TestCase):
    @parameterized.parameters("distilled", "mixed_float16")
    def test_the_first_steps_after_the_cut_are_no_longer_than_before(self, form):
        self.check_first_steps(form)

    @parameterized.parameters("one", "several")
    @pytest.mark.long
    def test_the_first_steps_after_other_cuts_are_no_longer_than_before(self, form):
        self.check_first_steps(form)

    def check_first_steps(self, form):
        """The bias correction and the moments belong together."""
        rate, seen = 0.01, []

        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.before = self.weights()
                seen.append((self.model.optimizer, []))

            def on_train_batch_end(self, batch, logs=None):
                if hasattr(self.model, "jax_state_sync"):
                    self.model.jax_state_sync()
                after = self.weights()
                if [a.shape for a in after] != [b.shape for b in self.before]:
                    seen.append((self.model.optimizer, []))  # the network was cut
                    self.before = after
                    return
                moved = [np.abs(a - b).max() for a, b in zip(after, self.before)]
                seen[-1][1].append(max(moved))
                self.before = after

            def weights(self):
                return [array(v) for v in self.model.trainable_variables]

        keras.utils.set_random_seed(0)
        options = {"dtype": form} if form == "mixed_float16" else {}
        given = {
            "batch_size": small.BATCH,
            "epochs": 20,
            "optimizer": optimizers.Adam(rate),
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "callbacks": [Watch()],
            "jit_compile": False,
            "channel_multiple": 1,
            "verbose": 0,
        }
        model = small.network(**options)
        if form == "several":
            budgets = [0.7, 0.4]
            tf_lossprune.compress_frontier(model, budgets, small.data(), **given)
        else:
            distill = form == "distilled"
            tf_lossprune.compress(
                model, {"macs": 0.4}, small.data(), distill=distill, **given
            )
        (_, search), (optimizer, fine_tuning) = seen
        self.assertEqual(int(optimizer.iterations), 80)
        self.assertGreaterEqual(len(search + fine_tuning), 79)
        self.assertLess(max(fine_tuning[:5]), 1.6 * rate)
