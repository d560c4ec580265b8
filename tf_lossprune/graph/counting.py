"""How often something is computed: sizes of a call's tensors."""

import math
from collections.abc import Iterable

from tf_lossprune.graph.tracing import Call, Tensor


class Counting:
    """Products of sizes, for the rules of layers that multiply.

    Args:
        call: `Call`.
    """

    def __init__(self, call: Call):
        self.call = call

    def output_positions(self, axis: int = -1) -> float:
        """Product of the output's sizes over all axes but one.

        NaN if one of them is unknown: then operations cannot be counted.
        """
        return self.positions(self.call.outputs[0], (axis,))

    def input_positions(self, axis: int = -1, index: int = 0) -> float:
        """The same for an input."""
        return self.positions(self.call.data[index], (axis,))

    def positions(
        self, tensor: Tensor, without: Iterable[int], batch: bool = True
    ) -> float:
        """Product of a tensor's sizes for one sample, some axes left out.

        Args:
            tensor: `Tensor`.
            without: axes of a sample to leave out.
            batch: bool, whether to count what is folded into the batch (windows of
                an image). Of two factors one should.
        """
        kept = [d for i, d in enumerate(tensor.sizes) if i != tensor.batch_axis]
        left_out = {axis % len(kept) for axis in without}
        sizes = [d for i, d in enumerate(kept) if i not in left_out]
        if batch and tensor.batch_axis is not None:
            sizes.append(tensor.sizes[tensor.batch_axis])
        return math.nan if None in sizes else math.prod(sizes)
