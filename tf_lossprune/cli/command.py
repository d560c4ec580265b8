"""What a command of the command line is made of."""

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags


class InputError(ValueError):
    """The command cannot be run as it was given."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command has found.

    Attributes:
        data: JSON dict, for `--json`.
        text: string, for people.
    """

    data: dict
    text: str


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: string.
        arguments: string, the positional arguments in the usage line.
        summary: string, one line.
        counts: `(least, most)` positional arguments; `most` may be None.
        define: function that defines the command's flags in a `FlagValues`.
        run: function of the parsed `FlagValues` and the list of arguments that
            returns a `Result`.
    """

    name: str
    arguments: str
    summary: str
    counts: tuple
    define: Callable[[flags.FlagValues], None]
    run: Callable[[Any, list], Result]

    def flags(self):
        """A fresh `FlagValues` with this command's flags and the common ones."""
        values = flags.FlagValues()
        values.set_gnu_getopt(True)  # flags may follow the arguments
        self.define(values)
        define_common(values)
        return values

    def usage(self):
        """The usage line."""
        return f"lossprune {self.name} {self.arguments} [flags]"

    def help(self):
        """All that `--help` says."""
        lines = [self.summary, "", f"usage: {self.usage()}", ""]
        values = self.flags()
        for name in values:
            flag = values[name]
            default = "" if flag.default in (None, False) else f" [{flag.default}]"
            kinds = getattr(flag.parser, "enum_values", None)
            value = "" if flag.boolean else f"={'|'.join(kinds) if kinds else '...'}"
            lines += [f"  --{name}{value}{default}", f"      {flag.help}"]
        return "\n".join(lines)

    def parse(self, argv):
        """Parses flags and arguments.

        Args:
            argv: list of strings after the command's name.

        Returns:
            `(FlagValues, list of arguments)`.

        Raises:
            InputError: for an unknown flag, a wrong value or number of arguments.
        """
        values = self.flags()
        try:
            arguments = values(["lossprune", *argv])[1:]
        except flags.Error as error:
            raise InputError(f"{error} (see `lossprune {self.name} --help`)") from None
        least, most = self.counts
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise InputError(
                f"Expected {self.usage()!r}. Received: {len(arguments)} arguments "
                f"{arguments}"
            )
        return values, arguments


def define_common(values):
    """Defines the flags that every command has."""
    flags.DEFINE_bool(
        "json", False, "Print one JSON object and nothing else.", flag_values=values
    )
    flags.DEFINE_multi_string(
        "import",
        [],
        "Python file or module to load first: custom layers, rules, resources.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "traceback", False, "Show where an error comes from.", flag_values=values
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
        "Regular expression; layers whose name it matches are left alone.",
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


def channel_options(values):
    """The options of `prune_model` from the flags of `define_channels`.

    Args:
        values: parsed `FlagValues`.

    Raises:
        InputError: for a multiple that is no number.
    """
    multiple = values["channel_multiple"].value
    if multiple != "auto":
        try:
            multiple = int(multiple)
        except ValueError:
            raise InputError(
                "Expected --channel_multiple as a whole number or 'auto'. "
                f"Received: {multiple!r}"
            ) from None
    return {
        "exclude": values["exclude"].value or None,
        "channel_multiple": multiple,
        "min_channels": values["min_channels"].value,
    }
