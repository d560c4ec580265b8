"""The table of supported layers and operations, read off the registry of rules."""

from tf_lossprune.graph.rules import EFFECTS, all_rules

INTRODUCTION = """\
# Supported layers

What happens to channels at each stock layer and each operation of `keras.ops`. Made
by `python -m tf_lossprune.report.layers > docs/supported_layers.md`; a test compares
this file with the rules, and checks that no layer of `keras.layers` is missing.

Whatever is not listed here, a layer of your own for instance, freezes the channels
that reach it until it has a rule: see [custom layers](custom_layers.md).
"""


def supported_layers() -> str:
    """The page as Markdown."""
    named, operations = {}, {}
    for key, rule in all_rules().items():
        if isinstance(key, str):
            operations.setdefault((rule.effect, rule.remark), []).append(key)
        elif key.__module__.startswith("keras."):
            named[key.__name__] = rule
    lines = [INTRODUCTION, "| effect | what it means |", "| --- | --- |"]
    lines += [f"| {effect} | {meaning} |" for effect, meaning in EFFECTS.items()]
    lines += ["", "## Layers", "", "| layer | effect | remark |", "| --- | --- | --- |"]
    for name, rule in sorted(named.items()):
        lines.append(f"| {name} | {rule.effect} | {rule.remark} |")
    lines += ["", "## Operations", "", "| effect | remark | operations |"]
    lines.append("| --- | --- | --- |")
    for (effect, remark), names in sorted(operations.items()):
        lines.append(f"| {effect} | {remark} | {', '.join(sorted(names))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(supported_layers(), end="")
