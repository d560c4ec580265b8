"""Methods from the literature, on the same channel graph, costs and surgery.

They are there to be compared with: by `benchmarks.compare`, and by users who want to
see what the choice of a method does to their network. What was simplified stands in
each class's docstring.
"""

from tf_lossprune.methods.baselines.admm import Admm
from tf_lossprune.methods.baselines.amc import Amc
from tf_lossprune.methods.baselines.autocompress import AutoCompress
from tf_lossprune.methods.baselines.bar import Bar
from tf_lossprune.methods.baselines.bn_scale import BnScale
from tf_lossprune.methods.baselines.ecc import Ecc
from tf_lossprune.methods.baselines.group_lasso import GroupLasso
from tf_lossprune.methods.baselines.morphnet import MorphNet
from tf_lossprune.methods.baselines.netadapt import NetAdapt
from tf_lossprune.methods.baselines.taylor import Taylor
from tf_lossprune.methods.baselines.variational import Variational

__all__ = [
    "Admm",
    "Amc",
    "AutoCompress",
    "Bar",
    "BnScale",
    "Ecc",
    "GroupLasso",
    "MorphNet",
    "NetAdapt",
    "Taylor",
    "Variational",
]
