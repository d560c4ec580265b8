"""`lossprune frontier`: several budgets from one search."""

import pathlib
import tempfile

import keras

from tf_lossprune.allocation import Schedule
from tf_lossprune.budget import Budget
from tf_lossprune.budget_text import folder_name, parse_budgets
from tf_lossprune.cli.checks import FRONTIER_RESULTS
from tf_lossprune.cli.command import Result
from tf_lossprune.cli.delivery import deliver
from tf_lossprune.cli.headings import Headings
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.cli.job import (
    pruning_options,
    training_options,
    verbosity,
)
from tf_lossprune.cli.latency import device_resources
from tf_lossprune.cli.outputs import made_folder
from tf_lossprune.cli.rehearsal import rehearse
from tf_lossprune.cli.sanity import StopUnlessFinite, check_dense
from tf_lossprune.frontier import POWER, SEARCH_SHARE, compress_frontier
from tf_lossprune.report import (
    TrainingLog,
    networks_table,
    write_frontier_html,
    write_json,
)
from tf_lossprune.training.feed import Feed

#: About how many points the charts over training get.
POINTS = 200


def run(values, arguments):
    """Runs the command, as `Command.run`."""
    limits = parse_budgets(values.budgets)
    resources = device_resources(values)
    budgets = [Budget(entry, resources) for entry in limits]
    keras.utils.set_random_seed(values.seed)
    model = load_model(values.model) if values.model else None
    source = read_source(arguments[0], values, model)
    options = pruning_options(values, source)

    def job(train, **settings):
        settings = {**settings, **options}
        return compress_frontier(
            source.model, budgets, train, source.validation, **settings
        )

    if values.dry_run:
        schedule = Schedule(power=POWER, search=SEARCH_SHARE)
        return rehearse(values, arguments[0], source, job, schedule)
    out = pathlib.Path(values.out)
    with made_folder(out):
        names = [folder_name(entry) for entry in limits]
        return _run(values, arguments[0], source, job, out, names)


def _run(values, name, source, job, out, names):
    train = Feed(
        source.train, values.batch_size, source.settings.get("steps_per_epoch")
    )
    check_dense(source, train, values.batch_size, name)
    steps, verbose = values.epochs * train.steps, verbosity(values)
    headings = [Headings(values.epochs, train.steps, verbose == 1)] if verbose else []
    with tempfile.TemporaryDirectory() as folder:
        log = TrainingLog(
            pathlib.Path(folder) / "training.jsonl", every=max(1, steps // POINTS)
        )
        found = job(
            train,
            **training_options(values, source, steps, verbose),
            callbacks=[*headings, log, StopUnlessFinite()],
        )
        training = log.points()
    for entry in FRONTIER_RESULTS:  # of a run before, which are to be overwritten
        (out / entry).unlink(missing_ok=True)
    reports, failure = deliver(
        values,
        source,
        found,
        [out / entry for entry in names],
        train.data,
        data=name,
        method="loss",
        training=training,
        steps_per_epoch=train.steps,
    )
    links = [f"{entry}/report.html" for entry in names]
    data = {"out": str(out), "networks": names, "reports": reports}
    write_json(out / "frontier.json", data)
    write_frontier_html(out / "frontier.html", reports, links=links)
    if failure is not None:
        raise failure
    text = (
        f"{networks_table(reports)}\n\n"
        f"Written to {out}: {', '.join((*FRONTIER_RESULTS, *names))}"
    )
    return Result(data, text)
