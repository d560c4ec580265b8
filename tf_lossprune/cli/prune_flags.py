"""The flags of `lossprune prune`, and what is checked of them."""

import pathlib

from absl import flags

from tf_lossprune.budget_text import folder_name, parse_budget, parse_budgets
from tf_lossprune.cli import checks
from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.flags import (
    channel_options,
    define_channels,
    define_common,
    define_data,
    define_overwrite,
    define_precision,
    pixel_range,
)
from tf_lossprune.cli.latency_flags import check_table, define_table

#: Learning rate where neither the flag, the hooks nor the model say one.
LEARNING_RATE = 0.01
IMPORTANCES = ("auto", "group_l2", "l1", "bn_scale", "taylor")
#: Why `frontier` trains no single budget anew, and what does.
_ONE_SEARCH = (
    "All networks of a frontier come from one search and are fine-tuned side by side, "
    "so that none can be left out or added later. For one more budget use `lossprune "
    "prune`, and `lossprune report` with each report.json for a common page. "
)
#: What `--augment` can do to images.
AUGMENTATIONS = ("flip", "crop", "rotate")


def define_training(values):
    """Defines what `prune` and `frontier` have in common."""
    flags.DEFINE_string("out", "out", "Folder of the results.", flag_values=values)
    flags.DEFINE_string(
        "model", None, "Model file, instead of the hook `model`.", flag_values=values
    )
    flags.DEFINE_float(
        "search_epochs", None, "Those of the search.", flag_values=values
    )
    flags.DEFINE_float(
        "learning_rate",
        None,
        "Of SGD with momentum and a cosine schedule, instead of the optimizer of the "
        f"hooks or of the model; {LEARNING_RATE} if neither has one.",
        0.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "distill",
        None,
        "Weight of the dense model's outputs in the fine-tuning; 0: they do not teach. "
        "Without the flag they do where they are classes and better than the compact "
        "model's.",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_list(
        "augment",
        [],
        "Random changes to the training images of a folder, of "
        f"{', '.join(AUGMENTATIONS)}. Default: none.",
        flag_values=values,
    )
    define_table(values)
    flags.DEFINE_bool(
        "litert", True, "Whether to convert and time.", flag_values=values
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Train a few steps only, write nothing, and say how long the command would "
        "take and what it would deliver.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "verbose",
        "auto",
        ["auto", "0", "1", "2"],
        "Progress: none, bars, or a line for each epoch.",
        flag_values=values,
    )
    define_overwrite(values)
    define_precision(values)
    define_channels(values)
    define_data(values)
    define_common(values)


def define_prune(values):
    """Defines the flags of `prune`."""
    flags.DEFINE_string(
        "budget",
        "macs=0.5",
        "What the network may cost, such as macs=0.5,size_bytes=300kB.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "epochs",
        5,
        "All epochs; 0: nothing is trained, and no labels are needed.",
        0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "calibration",
        None,
        "With --epochs=0: typical inputs, a folder of images without labels or a .npy "
        "file, instead of the training data of the hooks.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "method",
        None,
        ["loss", "magnitude", "uniform"],
        "What chooses the widths. Default: loss; with --epochs=0 uniform.",
        flag_values=values,
    )
    _define_importance(values, [*IMPORTANCES, "prediction"])
    flags.DEFINE_string(
        "widths",
        None,
        "JSON file of the widths, group -> channels, or the report.json of another "
        "run: they are trained, none are searched.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "restart", False, "Drop the state of an unfinished run.", flag_values=values
    )
    flags.DEFINE_float(
        "backup_seconds", 60.0, "Between two saves.", 0.0, flag_values=values
    )
    define_training(values)


def define_frontier(values):
    """Defines the flags of `frontier`."""
    flags.DEFINE_string(
        "budgets",
        "macs=0.5,macs=0.25",
        "What the networks may cost; a resource that is named again begins the next "
        "budget, as in macs=0.5,params=0.5,macs=0.25,params=0.3.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "epochs", 5, "All epochs, the common search included.", 1, flag_values=values
    )
    _define_importance(values, IMPORTANCES)
    define_training(values)


def _define_importance(values, names):
    more = " prediction needs --epochs=0." if "prediction" in names else ""
    flags.DEFINE_enum(
        "importance",
        None,
        names,
        f"Which channels of a group go first.{more} Default: auto.",
        flag_values=values,
    )


def _check_untrained(values, source):
    """What is asked of `prune --epochs=0`."""
    if source.endswith(checks.MODEL_SUFFIXES):
        checks.check_model_path(source)
        if not values.calibration:
            raise InputError(
                "Expected --calibration=FOLDER|FILE.npy, typical inputs, for a model "
                f"file with --epochs=0. Received: {source!r} alone"
            )
    else:
        checks.check_source(source, values.model)
    given = values.calibration
    if given and not pathlib.Path(given).is_dir():
        if not given.endswith(".npy"):
            raise InputError(
                "Expected --calibration as a folder of images or a .npy file. "
                f"Received: {given!r}"
            )
        checks.check_file(given, "--calibration as a .npy file of inputs")
    if values.method == "loss":
        raise InputError(
            "Expected --method=uniform or magnitude with --epochs=0: the loss has to "
            "be trained. Received: --method=loss"
        )
    for name in ("search_epochs", "learning_rate", "distill"):
        if values[name].value:
            raise InputError(
                f"Expected --{name} only with training. Received: "
                f"--{name}={values[name].value} with --epochs=0"
            )


def check_prune(values, arguments):
    """Checks them, as `Command.check`."""
    if values.epochs == 0:
        _check_untrained(values, arguments[0])
    else:
        checks.check_source(arguments[0], values.model)
        if values.importance == "prediction":
            raise InputError(
                "Expected --importance=prediction with --epochs=0. Received: "
                f"--epochs={values.epochs}"
            )
        if values.calibration:
            raise InputError(
                "Expected --calibration with --epochs=0: with training, the training "
                f"data are used. Received: --epochs={values.epochs}"
            )
    checks.check_budget(values.budget)
    _check_training(
        values, arguments[0], [*parse_budget(values.budget)], values.epochs > 0
    )
    if values.widths:
        checks.read_widths(values.widths)
        if values.search_epochs is not None:
            raise InputError(
                "Expected --search_epochs without --widths, with which nothing is "
                f"searched. Received: --search_epochs={values.search_epochs}"
            )
    if not values.dry_run:
        checks.check_out_folder(values.out, values.overwrite, values.restart)


def check_frontier(values, arguments):
    """Checks them, as `Command.check`."""
    checks.check_source(arguments[0], values.model)
    checks.check_budgets(values.budgets)
    limits = parse_budgets(values.budgets)
    _check_training(values, arguments[0], [*limits[0]], True)
    folders = [folder_name(budget) for budget in limits]
    for out in [] if values.dry_run else (".", *folders):
        out = str(pathlib.Path(values.out) / out)
        checks.check_out_folder(out, values.overwrite, restart=True, why=_ONE_SEARCH)


def _check_training(values, source, resources, trains):
    """What is asked of the flags of `define_training`."""
    check_table(values, resources)
    unknown = [name for name in values.augment if name not in AUGMENTATIONS]
    if unknown:
        raise InputError(
            f"Expected --augment as some of {','.join(AUGMENTATIONS)}. "
            f"Received: {','.join(unknown)!r}"
        )
    if values.augment and not (trains and pathlib.Path(source).is_dir()):
        raise InputError(
            "Expected --augment with training and a folder of images; hooks augment "
            f"their data themselves. Received: {source!r}"
        )
    channel_options(values)
    pixel_range(values.pixels)
