"""The whole job in one call: `prune_model`, `compile`, `fit` and `strip_pruning`."""

import dataclasses
import time
from typing import Any

import keras

from tf_lossprune.allocation import SCHEDULES, Schedule, Usage
from tf_lossprune.backup import Backup
from tf_lossprune.budget import Budget
from tf_lossprune.compiling import compile_settings
from tf_lossprune.methods import Method, find_method
from tf_lossprune.progress import silent
from tf_lossprune.prune import prune_model, strip_pruning
from tf_lossprune.report import report_data, write_html
from tf_lossprune.resources import known_costs, plain
from tf_lossprune.run import COUNTED, Run
from tf_lossprune.settings import Settings
from tf_lossprune.surgery import copy_graph
from tf_lossprune.tables import aligned, ratio_table
from tf_lossprune.tables.figures import budget_text
from tf_lossprune.tables.html import html_block, html_table
from tf_lossprune.tables.text import comparison_rows, ratio_rows
from tf_lossprune.training import PrunedModel
from tf_lossprune.training.calibration import samples_for, some_batches
from tf_lossprune.training.fresh_optimizer import fresh_optimizer
from tf_lossprune.training.prediction import Prediction
from tf_lossprune.training.program import jit_compile_for
from tf_lossprune.types import Data, Limits, Path


@dataclasses.dataclass
class CompressionResult:
    """What `compress` did.

    Attributes:
        dense, compact: dicts with `"macs"`, `"params"` and, if validation data
            was given, the loss and metrics on it.
        budget: dict, resource -> requested share.
        groups: list of dicts with `"name"`, `"kept"`, `"total"`, `"ratio"`, and
            `"channels"`, the indices of the kept channels in the group, and `"scores"`,
            the importance of all of them when they were chosen; `"producers"`,
            `"through"` and `"consumers"`, the names of its layers.
        history: dict with `"search"` and `"fine_tune"`, as Keras' `history`.
        seconds: dict with `"search"`, `"strip"` and `"fine_tune"`.
        distillation: dict, name of an output -> as what the dense model taught it;
            empty without `distill`.
        name: the dense model's.
        layers: list of dicts, the layers that make channels: `"name"`, `"kept"`,
            `"total"`, and `"groups"`, the names of their groups.
        frozen: list of `(layer, reason)`, layers whose channels all stay.
        usage: `Usage`: how much of its budgets the compact network uses, and what the
            next width would take.
        uniform: dict, the network that the budget allows with the same share of each
            group: `"widths"`, group name -> channels, and `"macs"` and `"params"`, as
            counted. It is not trained.
        layer_costs: list of dicts, what layers cost: `"name"`, and for each resource
            that is counted layer by layer `[dense, compact]`.
    """

    dense: dict
    compact: dict
    budget: dict
    groups: list
    history: dict
    seconds: dict
    distillation: dict = dataclasses.field(default_factory=dict)
    name: str = ""
    layers: list = dataclasses.field(default_factory=list)
    frozen: list = dataclasses.field(default_factory=list)
    usage: Usage | None = None
    uniform: dict = dataclasses.field(default_factory=dict)
    layer_costs: list = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.usage, dict):  # from `to_dict`
            self.usage = Usage(**self.usage)

    @classmethod
    def of(
        cls,
        run: Run,
        pruned: PrunedModel,
        compact: keras.Model,
        history: dict,
        seconds: dict,
        budget: Budget | None = None,
        keep: Any = None,
        scores: Any = None,
    ) -> "CompressionResult":
        """Puts the result together.

        Args:
            run: `Run`.
            pruned: `PrunedModel`.
            compact: the compact model.
            history, seconds: as above.
            budget: `Budget` or None: that of the pruned model.
            keep: bool `[num_units + 1]` or None, the units of the compact model; None:
                those that are fixed in the pruned one.
            scores: float `[num_units + 1]` or None, by which they were chosen; None:
                likewise.
        """
        shape = pruned.problem.space.input_shape
        # Analysed anew, not told by what cut it: the figures of what is delivered are
        # a check of the cut and its costs.
        taught = run.distillation.described() if run.distillation else {}
        groups = pruned.described_groups(keep, scores)
        return cls(
            run.dense_figures,
            run.figures(compact, known_costs(compact, input_shape=shape)),
            dict((budget or pruned.budget).limits),
            groups,
            history,
            seconds,
            taught,
            **_network(pruned, groups),
            usage=pruned.usage(keep, budget),
            uniform=pruned.described_uniform(budget),
            layer_costs=pruned.described_costs(keep),
        )

    @property
    def widths(self) -> dict[str, int]:
        """Dict, group name -> kept channels, which `PrunedModel.decide` takes."""
        return {group["name"]: group["kept"] for group in self.groups}

    @property
    def pruned(self) -> list[str]:
        """Names of the layers that have lost output channels."""
        return [la["name"] for la in self.layers if la["kept"] < la["total"]]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Pairs of a layer's name and why all its channels stay, or some of them."""
        return [(name, reason) for name, reason in self.frozen]

    def write_html(self, path: Path, **more: Any) -> str:
        """Writes the result as a page of its own, to show to others.

        Args:
            path: path of the file; its folder is made where it is missing.
            **more: further entries of the page, as in `report.report_data`.

        Returns:
            The path, a string.
        """
        return write_html(path, report_data(self, **more))

    def __repr__(self) -> str:
        changes = (
            f"{title} {before} to {after}"
            for title, before, after, _ in comparison_rows(self.dense, self.compact)[1:]
        )
        return f"<CompressionResult {self.name}: {', '.join(changes)}>"

    def __str__(self) -> str:
        parts = [aligned(comparison_rows(self.dense, self.compact))]
        if self.groups:
            parts.append(ratio_table(self.groups))
        parts += [f"skipped: {name} ({reason})" for name, reason in self.skipped]
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        groups = ratio_rows(self.groups) if self.groups else []
        tables = [html_table(comparison_rows(self.dense, self.compact))]
        tables += [html_table(groups, left=(0, 3))] if groups else []
        title = f"{self.name}: budget {budget_text(self.budget)}"
        return html_block(title, *tables)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values, for JSON."""
        return dataclasses.asdict(self)


def compress(
    model: keras.Model,
    budget: Budget | Limits | float,
    train: Data = None,
    validation: Data = None,
    *,
    method: str | Method | None = None,
    backup: Path | Backup | None = None,
    **options: Any,
) -> tuple[keras.Model, CompressionResult]:
    """Prunes a model, trains it, and measures it before and after.

    Equivalent to `prune_model`, `compile`, one `fit` and `strip_pruning`, with optional
    backups. Before any training, one batch is run through model, loss, metrics and
    distillation, and the dense model is evaluated on the validation data.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        budget: as in `prune_model`.
        train: training data: `tf.data.Dataset`, `keras.utils.PyDataset`, a tuple
            `(x, y)` or `(x, y, sample_weight)` of arrays, another iterable of
            batches, or a generator. Infinite data and generators need
            `steps_per_epoch`. Not needed with `epochs=0`.
        validation: validation data or None, as `validation_data` in `fit`.
        method: as in `prune_model`; None: `"loss"`, or with `epochs=0` `"uniform"`.
        backup: path of a folder of its own, a `tf_lossprune.backup.Backup`, or None.
            While the call runs, its state is saved there: if it is killed or
            interrupted, the same call resumes. The folder is removed at the end.
        **options: any of these, and further arguments of `prune_model`, whose
            `schedule`'s phases are scaled to the search.

            epochs: int >= 1, passes over the data in total, search included; 5. Or 0,
                with `calibration`: nothing is trained, and no labels are needed. A
                method that needs no search fixes the widths, the layers learn to
                predict what they lose (`training.repair`), and statistics are
                re-estimated. Loss and metrics are needed for `validation` only.
            calibration: with `epochs=0`, a few hundred inputs as in `strip_pruning`.
            search_epochs: float in (0, epochs] or None; need not be whole. None: 0.1
                of them, at most 1,000 steps; of less than 2,000 steps up to 0.3,
                until it has 200 steps, or 60 on frozen weights (`Schedule`). Methods
                that do not learn the widths while they train have none.
            optimizer: Keras optimizer; its learning rate schedule runs once over all
                epochs. None: the model's own.
            loss, metrics, loss_weights, weighted_metrics: as in `compile`. None: the
                model's own.
            jit_compile: as in `compile`; `"auto"`: as Keras decides, but without XLA
                where its convolutions are slow (TensorFlow on CPUs).
            statistics_batches: int >= 0, training batches from which batch
                normalisation statistics are re-estimated after the cut; 32.
            check: bool, whether to compare the compact model with the pruned one when
                it is cut out; True. Where they differ, the error holds both.
            batch_size, callbacks, verbose, shuffle, class_weight, steps_per_epoch,
                validation_split, validation_steps, validation_batch_size,
                validation_freq: as in `fit`, for both parts. Sample weights are a
                part of the data.

    Returns:
        The compact functional `keras.Model` (compiled with loss and metrics), and
        a `CompressionResult`.

    Raises:
        TypeError, ValueError, InfeasibleBudgetError: as `prune_model`, before any
            training; TypeError for an unknown option; ValueError if there is no loss,
            and if data, loss, metrics and model do not fit together.
        DifferenceError: as `strip_pruning`; it holds the trained model.

    Example:

    ```python
    compact, result = tf_lossprune.compress(
        model, {"macs": 0.5}, train, val, epochs=5,
        optimizer=keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    ```
    """
    return compress_measured(
        model, budget, train, validation, method=method, backup=backup, **options
    )


def compress_measured(
    model: keras.Model,
    budget: Budget | Limits | float,
    train: Data,
    validation: Data = None,
    measured: dict[str, Any] | None = None,
    *,
    method: str | Method | None = None,
    backup: Path | Backup | None = None,
    **options: Any,
) -> tuple[keras.Model, CompressionResult]:
    """As `compress`, of a model that has been evaluated before.

    Args:
        model, budget, train, validation, method, backup, **options: as there.
        measured: dict, the dense model's loss and metrics on the validation data;
            None: they are measured.
    """
    settings, prune_options = Settings.read(options)
    budget = settings.told(budget)
    if settings.search_epochs is not None and prune_options.get("widths") is not None:
        raise ValueError(
            "Expected no `search_epochs` with `widths`, which leave nothing to search. "
            f"Received: search_epochs={settings.search_epochs!r}"
        )
    with silent(not settings.verbose):
        if settings.epochs == 0:
            method = "uniform" if method is None else method
            return _untrained(
                model, budget, validation, settings, method, prune_options
            )
        method = "loss" if method is None else method
        run = Run(model, train, validation, settings, method, backup, measured)
        return _trained(model, budget, run, method, prune_options)


def _trained(
    model: keras.Model,
    budget: Budget | Limits | float,
    run: Run,
    method: str | Method,
    options: dict,
) -> tuple[keras.Model, CompressionResult]:
    """What `compress` does with training."""
    options["schedule"] = run.schedule(options.get("schedule"))
    pruned = prune_model(model, budget, method=method, **options)
    history, seconds = run.fit_pruned(pruned)
    began = time.perf_counter()
    compact = strip_pruning(pruned, check=run.settings.check)
    seconds["strip"] = time.perf_counter() - began
    run.backup.close()
    if run.settings.verbose:
        print(pruned.usage())
    compact.compile(**run.compiling(optimizer=fresh_optimizer(pruned.optimizer)))
    return compact, CompressionResult.of(run, pruned, compact, history, seconds)


def _untrained(
    model: keras.Model,
    budget: Budget | Limits | float,
    validation: Data,
    settings: Settings,
    method: str | Method,
    options: dict,
) -> tuple[keras.Model, CompressionResult]:
    """What `compress` does with `epochs=0`."""
    if not find_method(method).one_shot:
        raise ValueError(
            "Expected with epochs=0 a method that reads the weights only, such as "
            f"'uniform' or 'magnitude'. Received: {find_method(method).name!r}"
        )
    schedule = SCHEDULES.find(options.get("schedule")).get_config()
    schedule["statistics_batches"] = settings.statistics_batches
    options = {**options, "schedule": Schedule.from_config(schedule)}
    inputs = some_batches(
        settings.calibration, samples_for(settings.statistics_batches)
    )
    if options.get("importance") == Prediction.name:
        options["importance"] = Prediction(iter(inputs))
    pruned = prune_model(model, budget, method=method, **options)
    began = time.perf_counter()
    compact = strip_pruning(pruned, check=settings.check, calibration=iter(inputs))
    seconds = {"search": 0.0, "strip": time.perf_counter() - began, "fine_tune": 0.0}
    held_out, shape = settings.held_out(validation), pruned.problem.space.input_shape
    dense = {n: plain(c.dense) for n, c in pruned.costs.items() if n in COUNTED}
    figures = [dense, known_costs(compact, input_shape=shape)]
    if held_out is not None:
        networks = copy_graph(pruned.channel_graph.graph)[0], compact
        for network, found in zip(networks, figures):
            given = compile_settings(model, settings)
            jit_compile = jit_compile_for(pruned.channel_graph, given["jit_compile"])
            network.compile(**{**given, "optimizer": None, "jit_compile": jit_compile})
            found.update(held_out.evaluate(network))
    groups = pruned.described_groups()
    return compact, CompressionResult(
        figures[0],
        figures[1],
        dict(pruned.budget.limits),
        groups,
        {"search": {}, "fine_tune": {}},
        seconds,
        **_network(pruned, groups),
        usage=pruned.usage(),
        uniform=pruned.described_uniform(),
        layer_costs=pruned.described_costs(),
    )


def _network(pruned: PrunedModel, groups: list[dict]) -> dict[str, Any]:
    """What a result says of the dense network and its layers."""
    channels = pruned.channel_graph
    return {
        "name": channels.graph.name,
        "layers": pruned.described_layers(groups),
        "frozen": list(channels.frozen),
    }
