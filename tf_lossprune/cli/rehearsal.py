"""`--dry_run`: the whole command on a few steps, and how long it would take."""

import dataclasses
import pathlib
import tempfile
import time
import warnings

import keras

from tf_lossprune.cli.command import Result
from tf_lossprune.cli.delivery import deliver, files_in
from tf_lossprune.cli.job import training_options
from tf_lossprune.cli.sanity import check_dense
from tf_lossprune.run import Run
from tf_lossprune.settings import Settings
from tf_lossprune.tables import aligned
from tf_lossprune.tables.figures import COSTS, common, comparison
from tf_lossprune.training.feed import Feed

#: Steps of the search, and as many after the cut; the first of them compile.
STEPS, COMPILING = 12, 2
#: About how many seconds they may take; a step takes so many times a prediction.
SECONDS, STEP_FACTOR = 30.0, 4.0


class Clock(keras.callbacks.Callback):
    """Notes when steps and evaluations end.

    Attributes:
        seconds: dict, `"search"`, `"fine_tune"` and `"validation"` -> list of seconds,
            those of the steps that compile among them.
    """

    def __init__(self):
        super().__init__()
        self.seconds = {"search": [], "fine_tune": [], "validation": []}
        self._last = self._test = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        searching = not getattr(self.model, "is_compact", True)
        now = time.perf_counter()
        self.seconds["search" if searching else "fine_tune"].append(now - self._last)
        self._last = now

    def on_test_begin(self, logs=None):
        self._test = time.perf_counter()

    def on_test_end(self, logs=None):
        self.seconds["validation"].append(time.perf_counter() - self._test)

    def each(self, part):
        """Seconds of one step or evaluation of a part, as it is once it is compiled."""
        found = self.seconds[part]
        if part == "validation":
            return min(found, default=0.0)
        rest = found[COMPILING:] or found[-1:]
        return sum(rest) / max(len(rest), 1)


@dataclasses.dataclass
class Estimate:
    """How long a command would take.

    Attributes:
        rows: list of `(part, how often, seconds of each)`.
        rest: float, seconds of what happens once: reading, compiling, cutting,
            converting, timing.
    """

    rows: list
    rest: float

    @property
    def seconds(self):
        """The sum."""
        return self.rest + sum(count * each for _, count, each in self.rows)

    def table(self):
        """The rows and the sum, as text."""
        rows = [
            (part, f"{count:,} times", _text(each), _text(count * each))
            for part, count, each in self.rows
            if count
        ]
        once = ("reading, compiling, converting", "once", "", _text(self.rest))
        return aligned([*rows, once, ("all", "", "", f"about {_text(self.seconds)}")])


def rehearse(values, name, source, job, schedule=None):
    """Runs a job on a few steps, and delivers into a folder that goes away.

    Args:
        values: parsed flags of `define_training`.
        name: string, where the data come from.
        source: `Source`.
        job: function that returns pairs of a compact model and a `CompressionResult`.
            With training it takes a `Feed` and arguments of `compress`; without it
            takes none, and returns the samples as well.
        schedule: `Schedule` or None, that of the job where the hooks have none.

    Returns:
        The command's `Result`.
    """
    began = time.perf_counter()
    if values.epochs:
        found, samples, clock, counts = _on_a_few_steps(
            values, name, source, job, schedule
        )
    else:
        (found, samples), clock, counts = job(), Clock(), {}
    with tempfile.TemporaryDirectory() as folder:
        outs = [pathlib.Path(folder) / str(index) for index in range(len(found))]
        _, failure = deliver(values, source, found, outs, samples)
        files = files_in(outs[0])
    wall = time.perf_counter() - began
    rows = [(part.replace("_", "-"), n, clock.each(part)) for part, n in counts.items()]
    # The first steps and evaluations compile; that is a part of the rest.
    steady = sum(
        min(seconds, clock.each(part))
        for part, times in clock.seconds.items()
        for seconds in times
    )
    estimate = Estimate(rows, max(wall - steady, 0.0))
    if failure is not None:
        raise failure
    return _result(values, [result for _, result in found], files, estimate)


def _on_a_few_steps(values, name, source, job, schedule):
    given = source.settings.get("steps_per_epoch")
    schedule = source.options.get("schedule", schedule)
    whole = Feed(source.train, values.batch_size, given)
    check_dense(source, whole, values.batch_size, name)
    few = int(SECONDS / 2 / (STEP_FACTOR * _forward(source.model, whole.batch[0])))
    few = min(max(few, COMPILING + 2), STEPS, whole.steps)
    clock = Clock()
    options = training_options(values, source, values.epochs * whole.steps, 0)
    real = Run(source.model, whole, None, Settings.read(options)[0])
    searched = sum(real.schedule(schedule).steps(real.steps))
    options.update(epochs=2, search_epochs=1, callbacks=[clock])
    train = Feed(source.train, values.batch_size, few)
    with warnings.catch_warnings():
        # Of the few steps here, not of the command's.
        warnings.filterwarnings("ignore", "The search for the widths has")
        found = job(train, **options)
    if not clock.seconds["search"]:
        searched = 0
    counts = {
        "search": searched,
        "fine_tune": real.steps - searched,
        "validation": 0 if source.validation is None else values.epochs,
    }
    return found, train.data, clock, counts


def _forward(model, inputs):
    """Seconds that a model takes for a batch, once it is compiled."""
    for _ in range(2):
        began = time.perf_counter()
        model.predict_on_batch(inputs)
    return time.perf_counter() - began


def _result(values, results, files, estimate):
    """What the command would deliver, by the networks of the rehearsal."""
    dense = results[0].dense
    names = [n for n in common(dense, results[0].compact) if n in COSTS]
    head = ["", "dense", *("about" for _ in results)]
    rows = [tuple(head)]
    for figure in names:
        cells = [comparison(figure, dense, r.compact) for r in results]
        rows.append(
            (*cells[0][:2], *(f"{after} ({way})" for _, _, after, way in cells))
        )
    data = {
        "out": values.out,
        "dry_run": True,
        "seconds": estimate.seconds,
        "parts": [
            {"part": part, "count": count, "seconds_each": each}
            for part, count, each in estimate.rows
        ],
        "dense": dense,
        "compact": [r.compact for r in results],
        "budgets": [r.budget for r in results],
        "files": files,
    }
    text = (
        f"Dry run: nothing is written to {values.out}.\n\n{estimate.table()}\n\n"
        "It would deliver networks that keep the budget, such as this one, whose "
        f"widths {'a few steps' if values.epochs else 'the weights'} have chosen:\n\n"
        f"{aligned(rows)}\n\nFiles: {', '.join(files)}"
    )
    return Result(data, text)


def _text(seconds):
    """Seconds for people."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 6000:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.2g} h"
