"""The facade: wrap a model, take the compact one out again."""

import difflib
import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tf_lossprune.advice import check_backbone, check_trained
from tf_lossprune.allocation import Schedule
from tf_lossprune.allocation.constraint import Constraint
from tf_lossprune.budget import Budget
from tf_lossprune.check import call_model, check_compact, check_copy
from tf_lossprune.deploy.measurer import LitertMeasurer
from tf_lossprune.errors import DifferenceError
from tf_lossprune.exclude import excluded_layers
from tf_lossprune.fidelity import unfaithful_layer
from tf_lossprune.gates import GateSampler, Importance, SoftThreshold
from tf_lossprune.graph import Graph, open_model, trace
from tf_lossprune.methods import Method, find_method
from tf_lossprune.problem import PruningProblem, SearchSpace
from tf_lossprune.progress import PATIENCE, Progress
from tf_lossprune.resources.opaque import warn_of_opaque
from tf_lossprune.surgery import copy_graph, cut, traced_copy
from tf_lossprune.training import PrunedModel
from tf_lossprune.training.calibration import calibrate
from tf_lossprune.training.finite import check_weights
from tf_lossprune.training.options import PruningOptions
from tf_lossprune.types import Data, Exclude, InputShape, Limits, Multiple


def prune_model(
    model: keras.Model,
    budget: Budget | Limits | float,
    *,
    method: str | dict | Method = "loss",
    schedule: dict | Schedule | None = None,
    importance: str | dict | Importance | None = None,
    threshold: str | dict | SoftThreshold | None = None,
    sampler: str | dict | GateSampler | None = None,
    constraint: str | dict | Constraint | None = None,
    ratio_optimizer: str | dict | keras.optimizers.Optimizer | None = None,
    exclude: Exclude = None,
    filters: Exclude = None,
    channel_multiple: Multiple = "auto",
    min_channels: int = 1,
    remove_blocks: bool = False,
    input_shape: InputShape = None,
    repair: str | None = "auto",
    widths: Mapping[str, int] | None = None,
    distill: str | bool | float = "auto",
    temperature: float = 3.0,
    seed: int = 0,
) -> PrunedModel:
    """Returns a copy of a model whose channels are gated to meet a budget.

    Options that are objects can be given as in Keras: by name
    (`importance="l1"`), as a config (`{"class_name": "concrete", "config":
    {"temperature": 0.5}}`) or as the object.

    Args:
        model: built functional or Sequential `keras.Model`; it is not changed.
        budget: dict, resource -> share of the dense model's cost in (0, 1], such
            as `{"macs": 0.5}` or `{"macs": 0.5, "params": 0.4}`; a number, the share
            of the MACs; or a `Budget`.
        method: `tf_lossprune.methods.Method`. `"loss"` learns each
            group's keep ratio in `fit` by the task loss's gradient; `"uniform"` (the
            same ratio everywhere) and `"magnitude"` (a global threshold on weight
            norms) fix the widths at once, so that `fit` only fine-tunes. The other
            names are baselines from the literature, see `tf_lossprune.methods`.
        schedule: `Schedule` or None, the phases of `fit`.
        importance: one of `tf_lossprune.importances`, which ranks the channels of a
            group: `"group_l2"`, `"l1"`, `"bn_scale"`, `"taylor"`, or `Prediction` with
            inputs. `"auto"` (None) is `"group_l2"`, and where `fit` repairs the cut
            `Prediction` from the training data, if that does better on them: at the
            end of a search on frozen weights, and for `"uniform"` or given widths when
            training begins.
        threshold: one of `tf_lossprune.thresholds`: `"sigmoid_log"` (None),
            `"gaussian_log"`, `"clipped_linear"`.
        sampler: one of `tf_lossprune.samplers`: `"hard"` (None), `"concrete"`,
            `"deterministic"`.
        constraint: one of `tf_lossprune.constraints`: `"projection"` (None),
            `"augmented_lagrangian"`.
        ratio_optimizer: Keras optimizer for the ratios or None (Adam).
        exclude: layers whose output channels all stay: None; a regular expression
            or a list of them, searched for in the layer's name; or a function
            `layer -> bool`, true for layers to leave unchanged.
        filters: the reverse, in the same forms: only matching layers lose output
            channels, as with `filters` in `keras.Model.quantize`. Channels that one of
            these shares with another layer stay. None: all layers.
        channel_multiple: int >= 1, widths become multiples of it; or `"auto"`, up
            to 32 depending on the group's size; or a dict from regular expressions
            for layer names to those.
        min_channels: int >= 1, the fewest channels a group keeps.
        remove_blocks: bool, whether groups behind a skip path may lose all their
            channels: their block (of convolutions, an attention, an MLP) becomes the
            skip path, plus a constant, if what is left of the branch is one.
            `inspect_model` lists the blocks.
        input_shape: shape of one sample that operations and memory are counted for,
            if the model's own inputs have unknown sizes: `(224, 224, 3)`, or a list
            or dict of shapes for several inputs.
        repair: `"least_squares"`: when the channels are cut, the layers that read them
            learn to predict them from those that stay, from the inputs of a few
            training batches (`training.repair`); None: they lose them. `"auto"` is
            the former where the weights are not trained with gates before the cut
            (one-shot methods, given widths, a search on frozen weights), and the
            latter where they are, as by `"loss"` in trainings of 2,000 steps or more.
        widths: dict, name of a group -> channels to keep, or None. They are fixed at
            once, so that all of `fit` trains the compact network: `widths` of a
            `CompressionResult`, to train what was found from scratch, or your own.
            Methods that need no training choose the groups that are left out; with
            others there may be none. They have to keep the budget, which may be all
            (`1.0`).
        distill: whether, or with which weight in (0, 1], the compact network also
            learns the dense model's outputs in `fit`, each in its own way
            (`training.distillation.Distillation`); True means 0.5. `"auto"` is 0.5
            for outputs that are classes, in batches on which the dense model's loss
            is below the compact network's. For this a copy of the dense model is kept,
            and a step takes its forward pass longer; after an epoch in which it had
            nothing to say it is not asked again. False: no teacher.
        temperature: float > 0, softens classes for that.
        seed: int, of the samples.

    Returns:
        A `PrunedModel`; compile and `fit` it as usual, then `strip_pruning`.

    Raises:
        TypeError: if `model` is not a functional or Sequential Keras 3 model, or
            an option has the wrong type.
        ValueError: for wrong values; if the model is pruned already; if nothing
            can be pruned.
        InfeasibleBudgetError: if the smallest widths, or those given, break the
            budget.
        DifferenceError: if the copy does not compute what the model does.

    Example:

    ```python
    pruned = tf_lossprune.prune_model(model, budget={"macs": 0.5})
    pruned.compile("adam", loss, metrics=["accuracy"])
    pruned.fit(train, validation_data=val, epochs=10)
    compact = tf_lossprune.strip_pruning(pruned)
    ```

    Reference:
        Ning et al., DSA: more efficient budgeted pruning via differentiable
        sparsity allocation, ECCV 2020, arXiv 2004.02164.
    """
    if isinstance(model, PrunedModel):
        raise ValueError(
            "Expected a model that is not pruned yet; take the compact model out with "
            f"`strip_pruning` first. Received: PrunedModel {model.name!r}"
        )
    graph = open_model(model, input_shape)
    method = find_method(method)
    _check_training(model, method.one_shot)
    bound = Budget(budget).with_measurer(LitertMeasurer())
    space = SearchSpace(
        channel_multiple=channel_multiple,
        min_channels=min_channels,
        remove_blocks=remove_blocks,
        input_shape=input_shape,
        widths=widths,
    )
    options = PruningOptions(
        method=method,
        schedule=schedule,
        importance=importance,
        threshold=threshold,
        sampler=sampler,
        constraint=constraint,
        ratio_optimizer=ratio_optimizer,
        seed=seed,
        repair=repair,
        distill=distill,
        temperature=temperature,
    )
    pruned, closed = None, {}
    while pruned is None:
        try:
            pruned = _wrapped(model, graph, exclude, filters, space, bound, options)
        except DifferenceError:
            layer = unfaithful_layer(model, graph, call_model) if graph.opened else None
            if layer is None:
                raise
            closed[id(layer)] = "opened, it computes something else than on numbers"
            graph = open_model(model, input_shape, closed)
    check_backbone(pruned.channel_graph)
    warn_of_opaque(pruned.channel_graph, pruned.costs, bound.limits)
    if method.one_shot or widths is not None:
        pruned.decide()
    return pruned


def _wrapped(
    model: keras.Model,
    graph: Graph,
    exclude: Exclude,
    filters: Exclude,
    space: SearchSpace,
    budget: Budget,
    options: PruningOptions,
) -> PrunedModel:
    """The pruned model, which computes what the model does with all channels kept."""
    with Progress(f"Wrapping {model.name}", 4, patience=PATIENCE) as told:
        template, names, flat = traced_copy(graph)
        told.advance()
        layers = excluded_layers(graph.layers, exclude, names)
        excluded, chosen = [names[id(layer)] for layer in layers], None
        if filters is not None:
            layers = excluded_layers(graph.layers, filters, names, "filters")
            chosen = [names[id(layer)] for layer in layers]
        space = space.for_layers(excluded, chosen)
        problem = PruningProblem(flat, space).with_budget(budget)
        if space.widths is not None and not options.method.one_shot:
            _check_all_given(problem, options.method.name)
        told.advance()
        pruned = PrunedModel(template, problem, options)
        told.advance()
        check_copy(model, graph, names, pruned)
        told.advance()
    return pruned


def check_options(options: Mapping[str, Any], more: Iterable[str] = ()) -> None:
    """Raises `TypeError` for names that `prune_model` does not take.

    Args:
        options: dict of keyword arguments.
        more: list of names that the caller takes besides, for the message.
    """
    known = [
        name
        for name, parameter in inspect.signature(prune_model).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    unknown = [name for name in options if name not in known]
    if unknown:
        names = [*more, *(name for name in known if name not in more)]
        near = difflib.get_close_matches(unknown[0], names, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TypeError(f"Expected options among {names}{hint}. Received: {unknown}")


def _check_training(model: keras.Model, one_shot: bool) -> None:
    """Raises `ValueError` if a class of the user's says how the model trains.

    Args:
        model: the user's model.
        one_shot: bool, whether the widths do not need `fit`: then it is a warning.
    """
    for name in ("train_step", "compute_loss"):
        # Not every backend's Model has both.
        owners = (c for c in type(model).__mro__ if name in vars(c))
        owner = next(owners, keras.Model)
        if owner.__module__.split(".")[0] != "keras":
            message = (
                f"The `{name}` of a model's own class is not used: `fit` is the pruned "
                "model's. Put what it does into a subclass "
                "of `tf_lossprune.PrunedModel` and pass "
                "`keras.Model(model.inputs, model.outputs)` here. "
                f"Received: {owner.__module__}.{owner.__name__}.{name}"
            )
            if not one_shot:
                raise ValueError(message)
            warnings.warn(message, stacklevel=3)


def _check_all_given(problem: PruningProblem, method: str | None) -> None:
    """Raises `ValueError` if some widths are given, and a search has no part left."""
    groups = problem.channel_graph.groups
    missing = [g.name for g, fixed in zip(groups, problem.fixed) if not fixed]
    if missing:
        raise ValueError(
            f"Expected with method={method!r} `widths` of all groups or of none, since "
            "given widths are fixed before any search. Give the others as well, or "
            "let method='uniform' or 'magnitude' choose them. Received: widths "
            f"without {missing}"
        )


def strip_pruning(
    pruned: PrunedModel, *, check: bool = True, calibration: Data = None
) -> keras.Model:
    """Takes the compact model out of a pruned one.

    If the widths are not fixed yet, they are fixed now from what is known: the
    learned ratios, or uniform ones before any search. The budget holds in any
    case, counted on the compact model.

    Args:
        pruned: `PrunedModel`; its weights are not changed.
        check: bool, whether to compare the outputs of both models on random
            input.
        calibration: inputs without labels, for a compact model that is not to be
            trained: an array (or a list or dict of them, for several inputs) or
            batches. A few hundred are enough. With them the layers learn to predict
            what they lose (unless the model was made with `repair=None`), and the
            statistics of batch normalisations are re-estimated.

    Returns:
        A functional `keras.Model` of stock layers, which loads in a process that
        never imports tf_lossprune, unless a layer of your own that was opened has
        weights of its own: those are in `OwnWeight` layers, which need the import
        (docs/your_own_code.md). Layers that stay whole need what they always did. It
        is not compiled.

    Raises:
        TypeError: if `pruned` is not a `PrunedModel`.
        ValueError: if the weights hold NaN or Inf; for `calibration` of a network
            that was cut in `fit` already, or with fewer than two samples.
        DifferenceError: if the compact model's output differs from the gated one's.
            Nothing is lost: it holds both (`error.pruned`, `error.compact`).
    """
    if not isinstance(pruned, PrunedModel):
        raise TypeError(
            "Expected a model made by `prune_model`. "
            f"Received: {pruned!r} (of type {type(pruned).__name__})"
        )
    if calibration is not None and pruned.is_compact:
        raise ValueError(
            "Expected `calibration` only for a network that has not been cut yet. "
            f"Received: {pruned.name!r}, which `fit` has cut and calibrated"
        )
    check_weights(pruned)
    check_trained(pruned)
    if pruned.phase != "fixed":
        pruned.decide()
    title = f"Cutting {pruned.network.name}"
    with Progress(title, 2 if check else 1, patience=PATIENCE) as told:
        graph = None
        if pruned.is_compact:
            graph = trace(pruned.network)
            compact, _ = copy_graph(graph)
        else:
            keep = pruned.kept_units()
            compact = cut(pruned.channel_graph, keep, pruned.network.name)
        told.advance()
        if check:
            check_compact(pruned, compact, graph=graph)
            told.advance()
    if calibration is not None:
        calibrate(pruned, compact, calibration)
    return compact
