"""Messages of the library in the words of the command line."""

import os
import re

#: What the library's messages name -> what it is called in the shell.
SHELL = {
    "strip_pruning": "lossprune strip",
    "to_litert": "lossprune convert",
    "inspect_model": "lossprune inspect",
    "compare": "lossprune compare",
    "calibrate_latency": "lossprune calibrate",
    "export_probes": "lossprune export-probes",
    "min_channels": "--min_channels",
    "channel_multiple": "--channel_multiple",
    "exclude": "--exclude",
    "epochs": "--epochs",
    "search_epochs": "--search_epochs",
    "distill": "--distill",
    "representative_data": "--data",
    "threads": "--threads",
    "batch_size": "--batch_size",
}
_CODE = re.compile(r"`(?:tf_lossprune\.)?(\w+)(?:\(\))?`")


def in_shell_words(message):
    """A message with commands and flags where it names functions and arguments.

    Args:
        message: string; only names in backticks are changed.
    """

    def word(match):
        return f"`{SHELL[match[1]]}`" if match[1] in SHELL else match[0]

    return _CODE.sub(word, message)


def with_name(message, arguments):
    """A message that says which file it is about.

    Args:
        message: string.
        arguments: list of strings, those of the command.
    """
    quoted = re.findall(r"'([^']+)'", message)
    named = any(name in message for name in arguments)
    if not arguments or named or any(os.path.exists(name) for name in quoted):
        return message
    return f"{arguments[0]}: {message}"
