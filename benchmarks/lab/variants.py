"""Variants of the project's method that one of its defaults was measured against."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.allocation import largest_scale
from tf_lossprune.importances import SaliencyEstimator
from tf_lossprune.methods import Loss
from tf_lossprune.methods.loss import LossSearch


class FirstOrder(Loss):
    """`Loss(order=1)`, without settings: what most variants were measured against."""

    def __init__(self):
        super().__init__(order=1)

    def get_config(self):
        """No settings."""
        return {}


class SettlingSearch(LossSearch):
    """The ratios' steps become smaller as the search goes on."""

    def move(self, optimizer, gradients):
        """As `Search.move`, a share of the way."""
        before = self.log_ratio.value + 0.0
        super().move(optimizer, gradients)
        share = self.method.end ** self.progress()
        self.log_ratio.assign(before + share * (self.log_ratio.value - before))


@keras.saving.register_keras_serializable(package="benchmarks")
class Settling(FirstOrder):
    """Lets the ratios' learning rate fall geometrically.

    Args:
        rate: Learning rate at the start of the search.
        end: Share of it that is left at its end.
    """

    search_class = SettlingSearch

    def __init__(self, rate=0.03, end=0.1):
        super().__init__()
        self.learning_rate, self.end = rate, end

    def get_config(self):
        """Settings, for saving."""
        return {"rate": self.learning_rate, "end": self.end}


@keras.saving.register_keras_serializable(package="benchmarks")
class Rounded(FirstOrder):
    """Rounds the ratios of all groups to whole widths by one rule.

    A common factor makes the budget hold. Rounding down costs a narrow group more than
    a wide one; rounding up favours it.

    Args:
        offset: What is added to a width before it is rounded down: 0, 0.5 for the
            nearest whole number, close to 1 for rounding up. (Jefferson's, Webster's
            and Adams's rules where seats are shared out.)
    """

    def __init__(self, offset=0.5):
        super().__init__()
        self.offset = offset

    def ratios(self, search, importance, limits):
        """As `Method.ratios`, of whole widths."""
        sizes = search.layout.sizes
        wanted = super().ratios(search, importance, limits) * sizes

        def at(scale):
            widths = np.floor(np.minimum(wanted * scale, sizes) + self.offset)
            return np.clip(widths, search.min_widths, sizes)

        def fits(scale):
            widths = at(scale)
            shares = [cost.total(widths) / cost.dense for cost in search.costs]
            return bool(np.all(np.array(shares) <= np.asarray(limits)))

        return at(largest_scale(fits, 1e-3, np.max(sizes / wanted))) / sizes

    def get_config(self):
        """Settings, for saving."""
        return {"offset": self.offset}


class Squares(SaliencyEstimator):
    """A running mean of the squares themselves: large gradients count for more.

    Args:
        power: As in `Fisher`, like the others.
        decay: Of the mean.
        images: Images in a batch.
    """

    def __init__(self, power, decay, images):
        self.power, self.decay, self.images = power, decay, images

    def update(self, step, gate_gradient):
        """As `SaliencyEstimator.update`."""
        size = ops.abs(gate_gradient) ** self.power
        rate = (1.0 - self.decay) * step.gates
        self.estimate.assign_add(rate * (size - self.estimate.value))

    def relative(self):
        """Half the mean over images."""
        return 0.5 * self.images * self.estimate.value


@keras.saving.register_keras_serializable(package="benchmarks")
class Fisher(Loss):
    """Moves the ratios by the gates' squared gradients, averaged as they are.

    For `Projection`, where the scale of the gradient does not matter.

    Args:
        power: 2 for squares; 1 for sizes, with which many weak channels count for more.
        rate: Learning rate of the ratios.
        decay: Of the running mean.
        images: Images in a batch.
    """

    def __init__(self, power=2.0, rate=0.01, decay=0.95, images=64):
        self.power, self.images = power, images
        super().__init__(decay=decay)
        self.learning_rate = rate

    def make_estimator(self):
        """As `Loss.make_estimator`."""
        return Squares(self.power, self.decay, self.images)

    def get_config(self):
        """Settings, for saving."""
        return {
            "power": self.power,
            "rate": self.learning_rate,
            "decay": self.decay,
            "images": self.images,
        }


class Products(SaliencyEstimator):
    """A running mean of the products of all gates' gradients in a group.

    Args:
        damping: As in `Compensated`.
        memory: As in `Compensated`.
    """

    def __init__(self, damping, memory):
        self.damping, self.memory = damping, memory

    def build(self, layout, add_variable):
        """As `SaliencyEstimator.build`; adds the products."""
        super().build(layout, add_variable)
        groups, widest = layout.valid.shape
        self.products = add_variable((groups, widest, widest), 0.0, "products")

    def update(self, step, gate_gradient):
        """As `SaliencyEstimator.update`, less what the rest of a group makes up for."""
        layout, valid = self.layout, self.layout.valid
        on = layout.rows(step.gates) * valid
        rows = layout.rows(gate_gradient) * on
        mean = ops.sum(ops.square(rows)) / ops.maximum(ops.sum(on), 1.0)
        both = on[:, :, None] * on[:, None, :]
        rate = (1.0 - self.memory) * ops.cast(mean > 0, "float32")
        new = rows[:, :, None] * rows[:, None, :] / ops.where(mean > 0, mean, 1.0)
        self.products.assign_add(rate * both * (new - self.products.value))
        products = self.products.value + 0.0
        level = layout.mean(ops.diagonal(products, axis1=1, axis2=2)) + 1e-8
        # In units of the group's mean square; padding stands for itself.
        scaled = products / level[:, None, None]
        damping = self.damping
        scaled = scaled + ops.eye(valid.shape[1]) * (damping + 1.0 - valid)[:, :, None]
        alone = 1.0 / ops.diagonal(ops.inv(scaled), axis1=1, axis2=2) - damping
        alone = ops.maximum(alone, 0.0) * level[:, None]
        self.estimate.assign(layout.flat(alone * valid, first=0.0))


@keras.saving.register_keras_serializable(package="benchmarks")
class Compensated(Loss):
    """Counts of a channel's squared gradient what its group cannot make up for.

    With the group's Fisher matrix in place of its diagonal, a channel's saliency is the
    inverse of the inverse's diagonal (Hassibi and Stork, 1992): what is left of its
    gradient beyond those of the other channels. For `Projection` only.

    Args:
        damping: Of the matrix, in units of its mean diagonal; large: the diagonal.
        memory: Decay of the products' running mean.
    """

    def __init__(self, damping=1.0, memory=0.99):
        self.damping, self.memory = damping, memory
        super().__init__()
        self.learning_rate = 0.005

    def make_estimator(self):
        """As `Loss.make_estimator`."""
        return Products(self.damping, self.memory)

    def get_config(self):
        """Settings, for saving."""
        return {"damping": self.damping, "memory": self.memory}
