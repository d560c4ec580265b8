"""`lossprune prune`: search, strip, fine-tune, convert, report."""

import json
import pathlib
import shutil

import keras

from tf_lossprune.backup import Backup
from tf_lossprune.cli.checks import STATE, read_widths
from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.delivery import deliver, delivered
from tf_lossprune.cli.headings import Headings
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.cli.job import pruning_options, training_options, verbosity
from tf_lossprune.cli.latency import asked_budget
from tf_lossprune.cli.outputs import made_folder
from tf_lossprune.cli.rehearsal import rehearse
from tf_lossprune.cli.sanity import StopUnlessFinite, check_dense
from tf_lossprune.cli.untrained import compress_untrained
from tf_lossprune.compression import compress_measured
from tf_lossprune.report import TrainingLog
from tf_lossprune.training.feed import Feed

#: About how many points the charts over training get.
POINTS = 200
#: Flags that do not change what is computed.
_OUTSIDE = {
    "json",
    "traceback",
    "verbose",
    "verbose_tf",
    "restart",
    "overwrite",
    "backup_seconds",
    "dry_run",
}


def run(values, arguments):
    """Runs the command, as `Command.run`."""
    budget = asked_budget(values)
    if values.dry_run:
        return _dry_run(values, arguments[0], budget)
    out = pathlib.Path(values.out)
    state = out / STATE
    with made_folder(out):
        try:
            return _run(values, arguments, budget, out, state)
        except BaseException:
            if not (state / "run").exists():  # there is nothing to go on with
                shutil.rmtree(state, ignore_errors=True)
            raise


def _dry_run(values, name, budget):
    keras.utils.set_random_seed(values.seed)
    model = load_model(values.model) if values.model else None
    source = read_source(name, values, model, trains=values.epochs > 0)
    options = _options(values, source)

    def untrained():
        compact, result, samples = compress_untrained(values, source, budget, options)
        return [(compact, result)], samples

    def trained(train, **settings):
        settings = {**settings, "method": values.method or "loss", **options}
        if values.widths:
            settings["search_epochs"] = None
        return [
            compress_measured(
                source.model, budget, train, source.validation, **settings
            )
        ]

    return rehearse(values, name, source, trained if values.epochs else untrained)


def _run(values, arguments, budget, out, state):
    resumed = _open_state(state, values, arguments)
    keras.utils.set_random_seed(values.seed)
    model = _given_model(values, state, resumed)
    source = read_source(arguments[0], values, model, trains=values.epochs > 0)
    if not (values.model or resumed):
        source.model.save(state / "dense.keras")  # the hook may have trained it
    options = _options(values, source)
    if values.epochs:
        compact, result, samples, more = _trained(
            values, arguments[0], source, budget, options, state, resumed
        )
    else:
        compact, result, samples = compress_untrained(values, source, budget, options)
        more = {"method": values.method or "uniform"}
    found = [(compact, result)]
    (report,), failure = deliver(
        values, source, found, [out], samples, data=arguments[0], **more
    )
    shutil.rmtree(state)
    if failure is not None:
        raise failure
    return delivered(out, result, report)


def _options(values, source):
    widths = {"widths": read_widths(values.widths)} if values.widths else {}
    return {**pruning_options(values, source), **widths}


def _trained(values, name, source, budget, options, state, resumed):
    """Trains.

    Returns:
        The compact model, the `CompressionResult`, the training data, and a dict of
        further entries of the report.
    """
    train = Feed(
        source.train, values.batch_size, source.settings.get("steps_per_epoch")
    )
    measured = None
    if not resumed:
        measured = check_dense(source, train, values.batch_size, name)
    steps = values.epochs * train.steps
    verbose = verbosity(values)
    log = TrainingLog(state / "training.jsonl", every=max(1, steps // POINTS))
    headings = [Headings(values.epochs, train.steps, verbose == 1)] if verbose else []
    backup = Backup(state / "run", keep=True, interval=values.backup_seconds)
    compact, result = _compress(
        source.model,
        budget,
        train,
        source.validation,
        measured,
        **training_options(values, source, steps, verbose),
        method=values.method or "loss",
        callbacks=[*headings, log, StopUnlessFinite()],
        backup=backup,
        **options,
    )
    more = {
        "method": values.method or "loss",
        "training": log.points(),
        "steps_per_epoch": train.steps,
    }
    return compact, result, train.data, more


def _given_model(values, state, resumed):
    """The model that replaces the hook's: the flag's, or that of the resumed run."""
    if values.model:
        return load_model(values.model)
    kept = state / "dense.keras"
    if not (resumed and kept.exists()):
        return None
    try:
        return load_model(str(kept))
    except InputError:  # it has parts that are not registered: ask the hook again
        return None


def _compress(*arguments, backup, **options):
    """`compress`, which says what to do after Ctrl-C."""
    try:
        return compress_measured(*arguments, backup=backup, **options)
    except KeyboardInterrupt:
        if backup.folder.exists():
            print(
                f"The state is in {backup.folder}; the same command resumes from there."
            )
        raise


def _open_state(state, values, arguments):
    """Looks whether the folder holds the state of the same command.

    Args:
        state: path of the folder.
        values, arguments: the parsed command.

    Returns:
        Whether there is a run to go on with.

    Raises:
        InputError: if there is one of another command.
    """
    command = {n: values[n].value for n in values if n not in _OUTSIDE}
    command = json.loads(json.dumps({"arguments": arguments, **command}))
    path = state / "command.json"
    resumed = path.exists() and (state / "run").exists() and not values.restart
    if not resumed:
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        path.write_text(json.dumps(command, indent=2) + "\n", encoding="utf-8")
        return False
    theirs = json.loads(path.read_text(encoding="utf-8"))
    for name, mine in command.items():
        if theirs.get(name) != mine:
            raise InputError(
                f"Expected the command that left its state in {str(state)!r}, or "
                f"--restart; it had {name}={theirs.get(name)!r}. Received: {mine!r}"
            )
    print(f"Resuming the run in {state}.")
    return True
