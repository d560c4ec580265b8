"""An optimizer's state, cut like the weights that it belongs to."""

import itertools
from collections.abc import Sequence

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.cut_variables import CutVariable
from tf_lossprune.training.fresh_optimizer import fresh_optimizer
from tf_lossprune.values import numpy_of


class UnmatchedSlotError(Exception):
    """A slot of which it is not known what its axes stand for."""


def cut_optimizer(
    optimizer: keras.optimizers.Optimizer,
    pieces: Sequence[CutVariable],
    variables: Sequence[keras.Variable] | None = None,
) -> keras.optimizers.Optimizer:
    """Makes the optimizer with which a compact model goes on training.

    Moments, averages of weights and accumulated gradients are cut as the weights are;
    the count of steps (and with it the learning rate's schedule and the bias
    correction), the learning rate and the loss scale are taken over. An optimizer of
    the user's whose slots have other shapes than its weights starts anew: with a count
    from zero, which its bias correction needs, and a schedule that goes on.

    The new variables are made where this is called: under a `tf.distribute` strategy,
    call it in the scope in which the compact model was made.

    Args:
        optimizer: Keras optimizer of the model before the cut; not changed.
        pieces: list of `CutVariable`, as `cut_variables` returns it.
        variables: list of `keras.Variable`, those of the compact model that train, in
            the order in which they will be handed over; None: those in `pieces`.

    Returns:
        A built optimizer of the same kind.

    Example:

    ```python
    pieces = cut_variables(pruned.channel_graph, compact)
    optimizer = cut_optimizer(pruned.optimizer, pieces, compact.trainable_variables)
    compact.compile(optimizer, loss)
    ```
    """
    if variables is None:
        variables = [p.target for p in pieces if p.target.trainable]
    if not optimizer.built:
        new = fresh_optimizer(optimizer)
        new.build(list(variables))
        return new
    return _filled([optimizer], [pieces], list(variables))


def join_optimizers(
    optimizers: Sequence[keras.optimizers.Optimizer],
    variables: Sequence[keras.Variable],
) -> keras.optimizers.Optimizer:
    """Makes one optimizer of several that were cut from one, maybe at other steps.

    The count of steps is that of the one that has come farthest.

    Args:
        optimizers: list of built Keras optimizers of one kind.
        variables: list of `keras.Variable`: all of theirs, in any order.

    Returns:
        A built optimizer.
    """
    optimizers = sorted(optimizers, key=_steps)
    pieces = [
        [CutVariable(v, v, {}) for v in internals.trained_variables(optimizer)]
        for optimizer in optimizers
    ]
    return _filled(optimizers, pieces, list(variables))


def _filled(optimizers, pieces, variables):
    """A built optimizer with the state of others; its scalars are the last one's."""
    last = optimizers[-1]
    heirs = [
        (old, p.source, p.target) for old, cut in zip(optimizers, pieces) for p in cut
    ]
    new = fresh_optimizer(last, heirs)
    new.build(variables)
    try:
        for old, cut in zip(optimizers, pieces):
            targets = {internals.key_of(new, p.target): p for p in cut}
            _transfer(old, new, targets, last)
        return new
    except UnmatchedSlotError:
        new = fresh_optimizer(last, heirs, shift=_steps(last))
        new.build(variables)
        return new


def _steps(optimizer):
    """How many steps of the learning rate's schedule are done."""
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        return _steps(inner)
    return int(_array(internals.own_steps(optimizer)))


def _transfer(old, new, pieces, last):
    """Copies the state of an optimizer into one that is new.

    Args:
        old, new: built optimizers of one kind.
        pieces: dict, key of a variable of `new` -> `CutVariable`.
        last: the optimizer whose count and scalars `new` gets: `old`, or another.
    """
    trained, key_of = internals.trained_variables, internals.key_of
    places = {key_of(old, v): i for i, v in enumerate(trained(old))}
    found = []  # (place of the target, piece, place of the source)
    for place, variable in enumerate(trained(new)):
        piece = pieces.get(key_of(new, variable))
        if piece is not None and key_of(old, piece.source) in places:
            found.append((place, piece, places[key_of(old, piece.source)]))
    for name in internals.state_names(new):
        before, after = getattr(old, name, None), getattr(new, name)
        if before is None:
            continue
        if isinstance(after, keras.optimizers.Optimizer):
            _transfer(before, after, pieces, getattr(last, name))
        elif isinstance(after, keras.Variable):
            if old is last:
                _assign_same(after, before)
        elif isinstance(after, dict):
            for _, piece, _ in found:
                slot = after.get(key_of(new, piece.target))
                if isinstance(slot, keras.Variable):
                    _assign(slot, before[key_of(old, piece.source)], piece)
        elif isinstance(after, (list, tuple)):
            _transfer_list(old, new, name, found, pieces, last)
    if isinstance(old, keras.optimizers.Adafactor):
        for place, piece, source in found:
            _transfer_factors(old, new, place, piece, source)


def _transfer_list(old, new, name, found, pieces, last):
    """Copies what an optimizer keeps in one list: slots, or optimizers in it."""
    before, after = getattr(old, name), getattr(new, name)
    if any(isinstance(x, keras.optimizers.Optimizer) for x in after):
        for part in after:
            keys = [internals.key_of(new, v) for v in internals.trained_variables(part)]
            for piece in [pieces[key] for key in keys if key in pieces][:1]:
                place = internals.part_of(old, piece.source)
                _transfer(before[place], part, pieces, getattr(last, name)[place])
        return
    if not any(isinstance(x, keras.Variable) for x in after):
        return
    if len(after) != len(internals.trained_variables(new)):
        raise UnmatchedSlotError(name)
    factored = isinstance(old, keras.optimizers.Adafactor)
    if factored and name in internals.FACTORED_SQUARES:
        return
    factor = _correction(old, name, last)
    for place, piece, source in found:
        if (after[place] is None) != (before[source] is None):
            raise UnmatchedSlotError(name)
        if after[place] is not None:
            _assign(after[place], before[source], piece, factor)


def _correction(old, name, last):
    """What makes a mean of few steps look like one of as many as `last` has done."""
    if old is last:
        return 1.0
    for kind in type(old).__mro__:
        attribute = internals.MEANS_FROM_ZERO.get(kind.__name__, {}).get(name)
        if attribute is not None:
            decay = float(getattr(old, attribute))
            done, wanted = (int(numpy_of(o.iterations)) for o in (old, last))
            return (1.0 - decay**wanted) / (1.0 - decay**done) if done else 1.0
    return 1.0


def _assign_same(after, before):
    if tuple(after.shape) != tuple(before.shape):
        raise UnmatchedSlotError(after.path)
    after.assign(_array(before))


def _assign(slot, before, piece, factor=1.0):
    """Fills a slot with what is left of the one before the cut."""
    value = _array(before)
    axes = _axes_of(tuple(value.shape), tuple(slot.shape), piece)
    value = piece.cut(value, axes)
    slot.assign(value if factor == 1.0 else value * np.asarray(factor, value.dtype))


def _axes_of(before, after, piece):
    """Which axis of the weight each axis of a slot stands for.

    Raises:
        UnmatchedSlotError: if that is not known.
    """
    full, small = tuple(piece.source.shape), tuple(piece.target.shape)
    if (before, after) == (full, small):
        return tuple(range(len(full)))
    if before == after and (not before or not piece.axes):
        return ()
    # Means over some axes, which are gone.
    fitting = [
        axes
        for axes in itertools.combinations(range(len(full)), len(before))
        if tuple(full[a] for a in axes) == before
        and tuple(small[a] for a in axes) == after
    ]
    if len(fitting) != 1:
        raise UnmatchedSlotError(piece.source.path)
    return fitting[0]


def _transfer_factors(old, new, place, piece, source):
    """Cuts the means of squares over rows and over columns, of which Adafactor's are.

    They stand for the matrix `r c / mean(r)`. What is left of it has other means.
    """
    before, after = map(internals.factored_squares, (old, new))
    if len(piece.source.shape) < 2 or after[0][place] is None:
        return
    rows, columns = (_array(slots[source]) for slots in before)
    mean = np.maximum(rows.mean(-1, keepdims=True), np.finfo("float32").tiny)
    rank = len(piece.source.shape)
    leading = tuple(range(rank - 2))
    # The mean of all rows stands in a kernel's leading axes too, which stay.
    rows = piece.cut(rows, (*leading, rank - 2))
    columns = piece.cut(columns, (*leading, rank - 1))
    mean = piece.cut(mean, leading)
    after[0][place].assign(rows * columns.mean(-1, keepdims=True) / mean)
    after[1][place].assign(columns * rows.mean(-1, keepdims=True) / mean)


def _array(variable):
    """A variable's value, of a type that NumPy knows."""
    value = numpy_of(variable)
    return value.astype("float32") if variable.dtype == "bfloat16" else value
