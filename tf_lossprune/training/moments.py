"""Sums and products of the channels that layers read, over a few hundred inputs."""

import dataclasses

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph import Tensor, replay
from tf_lossprune.training.program import as_program, full_precision


@dataclasses.dataclass
class Moments:
    """Sums over rows, a row for each position of each input.

    Attributes:
        count: float, the number of rows.
        total: float64 `[units]`, the sum of the rows.
        square: float64 `[units, units]`, the sum of their outer products.
    """

    count: float
    total: np.ndarray
    square: np.ndarray

    def __add__(self, other):
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.square + other.square,
        )

    @property
    def mean(self):
        return self.total / self.count

    def about(self, centre):
        """The mean outer product of the rows' distances from a point."""
        cross = np.outer(self.mean, centre)
        return self.square / self.count - cross - cross.T + np.outer(centre, centre)


def some_inputs(data, samples):
    """The inputs of the first batches, as arrays, until there are enough samples.

    Each is in a tuple of its own, as in batches: it may be a list.

    Args:
        data: iterable of batches; of a tuple, the first entry is the input.
        samples: int, how many are wanted.
    """
    found, count = [], 0
    for batch in data:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        x = tree.map_structure(ops.convert_to_numpy, x)
        found.append((_part(x, 0, samples - count),))
        count += len(tree.flatten(x)[0])
        if count >= samples:
            break
    return found


def all_alike(inputs):
    """Whether all samples are the same, which says nothing of how channels vary.

    Args:
        inputs: list of batches, as `some_inputs` returns it.
    """
    first = [x[:1] for x in tree.flatten(inputs[0])] if inputs else []
    return all(
        np.array_equal(x, np.broadcast_to(one, x.shape))
        for batch in inputs
        for x, one in zip(tree.flatten(batch), first)
    )


def collect(channel_graph, readers, inputs, keep=None, changes=None):
    """The moments of what readers read, of two halves of the inputs.

    Args:
        channel_graph: `ChannelGraph`.
        readers: list of `Reader`s.
        inputs: list of batches, as `some_inputs` returns it.
        keep: bool `[num_units + 1]`, the units that stay, if there are `changes`.
        changes: `Changes` or None.

    Returns:
        For each reader a list, one entry for each of its slices, of two `Moments`:
        of its columns, and where they change, of the kept ones after the cut behind
        them.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    # Several readers of one tensor share its moments.
    sources = {key_of(reader): reader for reader in readers}
    changed = [
        changes is not None and reader.reads(changes) for reader in sources.values()
    ]
    network = _probe(channel_graph, [*sources.values()], changed, changes)

    def moments(x):
        values = iter(tree.flatten(network(x, training=False)))
        found = []
        for reader, both in zip(sources.values(), changed, strict=True):
            rows = _rows(channel_graph, reader, values)
            after = _rows(channel_graph, reader, values) if both else rows
            for part in reader.slices:
                joined = _flat(rows, part.columns)
                if both:
                    kept = _flat(after, part.columns[:, part.kept(keep)])
                    joined = ops.concatenate([joined, kept], axis=1)
                square = ops.matmul(ops.transpose(joined), joined)
                found.append((ops.shape(joined)[0], ops.sum(joined, axis=0), square))
        return found

    program = as_program(moments, network, often=True)
    halves = in_halves(
        inputs, lambda part: [_moments(*values) for values in program(part)]
    )
    pairs = iter(zip(*halves))
    of = {key: [next(pairs) for _ in r.slices] for key, r in sources.items()}
    return [of[key_of(reader)] for reader in readers]


def in_halves(inputs, function):
    """Adds up what a function returns, for each of two halves of the inputs.

    Args:
        inputs: list of batches, as `some_inputs` returns it.
        function: from a batch to a list of things that can be added.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    halves = [None, None]
    with full_precision():
        for half, part in _halves(inputs):
            found, before = function(part), halves[half]
            halves[half] = (
                found if before is None else [a + b for a, b in zip(before, found)]
            )
    if None in halves:
        raise ValueError(
            "Expected inputs to repair the network with, at least two samples. "
            "Received: fewer"
        )
    return halves


def _flat(rows, columns):
    """Some columns of rows, below each other: `[rows, columns]`."""
    shape = (-1, columns.shape[-1])
    flat = [ops.reshape(ops.take(r, columns, axis=1), shape) for r in rows]
    return ops.concatenate(flat) if len(flat) > 1 else flat[0]


def key_of(reader):
    """The same for readers of the same columns of the same tensors."""
    columns = (part.columns.tobytes() for part in reader.slices)
    windows = (w.key for w in reader.windows or ())
    tensors = (id(t) for t in reader.tensors)
    return (id(reader.probe), *tensors, *windows, *columns)


def _moments(count, total, square):
    """`Moments` of one batch, in float64 from here on."""
    total, square = (ops.convert_to_numpy(v).astype("float64") for v in (total, square))
    return Moments(float(ops.convert_to_numpy(count)), total, square)


def _probe(channel_graph, readers, changed, changes):
    """A model of the tensors that readers read, in their order.

    Behind those of a reader that is `changed` they come once more, as they are after
    the cut.
    """
    probes: dict = {}
    for reader in readers:
        if reader.probe is not None:
            for call in reader.tensors:
                probes.setdefault(id(call), []).append(reader.probe)

    def see(call, args, kwargs, seen):
        for probe in probes.get(id(call), ()):
            seen[id(probe), id(call)] = probe(*args, **kwargs)

    inputs, seen, after = tensors_of(channel_graph, changes, see)
    wanted = []
    for reader, both in zip(readers, changed, strict=True):
        if reader.probe is None:
            wanted += [seen[id(x)] for x in reader.tensors]
        else:
            wanted += [seen[id(reader.probe), id(x)] for x in reader.tensors]
        if both:
            wanted += [after.get(id(x), seen[id(x)]) for x in reader.tensors]
    return keras.Model(inputs, wanted)


def tensors_of(channel_graph, changes=None, see=None):
    """The Keras tensors of a network, for a model that shows some of them.

    Args:
        channel_graph: `ChannelGraph`.
        changes: `Changes` or None.
        see: function of each `Call`, its arguments and the second result, or None.

    Returns:
        The inputs; dict, id of a `Tensor` -> Keras tensor; and the same for those that
        change, as they are after the cut.
    """
    graph = channel_graph.graph
    inputs = tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name),
        graph.inputs,
    )
    given = zip(tree.flatten(graph.inputs), tree.flatten(inputs), strict=True)
    seen: dict = {id(t): x for t, x in given}
    after: dict = {}

    def fill(struct):
        return tree.map_structure(
            lambda t: after.get(id(t), seen[id(t)]) if isinstance(t, Tensor) else t,
            struct,
        )

    def call_fn(call, args, kwargs):
        if see is not None:
            see(call, args, kwargs, seen)
        outputs = call.operation(*args, **kwargs)
        flat = tree.flatten(outputs)
        keys = [id(t) for t in call.outputs]
        seen.update(zip(keys, flat))
        found = None if changes is None else changes.follow(call, fill, flat)
        if found is not None:
            after.update(zip(keys, tree.flatten(found)))
        return outputs

    replay(graph, inputs, call_fn)
    return inputs, seen, after


def _rows(channel_graph, reader, values):
    """What a reader reads, for each tensor `[rows, columns]` in float32.

    Args:
        values: iterator over the values of tensors, from which its own are taken.
    """
    found = []
    for index, tensor in enumerate(reader.tensors):
        if reader.probe is not None:
            value = ops.cast(next(values), "float32")
            found.append(ops.reshape(value, (-1, value.shape[-1])))
            continue
        shape = channel_graph.labels[id(tensor)].shape
        axis = int(np.argmax(shape)) + 1
        value = ops.cast(ops.moveaxis(next(values), axis, -1), "float32")
        if reader.windows:
            found.append(reader.windows[index].patches(value))
        else:
            found.append(ops.reshape(value, (-1, shape[axis - 1])))
    return found


def _halves(inputs):
    """Pairs of which half it belongs to and a part of the inputs."""
    for index, (x,) in enumerate(inputs):
        count = len(tree.flatten(x)[0])
        if count == 1:
            yield index % 2, x
            continue
        middle = count // 2
        yield 0, _part(x, 0, middle)
        yield 1, _part(x, middle, count)


def _part(x, start, stop):
    return tree.map_structure(lambda a: a[start:stop], x)
