"""What the letters of an `einsum` equation say about labels."""

import numpy as np


def filled(equation, ranks):
    """The letters of an equation, with numbers for the axes that "..." stands for.

    Args:
        equation: string, with "->".
        ranks: list, how many axes each operand has.

    Returns:
        List of lists, the letters of each operand, and the letters of the result. What
        "..." stands for is numbered from the right, as it is broadcast.
    """
    left, _, result = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    given = [
        _filled(part, rank - len(part.replace("...", "")))
        for part, rank in zip(parts, ranks, strict=True)
    ]
    dots = max(sum(isinstance(c, int) for c in letters) for letters in given)
    return given, _filled(result, dots)


def _filled(part, missing):
    head, dots, tail = part.partition("...")
    return [*head, *(range(missing, 0, -1) if dots else ()), *tail]


def spread(labels, letters, wanted):
    """Labels with an axis for each of some letters.

    Args:
        labels: array with an axis for each of `letters`; it must not vary along those
            that are not wanted.
        letters, wanted: lists of letters.

    Returns:
        An array with an axis for each of `wanted`, of size 1 for those that it has not.
    """
    gone = tuple(axis for axis, c in enumerate(letters) if c not in wanted)
    labels = labels[tuple(0 if k in gone else slice(None) for k in range(labels.ndim))]
    left = [c for c in letters if c in wanted]
    labels = np.transpose(labels, [left.index(c) for c in wanted if c in left])
    return np.expand_dims(labels, [k for k, c in enumerate(wanted) if c not in left])
