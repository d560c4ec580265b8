"""All that the package takes from Keras without Keras promising it.

Private attributes, and names of classes that are exported under no other. Each function
has a contract in `tests/test_keras_internals.py`: where a new Keras breaks one, that
test says which, and only this package changes. What a missing name would only make
slower or less exact is read with a default; what would be wrong without it fails.
"""

from tf_lossprune.keras_internals.copies import *
from tf_lossprune.keras_internals.graphs import *
from tf_lossprune.keras_internals.layers import *
from tf_lossprune.keras_internals.optimizers import *
from tf_lossprune.keras_internals.training import *

#: The versions that the contracts were tried on.
TRIED = ("3.12", "3.15")
