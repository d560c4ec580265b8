"""The gated model that users compile and fit."""

import logging
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.advice import check_search
from tf_lossprune.budget import Budget
from tf_lossprune.graph import Group, trace
from tf_lossprune.problem import PruningProblem
from tf_lossprune.surgery import mark_closed, reasons_closed
from tf_lossprune.training.backends import current_backend
from tf_lossprune.training.choice import WidthChoice
from tf_lossprune.training.data import (
    batch_spec,
    batches,
    check_data,
    first_of,
    trained_on,
)
from tf_lossprune.training.evaluation import Evaluation
from tf_lossprune.training.finite import check_weights
from tf_lossprune.training.kept import Kept
from tf_lossprune.training.network import arranged, gated_network
from tf_lossprune.training.options import PruningOptions
from tf_lossprune.training.phases import PhaseCallback, with_phases
from tf_lossprune.training.program import as_program, xla_pays
from tf_lossprune.training.reloading import check_reloading
from tf_lossprune.training.saving import SavedState
from tf_lossprune.training.sharding import check_sharding
from tf_lossprune.training.shown import Shown
from tf_lossprune.training.shrinking import Shrinking
from tf_lossprune.training.step import StepContract
from tf_lossprune.training.teaching import Teaching
from tf_lossprune.types import BackendTensor, Data, Limits

PHASES = ("warmup", "search", "fixed")


@keras.saving.register_keras_serializable(package="tf_lossprune")
class PrunedModel(
    Shown,
    SavedState,
    Teaching,
    Shrinking,
    StepContract,
    Kept,
    internals.OwnCompilation,
    current_backend(),
    keras.Model,
):
    """A model with gated channels; made by `prune_model`.

    Args:
        template: functional `keras.Model` whose layers this model takes over.
        problem: `PruningProblem` of the template, with a budget.
        options: `PruningOptions`.
    """

    def __init__(
        self,
        template: keras.Model,
        problem: PruningProblem,
        options: PruningOptions,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", f"pruned_{template.name}")
        kwargs["autocast"] = False  # the network's layers cast for themselves
        super().__init__(**kwargs)
        self.problem = problem
        self.options = options
        # In a tuple with a function, Keras does not track the template again.
        self._template = lambda: template
        self.budget = problem.budget
        self.channel_graph = problem.channel_graph
        self.costs = problem.costs
        #: dict, resource -> the share of the dense cost that is allowed.
        self.shares = problem.shares
        self.choice = WidthChoice(problem)
        self._search_range = None  # first step and length, for the host
        self.search = options.method.search_class(
            self.channel_graph,
            [self.costs[name] for name in self.shares],
            list(self.shares.values()),
            problem.smallest,
            options,
            options.method,
        )
        self.ratio_optimizer = options.make_ratio_optimizer()
        self.ratio_optimizer.build(self.search.learned())
        self.network = gated_network(template.name, self.channel_graph)
        # Keras finds losses and metrics that are given by name through these.
        self.output_names = list(template.output_names)
        self.built = True
        self._score = as_program(self.search.current_importance, self)
        self._forward_kept = as_program(
            lambda x, kept: self.run_network(x, kept, training=True), self, often=True
        )

    def wants_xla(self) -> bool:
        """Whether `jit_compile="auto"` means XLA where Keras would use it.

        Not for convolutions on TensorFlow and CPUs, where it multiplies the time.
        """
        return xla_pays(self.channel_graph)

    # The forward pass.

    def run_network(
        self, inputs: Any, gates: BackendTensor, training: bool | None = None
    ) -> Any:
        """Runs the network with given gates `[num_units + 1]`.

        The compact network has none left: there they make no difference.
        """
        given = [arranged(inputs, self.channel_graph.graph.inputs), gates]
        given = tree.map_structure(ops.convert_to_tensor, given)
        given = given[0] if self.is_compact else given
        return self.network(given, training=training)

    def forward_kept(self, inputs: Any) -> Any:
        """Runs the gated network in training mode with the channels that are kept."""
        return self._forward_kept(inputs, self.search.kept.value)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self.is_compact:
            inputs = arranged(inputs, self.channel_graph.graph.inputs)
            return self.network(inputs, training=training)
        if training and self.widths_are_open():
            raise ValueError(
                "A PrunedModel learns its widths in its own `fit`, or in a loop that "
                "draws gates and hands their gradient back (docs/training.md). As a "
                "part of another model's training it can serve when the widths are "
                "fixed: call `decide()` before, or train it alone first. Received: a "
                "call with training=True before the widths are fixed"
            )
        gates = self.search.evaluation_gates()
        return self.run_network(inputs, gates, training=training)

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        given = arranged(inputs, self.channel_graph.graph.inputs)
        if not self.is_compact:
            gates = keras.KerasTensor((self.channel_graph.num_units + 1,), "float32")
            given = [given, gates]
        return internals.spec_of_call(self.network, (given,))

    # Phases.

    @property
    def groups(self) -> list[Group]:
        """The coupling groups, in the order of all per-group arrays."""
        return self.channel_graph.groups

    @property
    def phase(self) -> str:
        """`"warmup"`, `"search"` or `"fixed"`."""
        self.sync_state()  # within an epoch, variables lag behind on JAX
        if self.search.read("fixed"):
            return "fixed"
        return "search" if bool(self.search.searching()) else "warmup"

    def begin(self, total_steps: int) -> None:
        """Lays the schedule over `total_steps` training steps.

        `fit` does this itself. Steps already done count, so that a resumed run
        goes on where it was.

        Args:
            total_steps: int, steps of warm-up, search and fine-tuning together.
        """
        total_steps = self.options.schedule.total_steps or total_steps
        if not isinstance(total_steps, numbers.Integral) or total_steps < 1:
            raise ValueError(
                "Expected total_steps as a whole number of at least 1. "
                f"Received: {total_steps!r}"
            )
        frozen = bool(self.search.frozen.on_host)
        if not self.search.read("step"):
            frozen = self.options.freezes(total_steps, self.network, self.compiled)
        warmup, search = self.options.schedule.steps(int(total_steps), frozen)
        self.search.frozen.assign(int(frozen))
        self.options.set_ratio_rate(self.ratio_optimizer, frozen)
        self.search.warmup_steps.assign(warmup)
        self.search.search_steps.assign(search)
        if self.options.method.trains and self._search_range != (warmup, search):
            check_search(search, total_steps)
        self._search_range = warmup, search

    @property
    def search_end(self) -> int:
        """The step at which the widths get fixed; 0 before `begin`."""
        return self.search.read("warmup_steps") + self.search.read("search_steps")

    def decide(
        self,
        widths: Mapping[str, int] | Sequence[float] | np.ndarray | None = None,
        importance: np.ndarray | None = None,
    ) -> None:
        """Fixes whole widths which keep the budget, and which channels stay.

        Args:
            widths: None, what the method has found; or a dict, group name -> kept
                channels, such as `widths` of a `CompressionResult`: these groups get
                exactly those, and the method chooses the others' around them, within
                the budget; or float `[groups]`, ratios.
            importance: float `[num_units + 1]`, scores of the channels, of which those
                of a group with the smallest go first; None: by the `importance` that
                `prune_model` was given.

        Raises:
            TypeError: for a width that is no whole number.
            ValueError: if the weights hold NaN or Inf, for groups that there are not,
                for widths that they cannot have, or if these are no ratios; for scores
                of another shape, or that are not finite.
            InfeasibleBudgetError: if these widths break the budget.
        """
        if self.is_compact:
            raise ValueError(
                "Expected a network that is not cut yet: to other widths, prune what "
                "`strip_pruning` returns, or the dense model again. "
                f"Received: {self.name!r}, which is compact"
            )
        check_weights(self)
        problem, ratios = self.problem, None
        if isinstance(widths, Mapping):
            problem = problem.with_widths(widths)
        elif widths is not None:
            ratios = self._checked_ratios(widths)
        if importance is None:
            importance = self.current_importance()
        else:
            importance = self._checked_scores(importance)
        self.search.importance.assign(importance)
        if ratios is None:
            ratios = self._method_ratios(importance, self.search.targets)
        self.choice = WidthChoice(problem)
        keep = self.choice.units(importance, ratios, self.budget)
        self.search.kept.assign(keep.astype("float32"))
        self.search.fixed.assign(1)
        logging.getLogger(__name__).info("%s", self.usage())

    def plan(
        self,
        data: Data,
        batch_size: int | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> None:
        """Lets a method that tries networks out find the widths, and fixes them.

        `fit` does this itself.

        Args:
            data: training data with targets, in a form which `compress` takes.
            batch_size: int or None, for arrays.
            class_weight: dict, class -> weight, or None, as in `fit`.

        Raises:
            ValueError: if the model is not compiled, or for data without targets.
        """
        # What is trained between two trials is no target to repair towards.
        repairs = self.options.repair is not None and not (
            self.options.method.plan_steps()
        )
        evaluate = Evaluation(self, data, batch_size, class_weight, repairs=repairs)
        self.decide(self.options.method.plan(self, evaluate))

    def current_importance(self) -> np.ndarray:
        """Float array `[num_units + 1]`: scores of the weights as they are now."""
        return ops.convert_to_numpy(self._score())

    def _checked_ratios(self, ratios: Any) -> np.ndarray:
        found = np.asarray(ratios, "float64")
        wanted = (len(self.groups),)
        # No comparison holds for NaN.
        if found.shape != wanted or not (found >= 0).all() or np.isinf(found).any():
            raise ValueError(
                "Expected a dict from names of groups to whole widths, or ratios for "
                f"the {len(self.groups)} groups, each a finite number of at least 0. "
                f"Received: {ratios!r}"
            )
        return found

    def _checked_scores(self, importance: Any) -> np.ndarray:
        found = np.asarray(importance, "float32")
        wanted = (self.channel_graph.num_units + 1,)
        if found.shape != wanted or not np.isfinite(found).all():
            raise ValueError(
                f"Expected importance as {wanted[0]} finite scores, of all channels "
                "behind one that counts for nothing, as `current_importance` returns "
                f"them. Received: {importance!r}"
            )
        return found

    def with_budget(self, budget: Budget | Limits | float) -> "PrunedModel":
        """A pruned model in this one's place, under another budget.

        Args:
            budget: dict or `Budget` on the same resources.

        Raises:
            InfeasibleBudgetError: if the smallest widths break the budget.
        """
        problem = self.problem.with_budget(self._with_resources(budget))
        return type(self)(self._template(), problem, self.options)

    @property
    def recuts(self) -> int:
        """How often `decide` had to cut more after a measurement."""
        return self.choice.recuts

    def fit_widths(
        self, ratios: np.ndarray, shares: Mapping[str, float] | None = None
    ) -> np.ndarray:
        """Whole widths `[groups]` for ratios which keep all budgets and use them.

        Args:
            ratios: float `[groups]`.
            shares: dict, resource -> share of the dense cost; None: the budget's.
        """
        return self.choice.widths(ratios, self.shares if shares is None else shares)

    # What Keras calls.

    def fit(
        self,
        x: Data = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`, with the phases in it.

        Warm-up, search and fixed widths follow by themselves; the logs show the
        resources and the phase (0, 1, 2). Arguments and result as in Keras.
        """
        if not self.compiled:
            raise ValueError(
                "Expected a compiled model: call `compile(optimizer, loss, ...)` "
                f"before `fit`. Received: {self.name!r}, not compiled"
            )
        check_data(x)
        if not self.is_compact:
            fixed = self.phase == "fixed"
            widths = np.array([*self.widths.values()]) if fixed else None
            check_sharding(self.problem, widths)
        self._make_teacher()
        labelled = trained_on(x, y, batch_size, *args, **kwargs)
        if self.options.method.plans and self.phase != "fixed":
            self.plan(*labelled)
        batch = batch_spec(x, y, kwargs.get("sample_weight"))
        self.make_variables(batch)
        self._dismiss_idle_teacher(batch)
        phases = PhaseCallback(lambda: batches(first_of(x), batch_size), labelled)
        callbacks = with_phases(callbacks, phases)
        return super().fit(
            x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs
        )

    def get_config(self) -> dict[str, Any]:
        check_reloading(self._template())
        return {
            "name": self.name,
            "template": keras.saving.serialize_keras_object(self._template()),
            "budget": keras.saving.serialize_keras_object(self.budget),
            "space": keras.saving.serialize_keras_object(self.problem.space),
            "options": keras.saving.serialize_keras_object(self.options),
            "closed": reasons_closed(self.channel_graph.graph),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "PrunedModel":
        config = dict(config)
        for key in ("template", "budget", "space", "options"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        graph = trace(config["template"])
        mark_closed(graph, config.pop("closed", {}))
        problem = PruningProblem(graph, config.pop("space"))
        return cls(problem=problem.with_budget(config.pop("budget")), **config)
