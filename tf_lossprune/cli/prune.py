"""`lossprune prune`: search, strip, fine-tune, convert, report."""

import json
import pathlib
import shutil
import sys

import keras

from tf_lossprune.backup import Backup
from tf_lossprune.cli.checks import STATE, read_widths
from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.delivery import deliver
from tf_lossprune.cli.flags import channel_options
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.cli.latency import asked_budget
from tf_lossprune.cli.outputs import made_folder
from tf_lossprune.cli.prune_flags import LEARNING_RATE
from tf_lossprune.cli.sanity import StopUnlessFinite, check_dense
from tf_lossprune.cli.untrained import compress_untrained
from tf_lossprune.compression import compress_measured
from tf_lossprune.report import TrainingLog
from tf_lossprune.training.feed import Feed

#: About how many points the charts over training get.
POINTS = 200
#: Settings of the hooks that `compress` does not get as they are.
_OWN = ("optimizer", "steps_per_epoch")
#: Flags that do not change what is computed.
_OUTSIDE = {
    "json",
    "traceback",
    "verbose",
    "verbose_tf",
    "restart",
    "overwrite",
    "backup_seconds",
}


def run(values, arguments):
    """Runs the command, as `Command.run`."""
    budget = asked_budget(values)
    out = pathlib.Path(values.out)
    state = out / STATE
    with made_folder(out):
        try:
            return _run(values, arguments, budget, out, state)
        except BaseException:
            if not (state / "run").exists():  # there is nothing to go on with
                shutil.rmtree(state, ignore_errors=True)
            raise


def _run(values, arguments, budget, out, state):
    resumed = _open_state(state, values, arguments)
    keras.utils.set_random_seed(values.seed)
    model = _given_model(values, state, resumed)
    source = read_source(arguments[0], values, model, trains=values.epochs > 0)
    if not (values.model or resumed):
        source.model.save(state / "dense.keras")  # the hook may have trained it
    options = {**_given(channel_options(values)), "seed": values.seed, **source.options}
    if values.importance:
        options["importance"] = values.importance
    if values.widths:
        options["widths"] = read_widths(values.widths)
    if values.epochs:
        compact, result, samples, more = _trained(
            values, arguments[0], source, budget, options, state, resumed
        )
    else:
        compact, result, samples = compress_untrained(values, source, budget, options)
        more = {"method": values.method or "uniform"}
    delivered, failure = deliver(
        values,
        out,
        source.model,
        compact,
        result,
        samples,
        data=arguments[0],
        **more,
    )
    shutil.rmtree(state)
    if failure is not None:
        raise failure
    return delivered


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
    log = TrainingLog(state / "training.jsonl", every=max(1, steps // POINTS))
    backup = Backup(state / "run", keep=True, interval=values.backup_seconds)
    compact, result = _compress(
        source.model,
        budget,
        train,
        source.validation,
        measured,
        epochs=values.epochs,
        batch_size=values.batch_size,
        optimizer=_optimizer(values, source, steps),
        **{n: v for n, v in source.settings.items() if n not in _OWN},
        method=values.method or "loss",
        search_epochs=values.search_epochs,
        distill="auto" if values.distill is None else values.distill,
        callbacks=[log, StopUnlessFinite()],
        verbose=_verbose(values),
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
            print(f"The state is in {backup.folder}; the same command goes on there.")
        raise


def _given(options):
    """Options that were given, so that those of the hooks count otherwise."""
    defaults = {"channel_multiple": "auto", "min_channels": 1, "remove_blocks": False}
    return {k: v for k, v in options.items() if v != defaults.get(k)}


def _optimizer(values, source, steps):
    given = source.optimizer(steps)
    compiled = source.model.compiled and source.model.optimizer is not None
    if values.learning_rate is None and (given is not None or compiled):
        return given
    rate = LEARNING_RATE if values.learning_rate is None else values.learning_rate
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)


def _verbose(values):
    if values.verbose == "auto":
        return 1 if sys.stderr.isatty() else 2
    return int(values.verbose)


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
    print(f"Going on with the run in {state}.")
    return True
