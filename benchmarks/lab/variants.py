"""Variants of the project's method, which only the ablations need."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.allocation import largest_scale
from tf_lossprune.gates.importance import normalize, weight_slices
from tf_lossprune.methods import Loss, Method
from tf_lossprune.methods.loss import LossSearch


class FirstOrder(Loss):
    """`Loss(order=1)`, without settings: what most variants were measured against."""

    def __init__(self):
        super().__init__(order=1)

    def get_config(self):
        """No settings."""
        return {}


class SteepnessSearch(LossSearch):
    """One steepness for all groups, which grows geometrically."""

    def find_steepness(self, log_importance, ratios):
        """As `LossSearch.find_steepness`, without a look at the variance."""
        start, end = self.method.start, self.method.end
        steepness = start * (end / start) ** self.progress()
        return ops.broadcast_to(steepness, (self.layout.num_groups,))


@keras.saving.register_keras_serializable(package="benchmarks")
class SteepnessSchedule(FirstOrder):
    """Schedules the thresholds' steepness instead of the gates' variance.

    Args:
        start: Steepness at the start of the search.
        end: Steepness at its end.
    """

    search_class = SteepnessSearch

    def __init__(self, start=4.0, end=64.0):
        super().__init__()
        self.start, self.end = start, end

    def get_config(self):
        """Settings, for saving."""
        return {"start": self.start, "end": self.end}


class SettlingSearch(LossSearch):
    """The ratios' steps become smaller as the search goes on."""

    def move(self, draw, optimizer, gradients):
        """As `Search.move`, a share of the way."""
        before = self.log_ratio.value + 0.0
        super().move(draw, optimizer, gradients)
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
class Shrunk(FirstOrder):
    """Goes part of the way from the found widths to uniform ones, in logarithms.

    Where the loss is flat, what the search finds is partly noise; the mean of the
    groups is not.

    Args:
        share: How much of the way; 0 is the method itself, 1 is uniform.
    """

    def __init__(self, share=0.25):
        super().__init__()
        self.share = share

    def ratios(self, search, importance, limits):
        """As `Method.ratios`; a common factor fits them to the budget later."""
        return super().ratios(search, importance, limits) ** (1.0 - self.share)

    def get_config(self):
        """Settings, for saving."""
        return {"share": self.share}


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
            return np.clip(widths, search.fewest, sizes)

        def fits(scale):
            widths = at(scale)
            shares = [cost.total(widths) / cost.dense for cost in search.costs]
            return bool(np.all(np.array(shares) <= np.asarray(limits)))

        return at(largest_scale(fits, 1e-3, np.max(sizes / wanted))) / sizes

    def get_config(self):
        """Settings, for saving."""
        return {"offset": self.offset}


class ReadsSearch(LossSearch):
    """Channels in the order of what the layers that read them receive."""

    def make_variables(self, groups, total):
        """As `LossSearch`; finds the kernels that read the groups."""
        super().make_variables(groups, total)
        slices = [s for s in weight_slices(self.channels) if s.units.any()]
        self._reads = [s for s in slices if s.role == "consumer"]
        self._scales = [s for s in slices if s.role == "scale"]

    def current_importance(self):
        """Norms of the kernels that read each unit, and of the scales before them."""
        total = self.layout.num_units + 1
        scores = sum(piece.score(2, total) for piece in self._reads)
        if self.method.scales and self._scales:
            energy = sum(s.by_unit(s.sums(2), total) for s in self._scales)
            # Units without a normalisation count as if theirs did not scale.
            scores = scores * ops.where(energy > 0, energy, 1.0)
        return normalize(ops.sqrt(ops.stop_gradient(scores)), self.channels)


@keras.saving.register_keras_serializable(package="benchmarks")
class Reads(FirstOrder):
    """Leaves the kernels that write a channel out of its importance.

    A batch normalisation takes the norm of the kernel before it away, so that it says
    little; what a channel gives is its scale times the kernels that read it.

    Args:
        scales: Whether the scales count.
    """

    search_class = ReadsSearch

    def __init__(self, scales=False):
        super().__init__()
        self.scales = scales

    def get_config(self):
        """Settings, for saving."""
        return {"scales": self.scales}


class FisherSearch(LossSearch):
    """A running mean of the squares themselves."""

    def worth(self, draw, gate_gradient):
        """As `LossSearch.worth`; batches with large gradients count for more."""
        rate = ops.cast(draw.searching, "float32") * draw.gates
        rate = rate * (1.0 - self.method.decay)
        size = ops.abs(gate_gradient) ** self.method.power
        self.saliency.assign_add(rate * (size - self.saliency.value))
        return 0.5 * self.method.images * self.saliency.value


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

    search_class = FisherSearch

    def __init__(self, power=2.0, rate=0.01, decay=0.95, images=64):
        super().__init__(decay=decay)
        self.power, self.images = power, images
        self.learning_rate = rate

    def get_config(self):
        """Settings, for saving."""
        return {
            "power": self.power,
            "rate": self.learning_rate,
            "decay": self.decay,
            "images": self.images,
        }


class CompensatedSearch(LossSearch):
    """A running mean of the products of all gates' gradients in a group."""

    def make_variables(self, groups, total):
        """As `LossSearch`; adds the products."""
        super().make_variables(groups, total)
        widest = self.layout.valid.shape[1]
        self.products = self.variable((groups, widest, widest), 0.0, "products")

    def worth(self, draw, gate_gradient):
        """As `LossSearch.worth`, less what the rest of a group makes up for."""
        layout, valid = self.layout, self.layout.valid
        on = layout.rows(draw.gates) * valid
        rows = layout.rows(gate_gradient) * on
        mean = ops.sum(ops.square(rows)) / ops.maximum(ops.sum(on), 1.0)
        both = on[:, :, None] * on[:, None, :]
        rate = (1.0 - self.method.memory) * ops.cast(
            ops.logical_and(draw.searching, mean > 0), "float32"
        )
        new = rows[:, :, None] * rows[:, None, :] / ops.where(mean > 0, mean, 1.0)
        self.products.assign_add(rate * both * (new - self.products.value))
        products = self.products.value + 0.0
        level = layout.mean(ops.diagonal(products, axis1=1, axis2=2)) + 1e-8
        # In units of the group's mean square; padding stands for itself.
        scaled = products / level[:, None, None]
        damping = self.method.damping
        scaled = scaled + ops.eye(valid.shape[1]) * (damping + 1.0 - valid)[:, :, None]
        alone = 1.0 / ops.diagonal(ops.inv(scaled), axis1=1, axis2=2) - damping
        alone = ops.maximum(alone, 0.0) * level[:, None]
        return layout.flat(alone * valid, first=0.0)


@keras.saving.register_keras_serializable(package="benchmarks")
class Compensated(Loss):
    """Counts of a channel's squared gradient what its group cannot make up for.

    With the group's Fisher matrix in place of its diagonal, a channel's worth is the
    inverse of the inverse's diagonal (Hassibi and Stork, 1992): what is left of its
    gradient beyond those of the other channels. For `Projection` only.

    Args:
        damping: Of the matrix, in units of its mean diagonal; large: the diagonal.
        memory: Decay of the products' running mean.
    """

    search_class = CompensatedSearch

    def __init__(self, damping=1.0, memory=0.99):
        super().__init__()
        self.damping, self.memory = damping, memory

    def get_config(self):
        """Settings, for saving."""
        return {"damping": self.damping, "memory": self.memory}


class LetThroughSearch(LossSearch):
    """The loss moves the importance, too: `dp_i/db_j` goes on to the weights.

    The gates' gradient is known after a step only, so it acts in the next one.
    """

    def make_variables(self, groups, total):
        """Adds the last step's gradient by the log-importances."""
        super().make_variables(groups, total)
        self.pull = self.variable((total,), 0.0, "pull")
        self._scales = [s for s in weight_slices(self.channels) if s.role == "scale"]

    def penalty(self):
        """Scalar whose gradient by the scales is that of the loss through the gates."""
        total = self.layout.num_units + 1
        scores = ops.zeros((total,))
        for piece in self._scales:
            sums = piece.sums(1)
            mean = ops.stop_gradient(ops.mean(sums)) + 1e-12
            scores = scores + piece.by_unit(sums / mean, total)
        return ops.sum(self.pull.value * ops.log(scores + 1e-6))

    def learn(self, draw, gate_gradient, optimizer):
        """Moves the ratios and keeps the gradient by the log-importances."""
        super().learn(draw, gate_gradient, optimizer)
        layout, steepness = self.layout, self.steepness.value
        x = self.log_rows(self.importance.value)
        _, threshold = self._probabilities(x, self._soft(draw.ratios), steepness)
        scaled = steepness[:, None] * (x - threshold[:, None])
        density = self._options.family.pdf(scaled) * layout.valid
        # `draw.weight` is dp_i/dalpha = f'_i / mean_j f'_j times the draw's slope.
        by_p = layout.rows(gate_gradient * draw.weight) * layout.valid
        by_p = by_p * layout.mean(density)[:, None]
        # dp_i/dln b_j = beta2 (delta_ij f'_i - f'_i f'_j / sum_k f'_k)
        share = density / (ops.sum(density, axis=1)[:, None] + 1e-12)
        pull = steepness[:, None] * (by_p - share * ops.sum(by_p, axis=1)[:, None])
        self.pull.assign(
            ops.where(draw.searching, layout.flat(pull, first=0.0), self.pull.value)
        )


@keras.saving.register_keras_serializable(package="benchmarks")
class LetThrough(FirstOrder):
    """Lets the loss's gradient through to the scales of batch normalisations.

    For `Importance("bn_scale")`, of which `learn` has the derivative in closed form.
    """

    search_class = LetThroughSearch


class AlternatingSearch(LossSearch):
    """Every other step moves the ratios, and only those steps do."""

    def learn(self, draw, gate_gradient, optimizer):
        """As `LossSearch.learn`, at odd steps."""
        due = ops.logical_and(draw.searching, self.step % 2 == 1)
        super().learn(draw._replace(searching=due), gate_gradient, optimizer)


@keras.saving.register_keras_serializable(package="benchmarks")
class Alternating(FirstOrder):
    """The bi-level form: odd steps move the ratios, the others the weights.

    The weights' part is up to the optimizer (`AlternatingDecay`) and the data
    (`AlternatingBatches`).
    """

    search_class = AlternatingSearch


@keras.saving.register_keras_serializable(package="benchmarks")
class AlternatingDecay(keras.optimizers.schedules.CosineDecay):
    """Learning rate 0 at odd steps of the search, else as `CosineDecay`.

    Args:
        rate: First learning rate.
        steps: Number of steps in all.
        search_steps: Number of steps of the search, at the beginning.
    """

    def __init__(self, rate, steps, search_steps):
        super().__init__(rate, steps)
        self.search_steps = search_steps

    def __call__(self, step):
        """The learning rate of a step."""
        step = ops.cast(step, "float32")
        idle = ops.logical_and(step < self.search_steps, step % 2 == 1)
        return ops.where(idle, 0.0, super().__call__(step))

    def get_config(self):
        """Settings, for saving."""
        config = super().get_config()
        return {
            "rate": config["initial_learning_rate"],
            "steps": config["decay_steps"],
            "search_steps": self.search_steps,
        }


class AlternatingBatches(keras.utils.PyDataset):
    """Batches of two data sets in turns during a search, of both together after it.

    Args:
        train: Dataset whose batches are even steps of the search.
        held_out: Dataset whose batches are odd steps of the search.
        both: Dataset of all the steps after it.

    Attributes:
        searching: Bool, whether the search is still on.
    """

    def __init__(self, train, held_out, both):
        super().__init__()
        self._datasets = {"train": train, "held_out": held_out, "both": both}
        self._length = len(both)
        self._iterators = {}
        self.searching = True

    def __len__(self):
        """Batches of an epoch."""
        return self._length

    def __getitem__(self, index):
        """The next batch of the data set whose turn it is."""
        name = ("held_out" if index % 2 else "train") if self.searching else "both"
        try:
            batch = next(self._iterators[name])
        except (KeyError, StopIteration):
            self._iterators[name] = iter(self._datasets[name])
            batch = next(self._iterators[name])
        return tuple(np.asarray(part) for part in batch)


@keras.saving.register_keras_serializable(package="benchmarks")
class FixedRatios(Method):
    """Given ratios, at once.

    Args:
        ratios: List of floats, one for each group.
    """

    name = "fixed_ratios"

    def __init__(self, ratios):
        self.given = [float(ratio) for ratio in ratios]

    def ratios(self, search, importance, limits):
        """As `Method.ratios`."""
        return np.array(self.given)

    def get_config(self):
        """Settings, for saving."""
        return {"ratios": self.given}
