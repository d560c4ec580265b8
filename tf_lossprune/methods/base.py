"""The interface of a method."""

METHODS = {}


class Method:
    """A way to find the keep ratios.

    Attributes:
        name: string, for `prune_model(method=...)`.
        one_shot: bool, whether it needs no training: `ratios` tells all.
    """

    name = None
    one_shot = True

    def ratios(self, channels, costs, shares, importance, smallest):
        """Returns float `[groups]`, to be rounded to widths that keep the budget.

        Args:
            channels: `ChannelGraph`.
            costs: dict, resource -> `CostFunction`.
            shares: dict, resource -> share of the dense cost that is allowed.
            importance: float `[num_units + 1]`, mean 1 over each group.
            smallest: int `[groups]`, the fewest channels.
        """
        raise NotImplementedError


def register_method(method):
    """Makes a `Method` known under its name."""
    METHODS[method.name] = method
    return method


def find_method(name):
    """Returns the method of this name, or raises a `ValueError`."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(
            f"Expected a method among {sorted(METHODS)}. Received: {name!r}"
        )
    return METHODS[name]
