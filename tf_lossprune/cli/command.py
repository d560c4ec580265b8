"""What a command of the command line is made of, and how its line is read."""

import dataclasses
import difflib
import importlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from absl import flags
from absl.flags import argparse_flags

from tf_lossprune.version import __version__

PROGRAM = "lossprune"


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
        check: function of the parsed `FlagValues` and the list of arguments that
            raises `InputError` for what is wrong without importing Keras.
        job: string, `module:function` in `tf_lossprune.cli`; the function takes the
            same and returns a `Result`.
    """

    name: str
    arguments: str
    summary: str
    counts: tuple[int, int | None]
    define: Callable[[flags.FlagValues], None]
    check: Callable[[Any, list], None]
    job: str

    def flags(self) -> flags.FlagValues:
        """A fresh `FlagValues` with this command's flags."""
        values = flags.FlagValues()
        self.define(values)
        return values

    def run(self, values: Any, arguments: list[str]) -> Result:
        """Runs the command, with parsed flags and arguments."""
        module, _, function = self.job.partition(":")
        found = importlib.import_module(f"tf_lossprune.cli.{module}")
        return getattr(found, function)(values, arguments)

    def usage(self) -> str:
        """The usage line."""
        return f"{PROGRAM} {self.name} {self.arguments} [flags]"


class _Parser(argparse_flags.ArgumentParser):
    """A parser that raises what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")


class CommandLine:
    """The parser of all commands.

    Args:
        commands: dict, name -> `Command`.
    """

    def __init__(self, commands: dict[str, Command]):
        self._commands = commands
        self._values = {name: command.flags() for name, command in commands.items()}
        self._parser = _Parser(
            prog=PROGRAM,
            usage=f"{PROGRAM} COMMAND [arguments] [flags]",
            description="Structured pruning of Keras models to a budget.",
            epilog=f"`{PROGRAM} COMMAND --help` lists the flags of a command.",
            inherited_absl_flags=None,
            allow_abbrev=False,
        )
        version = f"tf_lossprune {__version__}"
        self._parser.add_argument("--version", action="version", version=version)
        parsers = self._parser.add_subparsers(
            title="commands", dest="command", metavar="COMMAND", prog=PROGRAM
        )
        for name, command in commands.items():
            _describe(self._values[name])
            parsers.add_parser(
                name,
                help=command.summary,
                description=command.summary,
                usage=command.usage(),
                inherited_absl_flags=self._values[name],
                allow_abbrev=False,
            )

    def print_help(self) -> None:
        """Prints the commands."""
        self._parser.print_help()

    def parse(self, argv: list[str]) -> tuple[Command, Any, list[str]]:
        """Reads a command line.

        Args:
            argv: list of strings, without the program's name.

        Returns:
            `(Command, FlagValues, list of arguments)`.

        Raises:
            InputError: for an unknown command or flag, a wrong value or number of
                arguments.
            SystemExit: after `--help` or `--version`.
        """
        name = next((word for word in argv if not word.startswith("-")), None)
        if name is not None and name not in self._commands:
            raise InputError(
                f"Expected a command among {', '.join(self._commands)}."
                f"{_hint(name, self._commands)} Received: {name!r}"
            )
        try:
            found, rest = self._parser.parse_known_args(argv)
        except flags.Error as error:
            raise InputError(f"{error} (see `{PROGRAM} {name} --help`)") from None
        unknown = [word for word in rest if word.startswith("-") and word != "--"]
        if unknown or not found.command:
            names = [f"--{flag}" for flag in self._values[name]] if name else []
            flag = unknown[0] if unknown else ""
            raise InputError(
                f"Expected a flag of `{PROGRAM} {name or ''}".rstrip()
                + f" --help`.{_hint(flag.partition('=')[0], names)} Received: {flag!r}"
            )
        command = self._commands[found.command]
        arguments = [word for word in rest if word != "--"]
        least, most = command.counts
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise InputError(
                f"Expected {command.usage()!r}. Received: "
                f"{' '.join(arguments) or 'no arguments'}"
            )
        return command, self._values[found.command], arguments


def _describe(values):
    """Lets `--help` show all flags, with their defaults."""
    for name in values:
        flag = values[name]
        values.register_key_flag_for_module(sys.argv[0], flag)
        if not (flag.boolean or flag.default is None or flag.default == []):
            default = flag.default_as_str.strip("'")
            flag.help = f"{flag.help} Default: {default}."


def _hint(word, known):
    close = difflib.get_close_matches(word, known, 1)
    return f" Did you mean {close[0]!r}?" if close else ""
