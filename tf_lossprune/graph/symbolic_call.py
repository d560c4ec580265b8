"""Runs a layer's `call` on symbolic tensors and notes what it calls.

Nothing is left behind: no nodes on the layers, no changed variables. What cannot be
noted down (a variable's value that would be baked in, a state that no layer holds) ends
the attempt with the reason.
"""

import re

import keras
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.carried_masks import WithMask
from tf_lossprune.graph.effects import Effects, as_losses
from tf_lossprune.graph.masks import is_mask
from tf_lossprune.graph.own_weight import (
    ConstantTensor,
    WeightTensor,
    weights_replaced,
)
from tf_lossprune.graph.randomness import noted_draw
from tf_lossprune.graph.sample_count import BROADCASTING, NUMBERS, SampleCount
from tf_lossprune.graph.steps import (
    Body,
    CannotOpen,
    Step,
    keras_tensors,
    with_masks,
)


def note_call(layer, args, kwargs, training, call_of, samples=NUMBERS[0]):
    """Calls a layer on symbolic tensors.

    Args:
        layer: `keras.layers.Layer`.
        args, kwargs: its arguments, with Keras tensors.
        training: bool, the mode that its caller is in.
        call_of: function from a layer to the function to call instead of it, so that
            what that calls is noted; to None: the layer itself is noted.
        samples: int, what it reads for the number of samples.

    Returns:
        A `Body` with the call, and with the casts of what it is called with.

    Raises:
        CannotOpen: if the layer cannot be called so.
    """
    noting = _Noting(call_of, samples)
    given = keras_tensors((args, kwargs))
    noting.attached = {id(m) for m in with_masks(given)[len(given) :]}
    caller = _Caller(lambda: layer(*args, **kwargs))
    try:
        with noting.scope, noting.interception(), noting.draws():
            result = caller(given, training=training)
    except Exception as error:
        raise CannotOpen(noting.scope.reason or _in_words(error)) from error
    return Body(with_masks(given), noting.steps, result)


class _Noting:
    """Takes down what is called.

    Attributes:
        steps: list of `Step`s.
        attached: set, the ids of the masks that come with what the call takes.
    """

    def __init__(self, call_of, samples):
        self.steps = []
        self.attached = set()
        self.scope = _Scope()
        self._count = SampleCount(samples, self.scope.refuse)
        self._call_of = call_of
        self._muted = False
        self._answers = []
        self._weights = {}
        self._effects = Effects()
        self._values = {}  # id of a changed weight -> its new value

    def interception(self):
        return internals.intercepted_calls(
            self.layer, self.node, self.arguments, self.shape, self.loss
        )

    def loss(self, layer, loss):
        """Notes what is added to the loss; false: this is no time for it."""
        if self._muted:
            return False
        for x in as_losses(loss):
            self._effects.add_loss(x)
        return True

    def _change(self, weight, value):
        """Notes the new value of a weight."""
        if not isinstance(value, keras.KerasTensor):
            value = ConstantTensor(keras.ops.convert_to_tensor(value, weight.dtype))
        if tuple(value.shape) != tuple(weight.shape):
            self.scope.refuse(f"it gives {weight.path} a value of another shape")
        self._values[id(weight.variable)] = value
        self._effects.change(weight, value)

    def _current(self, x):
        """What an argument stands for: a weight that was changed, for its value."""
        if isinstance(x, WeightTensor):
            return self._values.get(id(x.variable), x)
        return x

    def draws(self):
        return internals.intercepted_draws(self.draw)

    def draw(self, name, args, kwargs):
        """Random numbers as a symbolic tensor."""
        if self._muted:
            return internals.seeded_draw(name, args, kwargs)
        number, refuse = self._count.number, self.scope.refuse
        layer, x = noted_draw(name, args, kwargs, number, refuse)
        given = () if x is None else (x,)
        y = layer.compute_output_spec(x if given else keras.KerasTensor((None,)))
        self._count.settle(layer, given, [y])
        self.steps.append(Step(layer, given, {}, [y]))
        return y

    def arguments(self, layer, args, kwargs):
        """What to call a layer with: numbers become symbolic, else it would compute."""
        given = tree.flatten((args, kwargs))
        symbolic = any(isinstance(x, keras.KerasTensor) for x in given)
        if self._muted or symbolic or (layer.built and not layer.weights):
            return args, kwargs
        try:
            return tree.map_structure(_constant, args), kwargs
        except Exception:  # tensors of a program of the backend's
            return args, kwargs

    def shape(self, tensor):
        return tensor.shape if self._muted else self._count.shape(tensor)

    def layer(self, layer, args, kwargs):
        """What a layer's outputs are; the arguments are those that `call` gets."""
        if self._muted:
            return internals.spec_of_call(layer, args, kwargs)
        if isinstance(layer, _Caller):
            return layer.call(*args, **kwargs)
        body = reason = None
        call = self._call_of(layer)
        if call is not None:
            depth, values = len(self._answers), dict(self._values)
            body = Body(with_masks(keras_tensors((args, kwargs))), [])
            before = self.steps, self._effects
            self.steps, self._effects = body.steps, body.effects
            try:
                with weights_replaced(layer, self._weight):
                    result = call(*args, **kwargs)
                    if layer.activity_regularizer is not None:
                        result = self._regularized(layer, result)
                body.result = tree.map_structure(self._current, result)
                self._check(body)
                self._attach_masks(layer, args, kwargs, body)
                self._have_done(body)
            except Exception as error:
                body, reason, self._values = None, self._reason(error), values
            finally:
                (self.steps, self._effects), self.scope.reason = before, None
                del self._answers[depth:]
        self._answers.append((body, reason, args, kwargs))
        if body is None:
            return self._spec(layer, args, kwargs, reason)
        # Tensors of its own, as a call may return what it was called with.
        return tree.map_structure(self._alias, body.result)

    def _attach_masks(self, layer, args, kwargs, body):
        """Attaches the masks that Keras would attach to what a layer returns."""
        first = args[0] if args else next(iter(kwargs.values()), None)
        given = kwargs.get("mask")
        if given is None:
            given = tree.map_structure(internals.mask_of, first)
        outputs = tree.flatten(body.result)
        without = [y for y in outputs if internals.mask_of(y) is None]
        if not (layer.supports_masking and keras_tensors(given) and without):
            return
        masks = tree.flatten(layer.compute_mask(first, given))
        for place, (y, mask) in enumerate(zip(outputs, masks)):
            if isinstance(mask, keras.KerasTensor) and any(y is x for x in without):
                outputs[place] = self._passed_on(WithMask(), y, (), {"mask": mask})
                internals.attach_mask(outputs[place], mask)
        body.result = tree.pack_sequence_as(body.result, outputs)

    def _have_done(self, body):
        """Lets what a call does besides be done where its result is computed."""
        outputs = tree.flatten(body.result)
        place = next((i for i, y in enumerate(outputs) if keras_tensors([y])), None)
        for operation, given in body.effects.operations():
            if place is None:
                raise CannotOpen("it adds a loss or changes a weight, without a result")
            outputs[place] = self._passed_on(operation, outputs[place], given, {})
        body.result = tree.pack_sequence_as(body.result, outputs)

    def _regularized(self, layer, result):
        """What a layer returns, behind one of Keras' that adds the same to the loss."""

        def watched(y):
            if not isinstance(y, keras.KerasTensor):
                return y
            watch = keras.layers.Activation(
                "linear",
                activity_regularizer=layer.activity_regularizer,
                dtype=y.dtype,
            )
            return self._passed_on(watch, y, (), {})

        return tree.map_structure(watched, tree.map_structure(self._current, result))

    def _passed_on(self, operation, y, others, kwargs):
        """A tensor that stands for another one behind an operation."""
        made = self._alias(y)
        self.steps.append(Step(operation, (y, *others), kwargs, [made]))
        return made

    def _alias(self, x):
        if not isinstance(x, keras.KerasTensor):
            return x
        return self._count.same(internals.alias(x), x)

    def _weight(self, layer, variable, name):
        if id(variable) not in self._weights:
            refuse = self.scope.refuse
            made = WeightTensor(layer, variable, name, refuse, self._change)
            self._weights[id(variable)] = made
        return self._weights[id(variable)]

    def _spec(self, layer, args, kwargs, reason):
        self._muted = self.scope.muted = True
        try:
            return internals.spec_of_call(layer, args, kwargs)
        except Exception as error:  # nor does it say what comes out
            raise CannotOpen(reason or self._reason(error)) from error
        finally:
            self._muted = self.scope.muted = False

    def node(self, operation, args, kwargs, outputs):
        if self._muted or isinstance(operation, _Caller):
            return
        body = reason = None
        kwargs = dict(kwargs)
        if isinstance(operation, keras.layers.Layer):
            body, reason, cast, given = self._answers.pop()
            kwargs.pop("training", None)
            if body or reason:
                args = cast
                kwargs.update({k: v for k, v in given.items() if k in kwargs})
            for name, value in given.items():
                mask = is_mask(name) and keras_tensors(value)
                if mask and self._finds_it(value, args):
                    kwargs.pop(name, None)
                elif mask or (name == "training" and value is not None):
                    kwargs[name] = value
        args, kwargs = tree.map_structure(self._current, (args, kwargs))
        outputs = tree.flatten(outputs)
        if not body:
            args, kwargs = self._for_each_sample(operation, args, kwargs)
        operation, args = self._count.settle(operation, args, outputs)
        outputs, masking = self._with_new_masks(body, outputs)
        step = Step(operation, tuple(args), kwargs, outputs, body, reason)
        if not body:
            self._check_arguments(step)
        self.steps += [step, *masking]

    def _with_new_masks(self, body, outputs):
        """What an opened layer puts out, and the steps that attach masks it has made.

        Keras has called its `compute_mask` and attached them.
        """
        found, steps = list(outputs), []
        results = tree.flatten(body.result) if body else ()
        for place, (bare, y) in enumerate(zip(results, outputs)):
            mask = internals.mask_of(y)
            if keras_tensors([mask]) and internals.mask_of(bare) is None:
                found[place] = self._alias(y)
                kwargs = {"mask": mask}
                steps.append(Step(WithMask(), (found[place],), kwargs, [y]))
        return found, steps

    def _for_each_sample(self, operation, args, kwargs):
        """Arguments, with numbers that code has repeated for each sample as tensors."""
        ranks = {len(x.shape) for x in keras_tensors((args, kwargs))}
        broadcasts = type(operation).__name__ in BROADCASTING

        def tensor(x):
            found = self._count.one_of_all(x)
            if found is None:
                return x
            one, layer = found
            if broadcasts and ranks == {one.ndim}:
                return one
            given, made = ConstantTensor(one), keras.KerasTensor(x.shape, one.dtype)
            self._count.settle(layer, (given,), [made])
            self.steps.append(Step(layer, (given,), {}, [made]))
            return made

        return tree.map_structure(tensor, (args, kwargs))

    def _finds_it(self, mask, args):
        """Whether a layer will find a mask at its input when the model runs."""
        masks = {id(m) for m in keras_tensors(mask)}
        at_input = [internals.mask_of(x) for x in tree.flatten(args)]
        return masks <= self.attached and masks == {id(m) for m in at_input}

    def _reason(self, error):
        # Keras adds to the text of errors that pass it.
        return self.scope.reason or _in_words(error)

    def _check_arguments(self, step):
        """Refuses what a copy of the call would not carry over."""
        name = type(step.operation).__name__
        if _without_size(step.operation):
            self.scope.refuse(
                f"it hands an unknown size to an operation ({name}); give the model "
                "fixed sizes"
            )
        for x in tree.flatten((step.args, step.kwargs)):
            if isinstance(x, keras.KerasTensor):
                continue
            if isinstance(x, keras.Variable) or hasattr(x, "assign"):
                self.scope.refuse(f"it hands a weight to an operation ({name})")
            if callable(x) and not isinstance(x, type):
                self.scope.refuse(f"it hands a function to an operation ({name})")

    def _check(self, body):
        if self.scope.reason:
            reason, self.scope.reason = self.scope.reason, None
            raise CannotOpen(reason)
        others = [x for x in tree.flatten(body.result) if not keras_tensors([x])]
        if not all(x is None or hasattr(x, "dtype") for x in others):
            raise CannotOpen("it returns something that is no tensor")


def _constant(x):
    return ConstantTensor(x) if hasattr(x, "dtype") else x


def _without_size(operation):
    """Whether an operation got a size that is only known when data are there."""
    if isinstance(operation, keras.layers.Layer):
        return False
    shapes = [v for v in vars(operation).values() if isinstance(v, (tuple, list))]
    return any(size is None for shape in shapes for size in shape)


def _in_words(error):
    if isinstance(error, CannotOpen):
        return str(error)
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    found = re.search(r"Error encountered:(.*?)(Arguments received|$)", text, re.S)
    text = " ".join((found[1] if found else text).split())
    text = re.sub(r"Exception encountered when calling \S+ ", "", text)[:160]
    return (
        "its call does not run on symbolic tensors "
        f"({type(error).__name__}{': ' if text else ''}{text})"
    )


class _Caller(keras.layers.Layer):
    """Sets the mode in which everything inside runs."""

    def __init__(self, function):
        super().__init__(name="caller", autocast=False)
        self._function = function
        self.built = True
        self._convert_input_args = False

    def call(self, tensors, training=None):
        return self._function()

    def compute_mask(self, tensors, previous_mask=None):
        return None


class _Scope(keras.StatelessScope):
    """Refuses what happens behind the graph's back."""

    def __init__(self):
        super().__init__(collect_losses=True)
        self.muted = False
        self.reason = None  # kept, as a `try` in the call may catch the error

    def get_current_value(self, variable):
        if not self.muted:
            self.refuse(f"it computes with the value of {variable.path}")
        return super().get_current_value(variable)

    def add_update(self, update):
        self.refuse(f"it changes {update[0].path}")

    def refuse(self, reason):
        self.reason = self.reason or reason
        raise CannotOpen(reason)
