"""Copies live layers: what a layer owns is duplicated, all else is handed on.

A config is for disks. Within one process the objects themselves are at hand: functions,
regularizers, classes that nobody registered, attributes set after construction. Hence
no config is read here: variables, inner layers and random states get copies of their
own, whatever refers to them refers to the copies, and everything else is shared.
"""

import collections
import copy
import functools
import types

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune import keras_internals as internals

#: What is handed on, unless it refers to a layer or variable of the model.
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
#: Libraries whose objects hold no layers; their insides are not searched.
_CLOSED = {"keras", "tensorflow", "jax", "jaxlib", "numpy", "builtins", "tf_keras"}


class Copier:
    """Copies layers and operations, each once.

    Args:
        layers: the layers of the whole model. What refers to a layer or variable of
            another one (an inner layer, a function's closure) refers to that one's
            copy afterwards.
        dtype: string or None, the floating type of the copies, `"float64"` for
            comparisons. None: each variable keeps its own.
        share: bool, whether copies read the variables of the originals.
    """

    def __init__(self, layers, dtype=None, share=False):
        self._share = share
        self._copies = {}
        self._alive = []  # An id stands for an object only while that lives.
        self._owned = {}
        self._without = {}
        self._values = {}
        self._dtype = dtype
        for layer in layers:
            self._find_owned(layer)

    def __call__(self, operation, name=None):
        """Returns the copy of a layer or operation, made on the first request.

        Args:
            operation: `keras.Operation`.
            name: string or None, the copy's name if it is to have another.
        """
        if id(operation) not in self._copies:
            self._find_owned(operation)
            new = self._copy(operation)
            if name is not None:
                internals.rename(operation, new, name, not self._share)
        return self._copies[id(operation)]

    def arguments(self, struct):
        """A call's arguments with variables of the model replaced by their copies."""
        return tree.map_structure(
            lambda x: self._copy(x) if isinstance(x, keras.Variable) else x, struct
        )

    def replace(self, values):
        """Gives variables another value, of any shape, when they are copied.

        Args:
            values: dict, id of a variable -> array.
        """
        self._values.update(values)

    # What is owned.

    def _find_owned(self, root):
        """Notes what a layer owns: layers and random states at any depth, variables."""
        waiting, seen = [root], set()
        while waiting:
            x = waiting.pop()
            if id(x) in seen:
                continue
            seen.add(id(x))
            if isinstance(x, (keras.Operation, keras.random.SeedGenerator)):
                if id(x) in self._owned and x is not root:
                    continue
                self._own(x)
                waiting += [
                    v
                    for k, v in vars(x).items()
                    if k not in internals.NOT_COPIED | internals.OF_TRAINING
                ]
                for store in internals.tracked(x):
                    for variable in store:
                        if isinstance(variable, keras.Variable):
                            self._own(variable)
                    waiting += store
                if isinstance(x, keras.random.SeedGenerator):
                    self._own(x.state)
            elif not isinstance(x, _FUNCTIONS):
                waiting += _parts(x)

    def _own(self, x):
        self._owned[id(x)] = x

    def _refers(self, x):
        """Whether something refers to what is owned."""
        found, seen, waiting = False, {}, [x]
        while waiting and not found:
            x = waiting.pop()
            if id(x) in seen or id(x) in self._without:
                continue
            seen[id(x)] = x
            found = id(x) in self._owned
            waiting += _parts(x)
        if not found:
            self._without.update(seen)
        return found

    # Copies.

    def _copy(self, x):
        if id(x) in self._copies:
            return self._copies[id(x)]
        new = self._make(x)
        self._alive.append(x)
        return self._copies.setdefault(id(x), new)

    def _make(self, x):
        """A copy of anything; itself if it is to be handed on."""
        if isinstance(x, keras.Variable):
            return self._variable(x) if id(x) in self._owned else x
        if isinstance(x, keras.layers.InputLayer):
            return _input_layer(x, self._dtype)
        if isinstance(x, keras.Operation) or _is_seed(x):
            return self._instance(x) if id(x) in self._owned else x
        if isinstance(x, (list, dict, set, tuple)):
            return self._container(x)
        if isinstance(x, np.ndarray):
            return x.copy()
        if hasattr(x, "assign") and hasattr(x, "numpy"):
            return copy.deepcopy(x)  # a variable of the backend's own
        if not self._refers(x):
            return x
        if isinstance(x, types.MethodType):
            return types.MethodType(self._copy(x.__func__), self._copy(x.__self__))
        if isinstance(x, functools.partial):
            return type(x)(
                self._copy(x.func), *map(self._copy, x.args), **self._copy(x.keywords)
            )
        if isinstance(x, types.FunctionType):
            return self._function(x)
        new = copy.copy(x)
        self._copies[id(x)] = new
        for name, value in vars(x).items():
            vars(new)[name] = self._copy(value)
        return new

    def _variable(self, x):
        if self._share:
            return x
        if id(x) in self._values:
            value = self._values[id(x)]
            return internals.copy_variable(x, value, shape=value.shape)
        if self._dtype and keras.backend.is_float_dtype(x.dtype):
            value = ops.convert_to_numpy(x).astype(self._dtype)
            return internals.copy_variable(x, value, dtype=self._dtype)
        if keras.backend.backend() == "tensorflow":
            value = ops.copy(x.value)  # of two that share memory, a writer copies
        else:
            value = np.array(ops.convert_to_numpy(x))
        return internals.copy_variable(x, value)

    def _container(self, x):
        key = id(x)
        if isinstance(x, tuple):
            values = [self._copy(v) for v in x]
            if all(a is b for a, b in zip(x, values)):
                return x
            return type(x)(*values) if hasattr(x, "_fields") else type(x)(values)
        tracker = getattr(x, "tracker", None)
        if not issubclass(type(x), (dict, list, set)):  # a proxy, of TensorFlow's
            x = next(kind for kind in (dict, list, set) if isinstance(x, kind))(x)
            new = type(x)()
        else:
            new = copy.copy(x) if tracker is None else type(x)()
        self._copies[key] = new
        if isinstance(x, dict):
            dict.clear(new)
            for key, value in x.items():
                dict.__setitem__(new, key, self._copy(value))
        elif isinstance(x, list):
            list.__init__(new, [self._copy(v) for v in x])
        else:
            set.clear(new)
            set.update(new, [self._copy(v) for v in x])
        if tracker is not None:
            new.tracker = self._copies.get(id(tracker), tracker)
        return new

    def _function(self, x):
        cells = tuple(map(self._cell, x.__closure__ or ()))
        defaults = self._copy(x.__defaults__)
        new = types.FunctionType(
            x.__code__, x.__globals__, x.__name__, defaults, cells or None
        )
        new.__kwdefaults__ = self._copy(x.__kwdefaults__)
        new.__dict__.update(x.__dict__)
        new.__qualname__, new.__module__ = x.__qualname__, x.__module__
        return new

    def _cell(self, cell):
        try:
            return types.CellType(self._copy(cell.cell_contents))
        except ValueError:  # an empty cell
            return cell

    def _instance(self, x):
        """A layer, operation or random state."""
        if isinstance(x, keras.layers.TFSMLayer):
            return self._saved_model(x)
        new = internals.blank(x)
        self._copies[id(x)] = new
        left = set(internals.NOT_COPIED)
        if isinstance(x, keras.Model):
            left |= internals.OF_TRAINING
        if isinstance(x, keras.Function):
            left |= internals.OF_THE_GRAPH
            self._graph(x, new)
        elif isinstance(x, keras.Layer):
            internals.begin_tracking(new)
        if isinstance(x, keras.Layer):
            self._track(x, new)
            internals.forget_losses(new)
        for name, value in vars(x).items():
            if name not in left:
                vars(new)[name] = self._copy(value)
        if isinstance(x, keras.Model):
            vars(new).update(internals.uncompiled())
        if self._dtype and isinstance(x, keras.Layer):
            self._convert(new)
        return new

    def _track(self, x, new):
        """Fills what Keras keeps of a layer's variables, inner layers and so on."""
        self._copies[id(internals.tracker_of(x))] = internals.tracker_of(new)
        for store, target in internals.copy_tracked(x, new, self._copy):
            self._copies[id(store)] = target

    def _graph(self, x, new):
        """Makes the graph of a functional model inside a layer again."""
        inputs = tree.map_structure(
            lambda t: self._copy(internals.origin(t)[0]).output,
            internals.input_structure(x),
        )
        outputs = internals.run_graph(
            x,
            inputs,
            self._copy,
            lambda op, *args, **kwargs: op(
                *self.arguments(args), **self.arguments(kwargs)
            ),
        )
        internals.functional_class(x).__init__(new, inputs, outputs, name=x.name)

    def _saved_model(self, x):
        """A layer that computes with variables of a SavedModel, which is read again."""
        new = type(x)(
            x.filepath,
            call_endpoint=x.call_endpoint,
            call_training_endpoint=x.call_training_endpoint,
            trainable=x.trainable,
            name=x.name,
            dtype=x.dtype_policy,
        )
        for old, variable in zip(x.variables, new.variables, strict=True):
            variable.assign(old)
            self._copies[id(old)] = variable
        return new

    def _convert(self, new):
        if new.quantization_mode is None:
            internals.set_policy(new, self._dtype)
        for name, value in list(vars(new).items()):
            if isinstance(value, keras.Variable) or not ops.is_tensor(value):
                continue
            if keras.backend.is_float_dtype(
                keras.backend.standardize_dtype(value.dtype)
            ):
                vars(new)[name] = ops.cast(value, self._dtype)


def used_by_hand(call):
    """The variables that a call reads though its layer does not own them.

    Args:
        call: `Call`.

    Returns:
        List of variables, among its arguments or in a closure.
    """
    operation, found, seen = call.operation, [], set()
    own = {id(v) for v in getattr(operation, "variables", ())}
    held = [
        v
        for k, v in vars(operation).items()
        if k not in internals.NOT_COPIED | internals.OF_THE_GRAPH
    ]
    waiting = [call.args, call.kwargs, *held]
    while waiting:
        x = waiting.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, keras.Variable):
            if id(x) not in own:
                found.append(x)
        elif isinstance(x, keras.Layer):
            waiting += x.variables
        else:
            waiting += _parts(x)
    return found


def _is_seed(x):
    return isinstance(x, keras.random.SeedGenerator)


def _parts(x):
    """What an object that is no layer refers to."""
    if isinstance(x, dict):
        return list(x.values())
    if isinstance(x, (list, tuple, set, frozenset, collections.deque)):
        return list(x)
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, functools.partial):
        return [x.func, x.args, x.keywords]
    if isinstance(x, types.FunctionType):
        cells = []
        for cell in x.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # an empty cell
                continue
        return [*cells, x.__defaults__, x.__kwdefaults__]
    if isinstance(x, (type, types.ModuleType)) or not hasattr(x, "__dict__"):
        return []
    if type(x).__module__.split(".")[0] in _CLOSED:
        return []
    return list(vars(x).values())


def _input_layer(x, dtype):
    config = x.get_config()
    if dtype and keras.backend.is_float_dtype(x.dtype):
        config["dtype"] = dtype
    return keras.layers.InputLayer(**config)
