"""Flags that several commands have."""

from absl import flags

from tf_lossprune.cli.command import InputError


def define_common(values):
    """Defines the flags that every command has."""
    flags.DEFINE_bool(
        "json", False, "Print one JSON object and nothing else.", flag_values=values
    )
    flags.DEFINE_multi_string(
        "import",
        [],
        "Python file or module to load first: custom layers, rules, resources",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "traceback", False, "Show where an error comes from.", flag_values=values
    )
    flags.DEFINE_bool(
        "verbose_tf", False, "Show what TensorFlow logs.", flag_values=values
    )


def define_overwrite(values):
    """Defines `--overwrite`."""
    flags.DEFINE_bool(
        "overwrite", False, "Replace results that are there.", flag_values=values
    )


def define_data(values):
    """Defines the flags that say how images are read."""
    flags.DEFINE_integer("batch_size", 32, "Samples in a batch.", 1, flag_values=values)
    flags.DEFINE_float(
        "validation_split",
        0.2,
        "Share of the images held out for validation, where the folder has no `train` "
        "and `validation` folders.",
        0.0,
        0.9,
        flag_values=values,
    )
    flags.DEFINE_string(
        "pixels",
        "0,255",
        "What black and white are for the network, such as 0,1 or -1,1.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "skip_bad_images",
        False,
        "Leave out images that cannot be read.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of the order, the split and the draws.", flag_values=values
    )


def define_precision(values):
    """Defines `--precision`."""
    flags.DEFINE_enum(
        "precision",
        "fp32",
        ["fp32", "fp16", "int8", "int8_fp32_io"],
        "Of the .tflite file.",
        flag_values=values,
    )


def define_channels(values):
    """Defines the flags that say which channels may go."""
    flags.DEFINE_multi_string(
        "exclude",
        [],
        "Regular expression; layers whose name it matches are left alone",
        flag_values=values,
    )
    flags.DEFINE_string(
        "channel_multiple",
        "auto",
        "Widths become multiples of this number, or `auto`.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "min_channels",
        1,
        "Fewest channels that a group keeps.",
        1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "remove_blocks",
        False,
        "Whether a block behind a skip path may go entirely.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "input_shape",
        [],
        "Shape of one sample to count for, such as 224,224,3, if the model leaves its "
        "sizes open.",
        flag_values=values,
    )


def channel_options(values):
    """The options of `prune_model` from the flags of `define_channels`.

    Args:
        values: parsed `FlagValues`.

    Raises:
        InputError: for a multiple or a size that is no number.
    """
    multiple = values["channel_multiple"].value
    if multiple != "auto":
        multiple = _whole(multiple, "--channel_multiple as a whole number or 'auto'")
    text = "--input_shape as whole numbers such as 224,224,3"
    shape = tuple(_whole(size, text) for size in values["input_shape"].value)
    return {
        "remove_blocks": values["remove_blocks"].value,
        "input_shape": shape or None,
        "exclude": values["exclude"].value or None,
        "channel_multiple": multiple,
        "min_channels": values["min_channels"].value,
    }


def pixel_range(text):
    """The two numbers of `--pixels`.

    Args:
        text: string.

    Raises:
        InputError: unless they are two rising numbers.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise InputError(
            f"Expected --pixels as two rising numbers such as 0,1. Received: {text!r}"
        )
    return low, high


def _whole(text, expected):
    try:
        return int(text)
    except ValueError:
        raise InputError(f"Expected {expected}. Received: {text!r}") from None
