"""How a command line is read."""

import pytest

from tf_lossprune.cli.command import CommandLine, InputError
from tf_lossprune.cli.commands import COMMANDS
from tf_lossprune.cli.words import in_shell_words, with_name


def read(*argv):
    command, values, arguments = CommandLine(COMMANDS).parse(list(argv))
    return command.name, values, arguments


def test_flags_may_stand_anywhere():
    for argv in (
        ["--threads=2", "--nolitert", "a.keras", "b.keras"],
        ["a.keras", "--threads", "2", "b.keras", "--nolitert"],
        ["a.keras", "b.keras", "--nolitert", "--threads=2"],
        ["--nolitert", "--threads=2", "--", "a.keras", "b.keras"],
    ):
        name, values, arguments = read("compare", *argv)
        assert name == "compare" and arguments == ["a.keras", "b.keras"]
        assert values.threads == 2 and not values.litert and not values.json


def test_flags_that_may_be_repeated():
    _, values, _ = read("prune", "hooks.py", "--exclude=^a", "--exclude=b$")
    assert values.exclude == ["^a", "b$"]
    assert read("prune", "hooks.py")[1].exclude == []


def test_flags_from_a_file(tmp_path):
    (tmp_path / "flags").write_text("--epochs=7\n--nolitert\n")
    _, values, _ = read("prune", "hooks.py", f"--flagfile={tmp_path / 'flags'}")
    assert values.epochs == 7 and not values.litert


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["inspect", "a.keras", "--resource"], "Did you mean '--resources'?"),
        (["inspect", "a.keras", "--json=true"], "lossprune inspect --help"),
        (["inspect", "a.keras", "--budget"], "expected one argument"),
        (["prune", "a.py", "--precision=int4"], "fp32|fp16|int8"),
        (["prune", "a.py", "--distill=2"], "--distill=2"),
        (["--colour"], "Received: '--colour'"),
        (["report"], "Received: no arguments"),
    ],
)
def test_lines_that_cannot_be_read(argv, words):
    with pytest.raises(InputError) as error:
        read(*argv)
    assert words in str(error.value)


def test_messages_name_commands_flags_and_files():
    text = "lower `min_channels` (`inspect_model` shows more, `Schedule` does not)"
    assert in_shell_words(text) == (
        "lower `--min_channels` (`lossprune inspect` shows more, `Schedule` does not)"
    )
    assert with_name("It failed", ["a.keras", "b.keras"]) == "a.keras: It failed"
    assert with_name("'b.keras' failed", ["a.keras", "b.keras"]) == "'b.keras' failed"
    about_another = f"It failed. Received: {__file__!r}"
    assert with_name(about_another, ["a.keras"]) == about_another
