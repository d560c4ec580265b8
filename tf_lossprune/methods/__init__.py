"""How the keep ratios are found; one method per file, one interface.

`tf_lossprune.prune_model(model, budget, method=...)` takes a name or an object of
one of these classes, with its settings. `loss` is the project's own; `uniform` and
`magnitude` are what any method has to beat; those of the literature are in `baselines`.
"""

from tf_lossprune.methods.base import METHODS, Method, find_method, register_method
from tf_lossprune.methods.baselines import (
    Admm,
    Amc,
    AutoCompress,
    Bar,
    BnScale,
    Ecc,
    GroupLasso,
    MorphNet,
    NetAdapt,
    Taylor,
    Variational,
)
from tf_lossprune.methods.loss import Loss
from tf_lossprune.methods.magnitude import Magnitude
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.uniform import Uniform

__all__ = [
    "METHODS",
    "Admm",
    "Amc",
    "AutoCompress",
    "Bar",
    "BnScale",
    "Ecc",
    "GroupLasso",
    "Loss",
    "Magnitude",
    "Method",
    "MorphNet",
    "NetAdapt",
    "Search",
    "Taylor",
    "Uniform",
    "Variational",
    "find_method",
    "register_method",
]
