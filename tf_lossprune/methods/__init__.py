"""How the keep ratios are found; one method per file, one interface.

`tf_lossprune.prune_model(model, budget, method=...)` takes a name or an object of
one of these classes, with its settings.
"""

from tf_lossprune.methods.admm import Admm
from tf_lossprune.methods.amc import Amc
from tf_lossprune.methods.autocompress import AutoCompress
from tf_lossprune.methods.bar import Bar
from tf_lossprune.methods.base import METHODS, Method, find_method, register_method
from tf_lossprune.methods.bn_scale import BnScale
from tf_lossprune.methods.ecc import Ecc
from tf_lossprune.methods.group_lasso import GroupLasso
from tf_lossprune.methods.loss import Loss
from tf_lossprune.methods.magnitude import Magnitude
from tf_lossprune.methods.morphnet import MorphNet
from tf_lossprune.methods.netadapt import NetAdapt
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.taylor import Taylor
from tf_lossprune.methods.uniform import Uniform
from tf_lossprune.methods.variational import Variational

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
