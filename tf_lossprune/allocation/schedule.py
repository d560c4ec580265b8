"""When what happens inside one `fit`."""

import numbers
from typing import Any

from keras import ops

from tf_lossprune.config import Configurable, check_count, check_number
from tf_lossprune.registry import Registry
from tf_lossprune.types import BackendTensor

#: Default length of the search: the first share of all steps; of a short training up
#: to the second, until it has enough steps; of a long one no more than are of use.
SEARCH_SHARE, LARGEST_SEARCH_SHARE = 0.1, 0.3
ENOUGH_STEPS, MOST_STEPS = 200, 1000
#: That of a search on frozen weights, which trains nothing: so many steps, of a short
#: training no more than the share.
FROZEN_STEPS, LARGEST_FROZEN_SHARE = 60, 0.2
#: A training of fewer steps is short: a search that moves the weights would need more
#: than its usual share of it.
SHORT = ENOUGH_STEPS / SEARCH_SHARE


def default_search_steps(total: int) -> int:
    """How many of `total` steps search, if nobody says.

    The search's steps run on the dense network, and train what is cut off: more than
    some hundred were no better (benchmarks/lab/README.md).

    Args:
        total: int, steps in all.
    """
    least = min(LARGEST_SEARCH_SHARE * total, ENOUGH_STEPS)
    return max(1, round(min(max(SEARCH_SHARE * total, least), MOST_STEPS)))


class Schedule(Configurable):
    """The phases of one `fit`, and how budget and variance change during the search.

    Warm-up trains the dense network; the search learns the ratios while the
    budget comes down; then the widths are fixed and the rest of `fit` fine-tunes.

    Args:
        warmup: float in [0, 1), the share of `fit`'s steps for the warm-up.
        search: float in (0, 1], the share for the search; `warmup + search <= 1`.
            None: 0.1 of the steps, at most 1,000; of less than 2,000 steps up to
            0.3, until it has 200 steps. On frozen weights 60 steps, at most 0.2.
        search_steps: int >= 1 or None, the length of the search in steps, in place of
            the share.
        frozen_search: bool, whether weights are frozen while widths are searched:
            only the ratios move, and weights, moving statistics and the optimizer
            (moments, counter and thus its learning rate schedule) stay unchanged
            until the cut. Then layers learn to predict what they lose (`repair` in
            `prune_model`), and all further steps train the compact network. For
            methods that search by the gates' gradient. `"auto"`: with the method
            "loss" in a `fit` of less than 2,000 steps, unless `search` or
            `search_steps` says how long the search is, or the network has not been
            trained (and there is no warm-up): all biases, scales and statistics are
            as they begin.
        descent: float in (0, 1], the share of the search after which the budget
            has reached its target; the rest of the search holds it.
        power: float > 0. With `t` the progress of the descent, the budget goes
            from 1 to B as `(1 - t (1 - B**(1/power)))**power`; 2 lowers the
            ratios about evenly where cost is quadratic in them.
        start_variance: float in (0, 0.25], the gates' mean `p(1-p)` at the start
            of the search.
        end_variance: float in (0, 0.25], the same at its end; it moves
            geometrically. It measures the mismatch between training and delivery.
        total_steps: int or None. None: the length of the `fit` (epochs times
            steps). Needed for custom loops, for data of unknown length and if
            one search shall span several calls of `fit`.
        statistics_batches: int >= 0, training batches from which the statistics
            of batch normalisations are re-estimated when the widths get fixed
            and at the end of `fit` (not from generators, which cannot rewind).

    Raises:
        TypeError: for anything but numbers.
        ValueError: for values outside these ranges.
    """

    name = "default"

    def __init__(
        self,
        warmup: float = 0.0,
        search: float | None = None,
        descent: float = 0.7,
        power: float = 2.0,
        start_variance: float = 0.03,
        end_variance: float = 0.003,
        total_steps: int | None = None,
        statistics_batches: int = 32,
        search_steps: int | None = None,
        frozen_search: bool | str = "auto",
    ) -> None:
        for name, value in (
            ("warmup", warmup),
            *([] if search is None else [("search", search)]),
            ("descent", descent),
            ("power", power),
            ("start_variance", start_variance),
            ("end_variance", end_variance),
        ):
            check_number(name, value)
        check_count("statistics_batches", statistics_batches, 0)
        _check("warmup", warmup, 0 <= warmup < 1, "in [0, 1)")
        if search is not None:
            _check("search", search, 0 < search <= 1, "in (0, 1]")
            both = warmup + search
            _check("warmup + search", both, both <= 1, "at most 1")
        if search_steps is not None:
            check_count("search_steps", search_steps, 1)
            if search is not None:
                raise ValueError(
                    "Expected the length of the search as a share or in steps, not "
                    f"both. Received: search={search}, search_steps={search_steps}"
                )
        if not isinstance(frozen_search, bool) and frozen_search != "auto":
            wrong = ValueError if isinstance(frozen_search, str) else TypeError
            raise wrong(
                'Expected frozen_search as a bool or "auto". '
                f"Received: {frozen_search!r} (of type {type(frozen_search).__name__})"
            )
        _check("descent", descent, 0 < descent <= 1, "in (0, 1]")
        _check("power", power, power > 0, "above 0")
        for name, v in (("start", start_variance), ("end", end_variance)):
            _check(f"{name}_variance", v, 0 < v <= 0.25, "in (0, 0.25]")
        if total_steps is not None and (
            not isinstance(total_steps, numbers.Integral) or total_steps < 1
        ):
            raise ValueError(
                "Expected total_steps as a whole number above 0 or None. "
                f"Received: total_steps={total_steps!r}"
            )
        self.warmup = warmup
        self.search = search
        self.descent = descent
        self.power = power
        self.start_variance = start_variance
        self.end_variance = end_variance
        self.total_steps = total_steps
        self.statistics_batches = statistics_batches
        self.search_steps = search_steps
        self.frozen_search = frozen_search

    def is_short(self, total: float) -> bool:
        """Whether the search is of unknown length, in a training of few steps."""
        return self.search is None and self.search_steps is None and total < SHORT

    def steps(self, total: int, frozen: bool | None = None) -> tuple[int, int]:
        """Steps of warm-up and search out of `total`: two ints.

        Args:
            total: int, steps in all.
            frozen: bool, whether the weights wait during the search; None: if
                `frozen_search` says so for trainings of any length.
        """
        if frozen is None:
            frozen = self.frozen_search is True
        warmup = min(int(round(self.warmup * total)), total - 1)
        if self.search_steps is not None:
            search = self.search_steps
        elif self.search is None and frozen:
            search = max(1, min(FROZEN_STEPS, round(LARGEST_FROZEN_SHARE * total)))
        elif self.search is None:
            search = default_search_steps(total)
        else:
            search = max(1, int(round(self.search * total)))
        return warmup, min(search, total - warmup)

    def budget(self, progress: BackendTensor, target: BackendTensor) -> BackendTensor:
        """The share allowed at `progress` in [0, 1] of the search."""
        t = ops.minimum(progress / self.descent, 1.0)
        root = target ** (1.0 / self.power)
        return (1.0 - t * (1.0 - root)) ** self.power

    def variance(self, progress: BackendTensor) -> BackendTensor:
        """The gates' mean `p(1-p)` wanted at `progress` of the search."""
        ratio = self.end_variance / self.start_variance
        return self.start_variance * ratio ** ops.clip(progress, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            "warmup": self.warmup,
            "search": self.search,
            "descent": self.descent,
            "power": self.power,
            "start_variance": self.start_variance,
            "end_variance": self.end_variance,
            "total_steps": self.total_steps,
            "statistics_batches": self.statistics_batches,
            "search_steps": self.search_steps,
            "frozen_search": self.frozen_search,
        }


SCHEDULES = Registry("schedule", Schedule, "default")
SCHEDULES.register(Schedule)


def _check(name: str, value: float, good: bool, text: str) -> None:
    if not good:
        raise ValueError(f"Expected {name} {text}. Received: {name}={value}")
