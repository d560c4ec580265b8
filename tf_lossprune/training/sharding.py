"""Whether a network whose weights lie in parts on several devices can be cut."""

import keras
import numpy as np

from tf_lossprune.problem import PruningProblem


def check_sharding(problem: PruningProblem, widths: np.ndarray | None) -> None:
    """Checks that every kept width can be shared out as the layout map says.

    `keras.distribution.ModelParallel` lays equal parts of a weight on each device.

    Args:
        problem: `PruningProblem` with a budget.
        widths: int `[groups]`, the widths that are fixed; None: they are open.

    Raises:
        ValueError: if a weight may get a size that cannot be divided; the message
            names the layer.
    """
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.ModelParallel):
        return
    sizes = problem.sizes
    # Whatever is chosen, a width is a multiple of the step, or the size.
    grain = np.gcd(problem.least_steps, sizes) if widths is None else widths
    channels = problem.channel_graph
    for record in channels.records.values():
        for name, axes in record.weights.items():
            layout = distribution.get_variable_layout(record.weight(name))
            for axis, units in axes.items():
                parts = _parts(layout, axis)
                groups = channels.group_of[units]
                counts = np.bincount(groups[groups >= 0], minlength=len(sizes))
                kept = counts // np.maximum(sizes, 1) * grain
                held = kept if widths is None else kept.sum() + (groups < 0).sum()
                if counts.any() and np.any(held % parts):
                    raise ValueError(
                        f"Expected widths that {parts} devices can share, as the "
                        f"layout map shares axis {axis} of {name!r} of layer "
                        f"{record.layer.name!r}: `channel_multiple={parts}` in "
                        "`prune_model`, or a layout map that leaves this weight whole. "
                        f"Received: {_shown(problem, counts > 0, widths)}"
                    )


def _parts(layout: keras.distribution.TensorLayout, axis: int) -> int:
    """Among how many devices an axis of a weight is shared out."""
    mesh, name = layout.device_mesh, layout.axes[axis]
    return 1 if name is None else mesh.shape[mesh.axis_names.index(name)]


def _shown(
    problem: PruningProblem, chosen: np.ndarray, widths: np.ndarray | None
) -> str:
    found = problem.least_steps if widths is None else widths
    names = [group.name for group in problem.channel_graph.groups]
    what = "multiples of" if widths is None else "widths"
    return f"{what} { {names[k]: int(found[k]) for k in np.flatnonzero(chosen)} }"
