"""Names for what the public functions take in several forms."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

#: A path of a file or folder.
Path = str | os.PathLike[str]
#: A share of the dense cost, or an amount: 0.5, "50%", "300kB".
Limit = float | str
#: Resource -> limit.
Limits = Mapping[str, Limit]
#: Data in a form that `fit` takes: a dataset, a `PyDataset`, a pair of arrays.
Data = Any
#: Layers to leave alone: expressions for their names, or a function of the layer.
Exclude = str | list[str] | Callable[[Any], bool] | None
#: The shape of one sample; for several inputs a list of them, or a dict by name.
InputShape = (
    Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[int]] | None
)
#: What widths are multiples of: a number, "auto", or by layer name.
Multiple = int | str | Mapping[str, int | str]
#: A tensor of the backend, or what it takes for one.
BackendTensor = Any


class Cost(Protocol):
    """What allocation and search ask of a `resources.CostFunction`."""

    sizes: Any
    dense: float
    monotone: bool

    def total(self, kept: Any) -> float:
        """Cost at whole channels `[groups]`."""

    def totals_with(self, kept: Any, changed: Any) -> Any:
        """Costs `[groups]` if the width of one group alone is changed."""

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        """Expected share of the dense cost at ratios `[groups]`."""

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        """The gradient of `fraction` with respect to the ratios."""
