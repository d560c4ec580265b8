"""Sums and products of the channels that layers read, over a few hundred inputs."""

import dataclasses

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph import replay
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


def collect(channel_graph, readers, inputs):
    """The moments of what readers read, of two halves of the inputs.

    Args:
        channel_graph: `ChannelGraph`.
        readers: list of `Reader`s.
        inputs: list of batches, as `some_inputs` returns it.

    Returns:
        For each reader a list, one entry for each of its slices, of two `Moments`.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    # Several readers of one tensor share its moments.
    sources = {_key(reader): reader for reader in readers}
    network = _probe(channel_graph, [*sources.values()])

    def moments(x):
        values = iter(tree.flatten(network(x, training=False)))
        found = []
        for reader in sources.values():
            rows = _rows(channel_graph, reader, values)
            for part in reader.slices:
                columns = part.columns
                shape = (-1, columns.shape[-1])
                flat = [ops.reshape(ops.take(r, columns, axis=1), shape) for r in rows]
                joined = ops.concatenate(flat) if len(flat) > 1 else flat[0]
                square = ops.matmul(ops.transpose(joined), joined)
                found.append((ops.shape(joined)[0], ops.sum(joined, axis=0), square))
        return found

    program = as_program(moments, network, often=True)
    halves = [None, None]
    with full_precision():
        for half, part in _halves(inputs):
            found = [_moments(*values) for values in program(part)]
            before = halves[half]
            halves[half] = (
                found if before is None else [a + b for a, b in zip(before, found)]
            )
    if None in halves:
        raise ValueError(
            "Expected inputs to repair the network with, at least two samples. "
            "Received: fewer"
        )
    pairs = iter(zip(*halves))
    of = {key: [next(pairs) for _ in r.slices] for key, r in sources.items()}
    return [of[_key(reader)] for reader in readers]


def _key(reader):
    """The same for readers of the same columns of the same tensors."""
    columns = (part.columns.tobytes() for part in reader.slices)
    windows = (w.key for w in reader.windows or ())
    tensors = (id(t) for t in reader.tensors)
    return (id(reader.probe), *tensors, *windows, *columns)


def _moments(count, total, square):
    """`Moments` of one batch, in float64 from here on."""
    total, square = (ops.convert_to_numpy(v).astype("float64") for v in (total, square))
    return Moments(float(ops.convert_to_numpy(count)), total, square)


def _probe(channel_graph, readers):
    """A model of the tensors that readers read, in their order."""
    graph = channel_graph.graph
    inputs = tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name),
        graph.inputs,
    )
    given = zip(tree.flatten(graph.inputs), tree.flatten(inputs), strict=True)
    seen: dict = {id(t): x for t, x in given}
    probes: dict = {}
    for reader in readers:
        if reader.probe is not None:
            for call in reader.tensors:
                probes.setdefault(id(call), []).append(reader.probe)

    def call_fn(call, args, kwargs):
        for probe in probes.get(id(call), ()):
            seen[id(probe), id(call)] = probe(*args, **kwargs)
        outputs = call.operation(*args, **kwargs)
        seen.update(zip((id(t) for t in call.outputs), tree.flatten(outputs)))
        return outputs

    replay(graph, inputs, call_fn)
    wanted = [
        seen[id(x) if reader.probe is None else (id(reader.probe), id(x))]
        for reader in readers
        for x in reader.tensors
    ]
    return keras.Model(inputs, wanted)


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
