"""Warnings of what a user would want to change, said where the user's code calls."""

import sys
import warnings

import numpy as np

#: Steps of a search below which its ratios say little.
FEW_STEPS = 20
#: What a budget may leave unused.
UNUSED = 0.03
_INSIDE = ("contextlib", "keras", "tf_lossprune", "tensorflow")


def advise(message):
    """Warns with the line of the user's code that led here."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and _package(frame) in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _package(frame):
    return frame.f_globals.get("__name__", "").split(".")[0]


def check_backbone(channels):
    """Warns of layers that lose channels and are not trained afterwards.

    Args:
        channels: `ChannelGraph`.
    """
    names = {n for g in channels.groups for n in (*g.producers, *g.consumers)}
    pruned = [layer for layer in channels.graph.layers if layer.name in names]
    frozen = [layer.name for layer in pruned if not layer.trainable]
    if frozen:
        advise(
            f"trainable=False is set on {len(frozen)} of {len(pruned)} layers to be "
            f"pruned: {_some(frozen)}. Fine-tuning cannot make up for the channels "
            "they lose. Set `trainable = True` on the layers of the pruned "
            "model before you compile it, with a low learning rate, or before "
            "`prune_model`; or exclude these layers and prune only the others "
            "(`exclude`)."
        )


def check_search(search, total):
    """Warns of a search with few steps.

    Args:
        search, total: ints, steps of the search and of the whole training.
    """
    if search < FEW_STEPS:
        advise(
            f"The search for the widths has {search} of {total} training steps, and "
            f"needs at least about {FEW_STEPS}: with fewer, the ratios hardly leave "
            "their start. Train for more epochs or with smaller batches, give the "
            "search a larger share (`Schedule(search=...)`, in `compress` "
            "`search_epochs`), or take method='uniform' or 'magnitude', which need "
            "no search."
        )


def check_trained(pruned):
    """Warns if the widths of a `PrunedModel` are about to be fixed too early."""
    if pruned.phase == "fixed" or pruned.options.method.one_shot:
        return
    name, done = pruned.options.method.name, pruned.search.read("step")
    if not done:
        found = "before any training step: the widths are no result of a search"
    elif pruned.options.method.trains and done < pruned.search_end:
        found = f"after {done} of {pruned.search_end} steps to the end of the search"
    else:
        return
    advise(
        f"`strip_pruning` was called {found} (method={name!r}). Call `compile` and "
        "`fit` first, or take method='uniform' or 'magnitude', which need no search."
    )


def check_used(used, steps, finer):
    """Warns of a budget that the widths leave unused.

    Args:
        used: dict, resource -> share of what is allowed that the network takes.
        steps: int `[groups]`, what the widths are multiples of.
        finer: function without arguments that returns the same for widths of any
            size; called if the budget is not used.
    """
    largest = max(used.values())
    if largest >= 1 - UNUSED or (np.asarray(steps) == 1).all():
        return
    possible = max(finer().values())
    if possible > largest + UNUSED / 3:
        name = max(used, key=used.get)
        advise(
            f"The network uses {largest:.1%} of its budget in {name}, because widths "
            f"are multiples of up to {max(steps)} channels. channel_multiple=1 would "
            f"use about {possible:.1%}, at widths that may run slower."
        )


def _some(names, most=5):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
