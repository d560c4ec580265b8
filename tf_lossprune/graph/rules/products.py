"""Products of two tensors: `matmul`, `einsum`, attention in one operation.

Along an axis that both tensors and the result have (heads, windows) their channels
meet. Along one that is added up over (the dimensions of queries and keys), what is cut
of one is cut of the other. Along an axis that only one has they pass.
"""

import dataclasses
import math

import numpy as np
from keras import ops

from tf_lossprune.graph import gated_calls
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.letters import filled, spread
from tf_lossprune.graph.rules.merging import REASON, join
from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.tracing import Tensor

UNKNOWN = "what it multiplies cannot be told apart"


@dataclasses.dataclass
class Operand:
    """One side of a product.

    Attributes:
        letters: list, what each of its axes is called in the product.
        labels: int array with an axis for each letter, of size 1 where they are equal.
        sizes: dict, letter -> its size for a batch of one sample.
        batch: the letter of the batch dimension; None: it has none.
    """

    letters: list
    labels: np.ndarray
    sizes: dict
    batch: object

    def varying(self):
        """The letters along which its labels vary."""
        return [self.letters[axis] for axis in lb.varying(self.labels)]

    def tie(self, ctx, letters):
        """Ties its labels along some letters."""
        axes = [self.letters.index(c) for c in letters if c in self.letters]
        self.labels = ctx.tie(self.labels, axes)

    def freeze(self, ctx):
        """Its channels stay."""
        ctx.freeze(self.labels, REASON)
        self.labels = np.zeros((1,) * self.labels.ndim, int)

    def spread(self, letters):
        """The labels with an axis for each of some letters; see `letters.spread`."""
        return spread(self.labels, self.letters, letters)


@register_rule(
    "Matmul",
    effect="cuts",
    remark="channels that meet, or that it adds up over, go together",
    any_layout=True,
)
def matmul(ctx, operation):
    ranks = [_rank(x) for x in ctx.call.args]
    if ctx.call.kwargs or len(ranks) != 2 or min(ranks) < 2:
        ctx.freeze_all(UNKNOWN)
        return
    if isinstance(ctx.call.args[0], Tensor) and ranks[1] == 2:
        if not isinstance(ctx.call.args[1], Tensor) and ctx.varies(-1):
            _times_array(ctx, ops.convert_to_numpy(ctx.call.args[1]))
            return
    # Batch axes are numbered from the right, as they are broadcast.
    batch = [list(range(rank - 2, 0, -1)) for rank in ranks]
    names = [batch[0] + ["row", "sum"], batch[1] + ["sum", "column"]]
    contract(ctx, names, max(batch, key=len) + ["row", "column"])


def _times_array(ctx, array):
    """A product with a constant matrix, whose rows are cut with the channels.

    Its columns too, where each of them picks one channel, as a permutation does.
    """
    ctx.straighten(0)
    channels = ctx.channels()
    if channels is None or ctx.batch_axis() == len(ctx.inputs[0].shape) - 1:
        ctx.freeze_all(UNKNOWN)
        return
    rows, columns = array.shape
    picks = ((array != 0).sum(axis=0) == 1).all()
    made = channels[np.argmax(array != 0, axis=0)] if picks else np.zeros(columns, int)

    def cut(args, kept):
        chosen = kept[rows:] if picks else slice(None)
        return [args[0], array[kept[:rows]][:, chosen]]

    ctx.arguments(np.concatenate([channels, made]), cut)
    if not picks:
        ctx.gated_call(gated_calls.gated_operand)
    ctx.products(ctx.input_positions(), channels, made)
    labels = lb.on_axis(made, -1, len(ctx.call.outputs[0].sample_shape))
    ctx.output(labels, batch_axis=ctx.batch_axis())


@register_rule(
    "DotProductAttention", effect="cuts", remark="whole heads", any_layout=True
)
def dot_product_attention(ctx, operation):
    """Queries, keys and values `(batch, positions, heads, dimensions)`."""
    named = {k: v for k, v in ctx.call.kwargs.items() if k != "scale"}
    plain = all(x is None for x in (*ctx.call.args[3:5], *named.values()))
    shapes = [t.sample_shape for t in ctx.inputs]
    heads = {shape[-2] for shape in shapes}
    if (
        not plain
        or len(ctx.inputs) != 3
        or any(t.batch_axis != 0 for t in ctx.inputs)
        or len(heads) > 1
    ):
        ctx.freeze_all("attention with masks, or with heads in groups")
        return
    labels = [ctx.tie(found, (0, 2)) for found in ctx.input_labels]
    made = join(ctx, join(ctx, labels[0], labels[1]), labels[2])
    read = ctx.positions(ctx.inputs[1], (-1, -2), batch=False)
    pairs = ctx.positions(ctx.inputs[0], (-1, -2)) * read
    total = pairs * (shapes[0][-1] + shapes[2][-1]) * heads.pop()
    ctx.products(total / made.size, made)
    ctx.output(made)


@register_rule(
    "Einsum",
    effect="cuts",
    remark="channels that meet, or that it adds up over, go together",
    any_layout=True,
)
def einsum(ctx, operation):
    args = ctx.call.args
    parts = operation.subscripts.partition("->")[0].split(",")
    if "->" not in operation.subscripts or len(parts) != len(args) or ctx.call.kwargs:
        ctx.freeze_all(UNKNOWN)
        return
    contract(ctx, *filled(operation.subscripts, [_rank(x) for x in args]))


def _rank(x):
    return len(x.shape) if isinstance(x, Tensor) else np.ndim(x)


def contract(ctx, names, result):
    """Applies what the letters of a product say.

    Args:
        ctx: `Context`.
        names: list, the letters of each operand, which are the call's arguments.
        result: list, the letters of the output.
    """
    operands = _operands(ctx, names)
    batches = {x.batch for x in operands} - {None}
    if len(operands) > 2 or len(batches) > 1 or not _told(operands, result):
        ctx.freeze_all(UNKNOWN)
        return
    batch = result.index(batches.pop()) if batches else None
    for x in operands:
        if not x.varying() or {*x.varying()} - {*result} and len(operands) == 1:
            x.freeze(ctx)
    if len(operands) == 1:
        ctx.output_with_batch(operands[0].spread(result), batch)
        return
    a, b = operands
    total = math.prod(_sizes(operands).values())
    _drop_broadcast(operands)
    shared = {*a.letters} & {*b.letters}
    for x in operands:
        if {*x.varying()} - shared - {*result}:
            x.freeze(ctx)  # it is added up over alone
    _meet(ctx, a, b, shared & {*result})
    summed = _sum_up(ctx, a, b, shared - {*result})
    made = _made(ctx, a, b, result)
    factors = [made] if summed is None else [made, summed[1]]
    ctx.products(total / math.prod(x.size for x in factors), *factors)
    ctx.output_with_batch(made, batch)
    if summed is not None:
        ctx.gated_call(gated_calls.gated_operand)


def _operands(ctx, names):
    found, index = [], 0
    for letters, x in zip(names, ctx.call.args):
        if isinstance(x, Tensor):
            labels, sizes = ctx.labels_with_batch(index), x.sizes
            batch = None if x.batch_axis is None else letters[x.batch_axis]
            index += 1
        else:
            labels, sizes, batch = np.zeros((1,) * np.ndim(x), int), np.shape(x), None
        found.append(Operand(letters, labels, dict(zip(letters, sizes)), batch))
    return found


def _told(operands, result):
    """Whether each letter is one axis, and the batch is one of the result."""
    given = [c for x in operands for c in dict.fromkeys(x.letters)]
    once = all(len({*x.letters}) == len(x.letters) for x in operands)
    batches = {x.batch for x in operands} - {None}
    return once and {*result} <= {*given} and batches <= {*result}


def _sizes(operands):
    """Dict, letter -> its size; NaN where it is not known."""
    found = {}
    for x in operands:
        for letter, size in x.sizes.items():
            size = math.nan if size is None else size
            found[letter] = size if found.get(letter, 1) == 1 else found[letter]
    return found


def _drop_broadcast(operands):
    """Takes the letters from an operand along which it is broadcast."""
    sizes = _sizes(operands)
    for x in operands:
        axes = [
            k
            for k, c in enumerate(x.letters)
            if x.sizes[c] == 1 != sizes[c] and c != x.batch
        ]
        x.letters = [c for k, c in enumerate(x.letters) if k not in axes]
        x.labels = np.squeeze(x.labels, tuple(axes))


def _meet(ctx, a, b, letters):
    """Along axes that both and the result have, the same channels are cut of both.

    Heads are cut as a whole: what varies along one, and along an axis that is added up
    over, is tied along the latter.
    """
    heads = [c for c in letters if c in a.varying() and c in b.varying()]
    for x in (a, b):
        alone = [c for c in letters if c in x.varying() and c not in heads]
        if {*alone} == {*x.varying()}:
            x.freeze(ctx)
        x.tie(ctx, alone)
    if not heads:
        return
    for x in (a, b):
        x.tie(ctx, [c for c in x.varying() if c not in heads])
    order = [*letters]
    joined = join(ctx, a.spread(order), b.spread(order))
    for x in (a, b):
        x.labels = np.expand_dims(
            np.transpose(joined, [order.index(c) for c in x.letters if c in letters]),
            [k for k, c in enumerate(x.letters) if c not in letters],
        )


def _sum_up(ctx, a, b, letters):
    """Along an axis that is added up over, the same channels are cut of both.

    Returns:
        The letter and its labels; None if none can be cut.
    """
    found = [c for c in a.varying() + b.varying() if c in letters]
    if not found:
        return None
    letter = found[0]
    for x in (a, b):
        x.tie(ctx, [c for c in x.varying() if c != letter])
    if letter not in a.varying() or letter not in b.varying():
        a.freeze(ctx)
        b.freeze(ctx)
        return None
    labels = join(ctx, a.spread([letter]), b.spread([letter]))
    for x in (a, b):
        x.labels = np.zeros((1,) * x.labels.ndim, int)
    return (letter, labels) if labels.any() else None


def _made(ctx, a, b, result):
    """The labels of what comes out, with an axis for each letter of the result."""
    if not {*a.varying()} <= {*b.varying()} and not {*b.varying()} <= {*a.varying()}:
        b.freeze(ctx)  # one label cannot stand for a row and a column
    first, second = (x.spread(result) for x in (a, b))
    return np.where(first == lb.FROZEN, second, first)
