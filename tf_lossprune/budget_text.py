"""Budgets as text, for command lines; needs neither Keras nor TensorFlow."""

import re
from collections.abc import Mapping

#: A number, and what its unit may be.
LIMIT = re.compile(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z%]*)\s*")


def parse_budget(text: str) -> dict[str, float | str]:
    """Turns `"macs=0.5,size_bytes=300kB"` into the dict that `prune_model` takes.

    Only the form is checked here; `Budget` checks the resources and values.

    Args:
        text: Comma-separated `resource=limit` pairs. A limit is a number, or a
            number with a unit or in percent.

    Returns:
        Dict from resource name to number or, where there is a unit, text.

    Raises:
        ValueError: If the text is not of that form, or names a resource twice.

    Example:
        >>> parse_budget("macs=0.5,size_bytes=300kB")
        {'macs': 0.5, 'size_bytes': '300kB'}
    """
    budget: dict[str, float | str] = {}
    for pair in text.split(","):
        name, _, given = (part.strip() for part in pair.partition("="))
        match = LIMIT.fullmatch(given)
        value: float | str | None
        try:
            value = given if match and match.group(2) else _number(given)
        except ValueError:
            value = None
        if not name or value is None or name in budget:
            raise ValueError(
                "Expected a budget such as 'macs=0.5' or 'macs=0.5,size_bytes=300kB', "
                f"each resource once. Received: {text!r}"
            )
        budget[name] = value
    return budget


def _number(text: str) -> float:
    """A number; whole ones as integers, of which `Budget` refuses 1 as ambiguous."""
    return int(text) if text.isdecimal() else float(text)


def parse_budgets(text: str) -> list[dict[str, float | str]]:
    """Turns `"macs=0.5,macs=0.25"` into budgets, for `compress_frontier`.

    Args:
        text: As in `parse_budget`; a resource that is named again begins the next
            budget.

    Returns:
        List of dicts, as `parse_budget` returns them.

    Raises:
        ValueError: As `parse_budget`; if two budgets are the same, or limit other
            resources.

    Example:
        >>> parse_budgets("macs=0.5,params=0.6,macs=0.25,params=0.3")
        [{'macs': 0.5, 'params': 0.6}, {'macs': 0.25, 'params': 0.3}]
    """
    budgets: list[dict[str, float | str]] = []
    for pair in text.split(","):
        limit = parse_budget(pair)
        if not budgets or limit.keys() & budgets[-1].keys():
            budgets.append({})
        budgets[-1].update(limit)
    names = {folder_name(budget) for budget in budgets}
    resources = {frozenset(budget) for budget in budgets}
    if len(names) < len(budgets) or len(resources) > 1:
        raise ValueError(
            "Expected different budgets on the same resources, such as "
            f"'macs=0.5,macs=0.25'. Received: {text!r}"
        )
    return budgets


def folder_name(budget: Mapping[str, float | str]) -> str:
    """The name of a folder for what keeps a budget.

    Example:
        >>> folder_name({"macs": 0.5, "size_bytes": "300kB"})
        'macs-0.5_size_bytes-300kB'
    """
    text = format_budget(budget).replace("%", "pct")
    return text.replace(",", "_").replace("=", "-").replace(" ", "")


def format_budget(budget: Mapping[str, float | str]) -> str:
    """The inverse of `parse_budget`, with the resources in alphabetical order.

    Args:
        budget: Dict from resource name to number or text.

    Returns:
        A string such as `"macs=0.5,params=0.4"`.
    """
    texts = {k: v if isinstance(v, str) else f"{v:g}" for k, v in budget.items()}
    return ",".join(f"{name}={texts[name]}" for name in sorted(texts))
