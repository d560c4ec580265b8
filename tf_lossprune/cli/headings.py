"""Headings over the parts of a training, in its log."""

import math

from tf_lossprune.training.phases import StepCallback


class Headings(StepCallback):
    """Prints where the search begins and where the fine-tuning does.

    Args:
        epochs: int, of the whole job.
        steps: int, those of an epoch.
        bars: bool, whether there are progress bars, which a line must not cut through.
    """

    def __init__(self, epochs, steps, bars=False):
        super().__init__()
        self._epochs, self._steps, self._bars = epochs, steps, bars
        self._epoch, self._part = 0, None

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch
        self._tell()

    def on_steps(self, done):
        self._tell("\n" if self._bars else "")

    def _tell(self, before=""):
        searching = not getattr(self.model, "is_compact", True)
        part = "search" if searching else "fine-tuning"
        if part == self._part:
            return
        self._part, last = part, self._epochs
        if searching and self.model.search_end:
            last = min(last, math.ceil(self.model.search_end / self._steps))
        print(f"{before}{heading(part, self._epoch + 1, last, self._epochs)}")


def heading(part, first, last, epochs):
    """A line such as `search: epochs 1 to 2 of 10`.

    Args:
        part: string.
        first, last: ints, the epochs that it takes.
        epochs: int, all of them.
    """
    if first >= last:
        return f"{part}: epoch {first} of {epochs}"
    return f"{part}: epochs {first} to {last} of {epochs}"
