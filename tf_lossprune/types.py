"""Names for what the public functions take in several forms."""

import os
from collections.abc import Callable, Mapping
from typing import Any

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
#: What widths are multiples of: a number, "auto", or by layer name.
Multiple = int | str | Mapping[str, int | str]
